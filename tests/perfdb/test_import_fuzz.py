"""200 mutated files over all formats: one clear sentence or accounted rows, never a traceback, a part or a secret.

The same at full size: `python tests/bench/fuzz_import.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from perfdb.batch import Batch
from perfdb.importers.folder import import_paths
from perfdb.importers.sniff import FORMATS
from perfdb.importers.table.redact import is_secret_name, redact
from perfdb.store import Store

BENCH = Path(__file__).parents[1] / "bench" / "fuzz_import.py"
STORED, READ_ONLY = 40, 160


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_import", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_import"] = module
    spec.loader.exec_module(module)
    return module


def test_mutated_files_end_in_one_sentence_or_in_accounted_rows(fuzz: ModuleType, tmp_path: Path) -> None:
    fuzzer = fuzz.Fuzzer(tmp_path, FORMATS)
    fuzzer.run(range(STORED))
    fuzzer.look()
    fuzzer.run(range(STORED, STORED + READ_ONLY), dry_run=True)
    assert fuzzer.found.bad == []
    assert fuzzer.found.counts["files"] > 40
    assert fuzzer.found.counts["refused"] > 40
    assert fuzzer.store.sql("SELECT count(*) > 10 FROM sources").rows == [[True]]


def test_the_fuzzer_finds_what_it_looks_for(fuzz: ModuleType, tmp_path: Path) -> None:
    """A file in part, an impossible value and a secret, put into the database by hand."""
    fuzzer = fuzz.Fuzzer(tmp_path, ["generic"])
    fuzzer.run(range(1, 7))
    fuzzer.look()
    assert fuzzer.found.bad == []
    import duckdb

    with duckdb.connect(str(fuzzer.store.path)) as connection:
        connection.execute("DELETE FROM operating_points WHERE point_id = 1")
        connection.execute("UPDATE measurements SET value = -1 WHERE point_id = 2")
        connection.execute("UPDATE operating_points SET extra = 'hush-hush' WHERE point_id = 2")
    fuzzer.look()
    bad = " ".join(fuzzer.found.bad)
    assert "sample.csv" in bad
    assert "measurements.value" in bad
    assert "operating_points.extra" in bad


def test_a_mutant_is_the_same_at_each_run(fuzz: ModuleType, tmp_path: Path) -> None:
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        mutant = fuzz.Fuzzer(folder, ["vllm"]).mutant("vllm", 3, folder / "mutants")
        contents.append((mutant.how, mutant.file.read_bytes()))
    assert contents[0] == contents[1]


def test_a_line_that_does_not_fit_its_header_does_not_tell_the_secret_in_it(read: Callable[..., Batch]) -> None:
    batch = read("model,mean_ttft_ms,api_key\nQwen3-8B,12,hush-hush,more\nQwen3-8B,13,hush-hush\n")
    assert [(row.row, row.value) for row in batch.bad] == [(1, "[redacted]")]
    assert "hush-hush" not in repr(batch)


def test_nor_does_a_line_of_an_operation_table(tmp_path: Path) -> None:
    table = tmp_path / "ops.csv"
    table.write_text(
        "platform,engine,op,dtype,m,n,k,latency_s,api_key\n"
        "h200_sxm,vllm,gemm,bf16,1024,4096,4096,4.4e-05,hush-hush\n"
        "h200_sxm,vllm,gemm,bf16,2048,4096,4096,8.4e-05,hush-hush,more\n"
    )
    store = Store(tmp_path / "db.duckdb")
    report = import_paths(store, [table])
    assert (report.stored, report.quarantined) == (1, 1)
    assert store.sql('SELECT "row", value FROM quarantine').rows == [[2, ""]]


def test_a_warning_does_not_quote_a_cell_of_thousands_of_characters(read: Callable[..., Batch]) -> None:
    batch = read(f"model,mean_ttft_ms\n{'[' * 100_000},12\n", bare=True)
    assert any("unknown model names" in text for text in batch.warnings)
    assert max(map(len, batch.warnings)) < 5000


@pytest.mark.parametrize("text", ["x" * 500_000, "api_key" + " " * 500_000, "a://" * 100_000, "eyJ-" * 20_000])
def test_a_long_text_is_searched_for_secrets_in_one_go(text: str) -> None:
    """Where each place is the start of a search to the end, half a megabyte takes ten minutes."""
    assert redact(text) == text


def test_secrets_far_from_their_name_are_still_found() -> None:
    assert redact("api_key" + " " * 50 + "= hush-hush") == "api_key" + " " * 50 + "= [redacted]"
    assert redact("see postgres://user:hush-hush@host/db") == "see postgres://user:[redacted]@host/db"


@pytest.mark.parametrize("name", ["aws_secret_access_key", "AZURE_ACCOUNT_KEY", "account-key"])
def test_keys_of_clouds_are_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert redact(f"{name}=hush-hush") == f"{name}=[redacted]"
