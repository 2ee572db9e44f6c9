"""The registry of operations, and tables of them as columns."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from perfdb.errors import UnknownNameError
from perfdb.operations import ARGUMENTS, COLUMNS, DTYPE_BYTES, OPERATIONS, TEXTS, OperationTable, canonical_dtype
from perfdb.store import Store
from perfdb.store.op_stage import KINDS


def test_every_operation_counts_in_known_arguments_and_says_what_it_is() -> None:
    for name, operation in OPERATIONS.items():
        assert re.fullmatch(r"[a-z0-9_]+", name)
        assert set(operation.arguments) <= set(ARGUMENTS), name
        assert operation.arguments
        assert operation.about


def test_the_database_has_the_columns_of_the_registry_and_no_others(tmp_path: Path) -> None:
    described = Store(tmp_path / "x.duckdb").sql("DESCRIBE op_measurements")
    kinds = {str(row[0]): row[1] for row in described.rows}
    assert set(kinds) == {"source_id", "source_row", *COLUMNS}
    assert {name: kinds[name] for name in COLUMNS} == dict(KINDS)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("bfloat16", "bf16"),
        ("BF16", "bf16"),
        ("half", "fp16"),
        ("fp8_e4m3", "fp8"),
        ("fp8_block", "fp8_block"),
        ("int4_wo", "int4"),
        ("w4a16", "int4"),
        ("sq", "int8"),
        ("int8_wo", "int8_wo"),
        ("nvfp4", "nvfp4"),
        ("w4a16_mxfp4", "mxfp4"),
        ("w4a8_mxfp4_mxfp8", "mxfp4_mxfp8"),
        ("posit8", None),
    ],
)
def test_number_formats_are_spelled_in_one_way(word: str, name: str | None) -> None:
    assert canonical_dtype(word) == name


def test_spelling_is_settled_once() -> None:
    for name in DTYPE_BYTES:
        assert canonical_dtype(name) == name


def table() -> OperationTable:
    texts = np.array(["bf16", "fp8", "bf16", None], dtype=object)
    return OperationTable({"dtype": texts, "m": np.array([1.0, 1.0, 2.0, np.nan]), "latency_s": np.arange(4.0)}, 4)


def test_rows_are_found_by_numbers_and_texts() -> None:
    assert table().where(dtype="bf16", m=1)["latency_s"].tolist() == [0.0]
    assert table().where(m=1)["latency_s"].tolist() == [0.0, 1.0]
    assert len(table().where(m=3)) == 0
    assert len(table().where()) == len(table()) == 4
    assert list(table()) == ["dtype", "m", "latency_s"]


def test_a_column_that_says_nothing_is_there_all_the_same() -> None:
    assert np.isnan(table()["k"]).all()
    assert table()["kernel"].tolist() == [None] * 4
    assert len(table().where(k=1)) == 0


def test_an_unknown_column_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'latency_ms'.*latency_s"):
        table()["latency_ms"]
    with pytest.raises(UnknownNameError, match="'size'"):
        table().where(size=1)


def test_no_operation_has_the_name_of_a_column() -> None:
    assert not set(OPERATIONS) & {*TEXTS, *ARGUMENTS}
