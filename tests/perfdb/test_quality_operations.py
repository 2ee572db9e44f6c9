"""`Store.check` of operation tables: counted, and what cannot be true of a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfdb.batch import ImportCounts, Number, OperationFile, Reading, Source
from perfdb.quality import Finding, Severity
from perfdb.store import Store


def find(store: Store, kind: str) -> Finding | None:
    return next((finding for finding in store.check() if finding.kind == kind), None)


def found(store: Store, kind: str) -> Finding:
    finding = find(store, kind)
    assert finding is not None, [finding.kind for finding in store.check()]
    return finding


def operations(store: Store, path: Path, op: str, header: str, *rows: str) -> None:
    path.write_text("\n".join([f"{header},ms", *rows]) + "\n")
    numbers = {name: Number((name,)) for name in header.split(",")}
    given = {"op": op, "platform": "h100_sxm", "engine": "vllm"}
    file = OperationFile(path, (Reading(Number(("ms",), per=1e3)),), given, numbers=numbers)
    (counts,) = store.ingest_operations([(Source(path.name, path.name, "operations"), file, [])])
    assert isinstance(counts, ImportCounts)


def test_sound_operation_tables_are_only_counted(store: Store, tmp_path: Path) -> None:
    operations(store, tmp_path / "a", "gemm", "m,n,k", "1,8,8,1.0", "1,8,8,1.4", "2,8,8,0.8", "1,8,16,9", "2,16,8,0.1")
    operations(store, tmp_path / "b", "all_reduce", "elements,bytes,devices", "8,16,2,1.0", "16,32,2,1.1", "8,16,4,9")
    (finding,) = store.check()
    assert (finding.kind, finding.severity, finding.count) == ("operations", Severity.NOTE, 2)
    assert [(e["op"], e["rows"]) for e in finding.examples] == [("gemm", 5), ("all_reduce", 3)]


@pytest.mark.parametrize(
    ("op", "header", "rows"),
    [
        ("gemm", "m,n,k", ("1,8,8,1.0", "4,8,8,0.4")),
        ("all_reduce", "elements,bytes,devices", ("8,16,2,1.0", "16,32,2,0.4")),
        ("moe", "tokens,hidden,experts", ("8,64,8,1.0", "16,64,8,0.4")),
        ("generation_attention", "batch_size,isl,prefix,heads", ("1,1,64,8,1.0", "2,1,64,8,0.4")),
    ],
)
def test_a_larger_operation_that_is_much_faster_is_doubtful(
    store: Store, tmp_path: Path, op: str, header: str, rows: tuple[str, ...]
) -> None:
    operations(store, tmp_path / "a", op, header, *rows)
    finding = found(store, "operation_order")
    assert finding.count == 1
    assert finding.examples[0]["worst_drops"] == pytest.approx(2.5)
    assert find(store, "operation_conflicts") is None


def test_equal_operations_with_different_latencies_are_doubtful(store: Store, tmp_path: Path) -> None:
    operations(store, tmp_path / "a", "gemm", "m,n,k", "1,8,8,1.0", "1,8,8,1.6", "2,8,8,2")
    finding = found(store, "operation_conflicts")
    assert (finding.count, finding.examples[0]["worst_conflicts"]) == (1, pytest.approx(1.6))


def test_operations_of_a_name_that_we_do_not_know_have_no_order(store: Store, tmp_path: Path) -> None:
    operations(store, tmp_path / "a", "unheard_of", "m,n,k", "1,8,8,1.0", "4,8,8,0.1")
    assert [finding.kind for finding in store.check()] == ["operations"]
