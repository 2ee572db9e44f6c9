"""Times as a table: what is written equals what the importer reads, number for number."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.operations import OperationTable
from perfdb.store import Store
from perfdb.store.op_file import write_operations
from runner.collect.journal import Timed
from runner.collect.table import file_name, table_of

ABOUT = {"platform": "local", "device": "AMD 'EPYC' \"9\"", "library": "torch", "version": "2.13.0+cpu", "threads": 2}
SIZE = st.integers(1, 30_000)
HEAD = {"heads": st.integers(1, 128), "kv_heads": st.integers(1, 128), "head_dim": st.sampled_from([64, 128])}
ATTENTION = {"batch_size": SIZE, "isl": SIZE, "prefix": st.integers(0, 10**6), **HEAD}
GEMM = {"op": st.just("gemm"), "dtype": st.sampled_from(["bf16", "fp8", "int8"]), "m": SIZE, "n": SIZE, "k": SIZE}
OPS = st.sampled_from(["context_attention", "generation_attention"])
ASKED = st.fixed_dictionaries(GEMM) | st.fixed_dictionaries({"op": OPS, "dtype": st.just("bf16"), **ATTENTION})
ANSWER = st.fixed_dictionaries(
    {
        "kernel": st.sampled_from(["mm", "sdpa"]),
        "latency_s": st.floats(1e-9, 1e3),
        "spread": st.floats(0.0, 5.0),
        "samples": st.just([1.0] * 5),
        "outliers": st.integers(0, 5),
    }
)
TIMED = st.builds(Timed, ASKED, ANSWER, st.floats(1.7e9, 1.9e9), st.floats(0, 9))


@settings(max_examples=3, deadline=None)  # each is a database of its own
@given(st.lists(TIMED, min_size=1, max_size=40))
def test_what_is_written_is_what_import_reads(timed: list[Timed]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file_name(ABOUT)
        written = table_of(ABOUT, timed)
        write_operations(written, path)
        store = Store(Path(folder) / "d.duckdb")
        report = import_paths(store, [path])
        assert (report.stored, report.quarantined, report.warnings) == (len(timed), 0, [])
        _assert_equal(store.operations(), written)


def _assert_equal(read: OperationTable, written: OperationTable) -> None:
    for name, column in written.columns.items():
        if name == "measured_at":
            np.testing.assert_allclose(read[name], column, atol=1e-6, rtol=0)
        elif name == "more":
            assert [json.loads(text) for text in read[name]] == [json.loads(text) for text in column]
        else:
            np.testing.assert_array_equal(read[name], column)


def row(**answer: Any) -> Timed:
    asked = {"op": "gemm", "dtype": "bf16", "m": 1, "n": 2, "k": 3}
    sound = {"kernel": "mm", "latency_s": 1e-3, "spread": 0.1, "samples": [1e-3] * 5, "outliers": 0}
    return Timed(asked, sound | answer, 1.8e9, 0.5)


def test_what_was_refused_is_no_row_and_outliers_are_told() -> None:
    found = table_of(ABOUT, [row(), Timed({"op": "gemm"}, {"error": "no memory"}, 1.8e9, 0.5), row(outliers=2)])
    assert len(found) == 2
    assert [json.loads(more).get("outliers") for more in found["more"]] == [None, 2]
    assert json.loads(found["more"][0]) == {"device": ABOUT["device"], "repeats": 5, "threads": 2}


def test_a_name_tells_platform_library_and_version_and_stays_a_name() -> None:
    assert file_name(ABOUT) == "local_torch_2.13.0-cpu.parquet"
    assert file_name({**ABOUT, "platform": "../my card/2"}) == "..-my-card-2_torch_2.13.0-cpu.parquet"


def test_where_nothing_can_be_written_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        write_operations(table_of(ABOUT, [row()]), tmp_path / "none" / "t.parquet")
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        write_operations(table_of(ABOUT, [row()]), tmp_path / "t.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]
