"""Files of aiconfigurator-core: what the path and the notes say, copies, damage, dry runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiconfigurator_tables import SAID, WHO, Table, rows

from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportOptions
from perfdb.store import Store


def test_rows_that_belong_elsewhere_say_so_themselves(store: Store, table: Table) -> None:
    """Copies of one table stand in for other versions; the path must not relabel them."""
    columns = (
        "'TRTLLM' AS framework, '1.0.0' AS version, 'NVIDIA L40S' AS device, 'all_reduce' AS op_name, "
        "'TRTLLM' AS kernel_source, 'bfloat16' AS allreduce_dtype, 2 AS num_gpus, 128 AS message_size, 0.01 AS latency"
    )
    name = "custom_allreduce_perf"
    paths = [
        table(columns, name, f"l40s/comm/{where}") for where in ("trtllm/1.0.0", "trtllm/1.3.0rc15", "sglang/0.5.9")
    ]
    report = import_paths(store, paths)
    assert (report.rows_read, report.stored, report.duplicates) == (3, 1, 2)
    assert rows(store, SAID) == [["l40s", "trtllm", "1.0.0", "all_reduce", "bf16", "TRTLLM"]]
    assert [text.split(": ", 1)[1] for text in report.warnings] == [
        "engine 'TRTLLM' is trtllm, though the path says sglang: so it is read"
    ]


def test_equal_bytes_in_the_folders_of_two_devices_are_two_tables(store: Store, table: Table) -> None:
    columns = "'gemm' AS op_name, 'k' AS kernel_source, 1 AS m, 1.0 AS latency"
    report = import_paths(
        store, [table(columns, where=f"{system}/gemm/vllm/0.24.0") for system in ("h200_sxm", "zeta9")]
    )
    assert (report.stored, report.duplicates) == (2, 0)
    assert rows(store, "platform, engine, engine_version") == [
        ["h200_sxm", "vllm", "0.24.0"],
        ["zeta9", "vllm", "0.24.0"],
    ]


def test_the_date_stands_in_the_notes_beside_the_table(store: Store, table: Table) -> None:
    path = table(f"{WHO}, 'gemm' AS op_name, 'k' AS kernel_source, 1.0 AS latency")
    entry = "  gemm_perf:\n    status: x\n    collected_at: '2026-08-09'\n"
    notes = f"tables:\n  other:\n    collected_at: '2020-01-01'\n{entry}"
    path.with_name("collection_meta.yaml").write_text(notes)
    other = table(f"{WHO}, 'moe' AS op_name, 'k' AS kernel_source, 1.0 AS latency", "moe_perf")
    import_paths(store, [path, other])
    assert rows(store, "op, measured_at::VARCHAR") == [["gemm", "2026-08-09 00:00:00"], ["moe", None]]
    path.with_name("collection_meta.yaml").write_text(notes.replace("08-09", "08-10"))
    assert import_paths(store, [path]).stored == 1


def test_what_the_user_says_wins(store: Store, table: Table) -> None:
    path = table(f"{WHO}, 'gemm' AS op_name, 'k' AS kernel_source, 1 AS m, 1.0 AS latency")
    said = {"platform": "A10", "engine": "SGLang", "tp": "4", "client": "mine"}
    assert import_paths(store, [path], ImportOptions(set=said)).warnings == []
    assert rows(store, "platform, engine, engine_version, tp, more") == [
        ["a10", "sglang", "0.24.0", 4, '{"client":"mine"}']
    ]


def test_outside_of_such_folders_the_rows_tell_all(store: Store, table: Table, tmp_path: Path) -> None:
    path = table(f"{WHO}, 'gemm' AS op_name, 'k' AS kernel_source, 1.0 AS latency").rename(
        tmp_path / "gemm_perf.parquet"
    )
    import_paths(store, [path])
    assert rows(store, "platform, engine, engine_version") == [["h200_sxm", "vllm", "0.24.0"]]


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_cut_file_is_an_error_that_names_it(store: Store, table: Table, keep: int) -> None:
    path = table(f"{WHO}, 'gemm' AS op_name, 'k' AS kernel_source, 1.0 AS latency")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileError, match=r"gemm_perf\.parquet"):
        import_paths(store, [path], ImportOptions(format="aiconfigurator"))
    assert not store.path.exists()


def test_a_table_without_latencies_is_an_error(store: Store, table: Table) -> None:
    path = table("'gemm' AS op_name, 'k' AS kernel_source, 1.0 AS duration")
    with pytest.raises(FileError, match="no column of latencies; expected one of latency"):
        import_paths(store, [path])
    assert import_paths(store, [path.parent]).skipped[0][1].startswith("no column of latencies")


def test_a_dry_run_counts_and_stores_nothing(store: Store, table: Table) -> None:
    folder = table(f"{WHO}, 'gemm' AS op_name, 'k' AS kernel_source, 1.0 * i AS latency", rows=4).parent
    dry = import_paths(store, [folder], ImportOptions(dry_run=True)).to_json()
    assert not store.path.exists()
    assert dry == import_paths(store, [folder]).to_json()
    assert (dry["rows_read"], dry["stored"], dry["quarantined"]) == (4, 3, 1)


def test_progress_names_each_table(store: Store, table: Table) -> None:
    told: list[tuple[Any, ...]] = []
    folder = table(f"{WHO}, 'gemm' AS op_name, 'k' AS kernel_source, 1.0 AS latency").parent
    import_paths(store, [folder], progress=lambda *said: told.append(said))
    assert (str(folder / "gemm_perf.parquet"), 1, 1) in told
