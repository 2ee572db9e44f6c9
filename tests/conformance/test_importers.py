"""What every importer must do, whatever its format. A new format adds one sample here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfdb.batch import CONTEXT, Batch, OperationFile
from perfdb.errors import ServecastError
from perfdb.importers.content import HEAD_BYTES
from perfdb.importers.folder import import_paths
from perfdb.importers.importer import ReadSettings
from perfdb.importers.options import ImportOptions
from perfdb.importers.sniff import FORMATS, importer, recognise
from perfdb.metrics import METRICS
from perfdb.operations import ARGUMENTS, TEXTS
from perfdb.records import Origin, Outcome, canonical_json
from perfdb.store.op_ingest import preview
from perfdb.store.store import Store

_SAMPLES = Path(__file__).with_name("samples")


@dataclass(frozen=True)
class Sample:
    """A file of one format: `file` is in `samples/FORMAT/` (companions lie beside it) and holds `records` records.

    At least one of them failed unless `fails` is False; a secret "hush-hush" stands in it unless `tells` is False. A
    sample that is no text is written by `make(folder)`, which answers its path.
    """

    file: str
    records: int
    fails: bool = True
    tells: bool = True
    make: Callable[[Path], Path] | None = None


def operations_parquet(folder: Path) -> Path:
    query = """SELECT 'VLLM' AS framework, '0.24.0' AS version, 'NVIDIA H200' AS device, 'gemm' AS op_name,
        'deepgemm' AS kernel_source, 'fp8_block' AS gemm_dtype, 64 * (1 + i) AS m, 128 AS n, 256 AS k,
        0.5 * i AS latency, 'hush-hush' AS api_key FROM range(3) t(i)"""
    path = folder / "gemm_perf.parquet"
    duckdb.sql(query).write_parquet(str(path), compression="uncompressed")
    return path


SAMPLES: dict[str, Sample] = {
    "aiconfigurator": Sample("gemm_perf.parquet", 3, make=operations_parquet),
    "collected": Sample("ops.csv", 3),
    "llmservingsim_profile": Sample("dense.csv", 3),
    "vidur": Sample("mlp.csv", 3),
    "generic": Sample("sample.csv", 3),
    "vllm": Sample("sample.json", 3),
    "sglang": Sample("sample.jsonl", 4),
    "genai_bench": Sample("D100_1000_text-to-text_num_concurrency_8_time_100s.json", 1, fails=False),
    "guidellm": Sample("sample.json", 2),
    "aiperf": Sample("sample.json", 1, fails=False),
    "flat_json": Sample("sample.json", 3),
    "markdown": Sample("sample.md", 5),
    "llama_bench": Sample("sample.json", 3, fails=False),
    "trtllm_bench": Sample("sample.json", 2, fails=False),
    "llm_optimizer": Sample("sample.json", 3),
    "mlperf": Sample("mlperf_log_summary.txt", 3, tells=False),
    "inferencemax": Sample("sample.json", 3),
    "per_request": Sample("sample.csv", 3),
    "llmservingsim": Sample("requests.jsonl", 1, fails=False, tells=False),
    "key_value": Sample("sample.log", 3),
    "silicon": Sample("silicon_sample.csv", 3, fails=False),
}
OF_OPERATIONS = frozenset({"aiconfigurator", "collected", "llmservingsim_profile", "vidur"})
"""Formats of operation tables: the store itself reads the file, as the importer describes it."""
every = pytest.mark.parametrize("name", FORMATS)
every_of_runs = pytest.mark.parametrize("name", [name for name in FORMATS if name not in OF_OPERATIONS])
every_of_operations = pytest.mark.parametrize("name", sorted(OF_OPERATIONS))


def sample(name: str, folder: Path) -> Path:
    made = SAMPLES[name].make
    folder = folder / "files"
    folder.mkdir(exist_ok=True)
    if made is not None:
        return made(folder)
    shutil.copytree(_SAMPLES / name, folder, dirs_exist_ok=True)
    return folder / SAMPLES[name].file


def read(name: str, path: Path) -> list[Batch]:
    found = importer(name).read(path, ReadSettings())
    return [] if isinstance(found, OperationFile) else list(found)


def described(name: str, path: Path) -> OperationFile:
    found = importer(name).read(path, ReadSettings())
    assert isinstance(found, OperationFile)
    return found


def test_every_format_has_a_sample() -> None:
    assert set(SAMPLES) == set(FORMATS)


@every
def test_it_is_named_as_its_module_and_has_a_version(name: str) -> None:
    assert importer(name).name == name
    assert importer(name).version >= 1
    assert importer(name).about


@every
def test_its_files_are_recognised_and_no_others(name: str, tmp_path: Path) -> None:
    path = sample(name, tmp_path)
    head = path.read_bytes()[:HEAD_BYTES]
    scores = {other: importer(other).sniff(head, path) for other in FORMATS}
    assert all(0 <= score <= 1 for score in scores.values())
    assert scores[name] > max(score for other, score in scores.items() if other != name)
    assert recognise(head, path) is importer(name)


@every
@pytest.mark.parametrize(
    "head", [b"", b"\n\n", b"\x00\x01", b"{", b"[", b"\xff\xfe", b"<html></html>", b"just text\nand more"]
)
def test_it_claims_nothing_that_is_not_its_own(name: str, head: bytes) -> None:
    assert importer(name).sniff(head, Path("x.bin")) == 0


@every_of_runs
def test_every_record_is_accounted_for_once(name: str, tmp_path: Path) -> None:
    batches = read(name, sample(name, tmp_path))
    good = [row for batch in batches for row in batch.rows.tolist()]
    bad = {row.row for batch in batches for row in batch.bad}
    assert sorted([*good, *bad]) == list(range(1, SAMPLES[name].records + 1))
    for batch in batches:
        assert all(row.reason for row in batch.bad)


@every_of_operations
def test_operations_are_described_in_known_names_and_accounted_for(name: str, tmp_path: Path) -> None:
    file = described(name, sample(name, tmp_path))
    for said in (file, *file.readings):
        assert set(said.numbers) <= set(ARGUMENTS)
    assert {*file.texts, *file.words} <= {*TEXTS, "measured_at"}
    assert "measured" in (file.given.get("origin"), file.absent.get("origin"))
    counts = preview(file)
    assert counts.rows_read == SAMPLES[name].records == counts.stored + counts.quarantined
    assert counts.quarantined == sum(counts.reasons.values()) > 0


@every_of_operations
def test_no_secret_of_a_table_is_kept(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "db.duckdb")
    import_paths(store, [sample(name, tmp_path)])
    tables = [store.sql(f"SELECT * FROM {table}").rows for table in ("op_measurements", "quarantine", "sources")]
    assert tables[0]
    assert "hush-hush" not in repr(tables)


@every_of_runs
def test_batches_hold_what_the_store_expects(name: str, tmp_path: Path) -> None:
    for batch in read(name, sample(name, tmp_path)):
        assert set(batch.context) <= set(CONTEXT)
        assert {metric for metric, _ in batch.values} <= set(METRICS)
        assert set(batch.context["outcome"]) <= set(Outcome)
        assert set(batch.context["origin"]) <= set(Origin)
        for values in batch.values.values():
            assert values.dtype == np.float64
            assert not np.isinf(values).any()
        for column in ("config", "extra"):
            for text in batch.context[column]:
                assert text is None or canonical_json(json.loads(text)) == text


@every_of_runs
def test_failures_are_records_without_values(name: str, tmp_path: Path) -> None:
    for batch in read(name, sample(name, tmp_path)):
        lost = batch.context["outcome"] != "ok"
        assert lost.any() or not SAMPLES[name].fails
        for (metric, _), values in batch.values.items():
            assert metric == "success_rate" or np.isnan(values[lost]).all()


@every_of_runs
def test_no_secret_is_kept(name: str, tmp_path: Path) -> None:
    path = sample(name, tmp_path)
    assert b"hush-hush" in path.read_bytes() or not SAMPLES[name].tells
    batches = read(name, path)
    assert "hush-hush" not in repr([(batch.context, batch.bad, batch.warnings) for batch in batches])


@every
def test_an_empty_file_is_an_error_of_the_users(name: str, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_text("")
    with pytest.raises(ServecastError, match="empty"):
        read(name, path)


@every
def test_a_dry_run_writes_nothing_and_counts_the_same(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "db.duckdb")
    path = sample(name, tmp_path)
    dry = import_paths(store, [path], ImportOptions(dry_run=True)).to_json()
    assert not store.path.exists()
    wet = import_paths(store, [path]).to_json()
    assert dry == wet
    assert wet["rows_read"] == SAMPLES[name].records == wet["stored"] + wet["quarantined"]


@every
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_end_in_one_clear_error_or_in_accounted_rows(
    name: str, tmp_path: Path, data: st.DataObject
) -> None:
    """Cut, repeated, overwritten bytes: never a traceback, never a row that is lost or counted twice."""
    path = sample(name, tmp_path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        kind = data.draw(st.sampled_from(["cut", "set", "insert", "double"]))
        if kind == "cut":
            del content[place : place + data.draw(st.integers(1, 40))]
        elif kind == "set" and content:
            content[place] = data.draw(st.sampled_from(list(b',\n"-{}[]:0eNx\x00\xff ')))
        elif kind == "insert":
            content[place:place] = data.draw(
                st.sampled_from([b"1e999", b"NaN", b"\n\n", b'"', b"-", b"{}", b"\xc3\xa9"])
            )
        else:
            content[place:place] = content[place : place + 60]
    path.write_bytes(bytes(content))
    try:
        if name in OF_OPERATIONS:
            counts = preview(described(name, path))
            assert counts.rows_read == counts.stored + counts.quarantined + counts.duplicates
        batches = read(name, path)
    except ServecastError:
        return
    rows = [row for batch in batches for row in batch.rows.tolist()]
    assert len(rows) == len(set(rows))
    assert not set(rows) & {row.row for batch in batches for row in batch.bad}
