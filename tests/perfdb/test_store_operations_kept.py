"""Tables of operations in the store: told apart, whole or not at all, kept in memory, taken over from old versions."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operation_files import Write, gemm, only, put

from perfdb.batch import ImportCounts, Number, Source
from perfdb.errors import FileError
from perfdb.store import Store, op_ingest, schema
from perfdb.store.engine import engine
from perfdb.store.sources import add_source


def test_equal_records_are_stored_as_often_as_the_file_that_has_most_of_them(store: Store, write: Write) -> None:
    head = "m,ms\n"
    assert only(store, gemm(write(head + "1,1\n1,1\n2,1\n", "a.csv"))).stored == 3
    grown = only(store, gemm(write(head + "1,1\n1,1\n2,1\n1,1\n3,1\n", "b.csv")))
    assert (grown.stored, grown.duplicates) == (2, 3)
    assert Counter(store.operations()["m"].tolist()) == {1: 3, 2: 1, 3: 1}


def test_the_same_numbers_of_another_device_are_no_duplicates(store: Store, write: Write) -> None:
    path = write("m,ms\n1,1\n")
    for told in (
        {},
        {"platform": "a10"},
        {"engine": "vllm"},
        {"engine_version": "1"},
        {"dtype": "fp8"},
        {"kernel": "x"},
    ):
        (counts,) = store.ingest_operations(
            [(Source("x", f"{told}", "test"), gemm(path, given={"op": "gemm", **told}), ())]
        )
        assert isinstance(counts, ImportCounts)
        assert counts.stored == 1, told


def test_known_content_is_skipped_whole(store: Store, write: Write) -> None:
    file = gemm(write("m,ms\n1,1\n2,0\n"))
    first, again = put(store, file, file)
    assert first == ImportCounts(2, 1, 0, 1, 1, {"not measured": 1})
    assert again == ImportCounts(2, 0, 2, 0, 0)
    assert put(store, file) == [again]
    assert store.sql("SELECT count(*) FROM sources").rows == [[1]]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_store_is_the_union_of_its_files(tmp_path_factory: pytest.TempPathFactory, files: list[list[int]]) -> None:
    folder = tmp_path_factory.mktemp("ops")
    store = Store(folder / "perf.duckdb")
    for number, values in enumerate(files):
        path = folder / f"{number}.csv"
        path.write_text("m,ms\n" + "".join(f"{value},1\n" for value in values))
        only(store, gemm(path))
    expected: Counter[int] = Counter()
    for values in files:
        expected |= Counter(values)
    assert Counter(store.operations()["m"].astype(int).tolist()) == expected


def test_a_file_that_cannot_be_read_leaves_the_others(store: Store, write: Write) -> None:
    sound = gemm(write("m,ms\n1,1\n", "a.csv"))
    nothing = gemm(write("m,s\n1,1\n", "b.csv"))
    cut = write("x", "c.parquet")
    cut.write_bytes(b"PAR1" + b"\0" * 40)
    quote = gemm(write('m,ms\n1,"1\n', "d.csv"))
    unnamed = gemm(write("m,ms\n1,1\n", "e.csv"), given={})
    results = put(store, nothing, sound, gemm(cut), quote, unnamed, gemm(write("m,ms\n2,1\n", "f.csv")))
    kinds = [type(result).__name__ for result in results]
    assert kinds == ["FileError", "ImportCounts", "FileError", "FileError", "FileError", "ImportCounts"]
    texts = [str(result) for result in results]
    assert "b.csv: no column of latencies; expected one of ms" in texts[0]
    assert "c.parquet: no readable Parquet file" in texts[2]
    assert "e.csv: no column names the operation" in texts[4]
    assert store.operations()["m"].tolist() == [1, 2]


def test_nothing_is_made_where_nothing_can_be_read(store: Store, write: Write) -> None:
    (error,) = put(store, gemm(write("a,b\n1,2\n")))
    assert isinstance(error, FileError)
    assert not store.path.exists()
    assert list(store.ingest_operations([])) == []


def test_where_writing_fails_nothing_of_those_files_is_stored(
    store: Store, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, gemm(write("m,ms\n1,1\n", "a.csv")))
    files = [gemm(write(f"m,ms\n{name},1\n", f"{name}.csv")) for name in (2, 3)]

    noted: list[object] = []

    def fail_at_the_second(*arguments: Any) -> None:
        noted.append(arguments)
        if len(noted) == 2:
            raise OSError("disk full")
        add_source(*arguments)

    monkeypatch.setattr(op_ingest, "add_source", fail_at_the_second)
    with pytest.raises(OSError, match="disk full"):
        put(store, *files)
    monkeypatch.undo()
    assert store.operations()["m"].tolist() == [1]
    assert store.sql("SELECT count(*) FROM sources").rows == [[1]]
    assert [counts.stored for counts in put(store, *files) if isinstance(counts, ImportCounts)] == [1, 1]


def test_text_of_a_file_is_data_never_sql(store: Store, write: Write) -> None:
    evil = "'); DROP TABLE sources; --"
    path = write(f'"{evil}",kernel,"a""b",ms\n1,{evil},2,1\nx,,,-1\n')
    numbers = {"m": Number((evil,))}
    counts = only(store, gemm(path, numbers=numbers, texts={"kernel": ("kernel",)}))
    assert counts.quarantined == 1
    assert store.operations()["kernel"].tolist() == [evil]
    assert store.sql('SELECT "column" FROM quarantine').rows == [[evil]]


def test_a_better_reading_takes_the_place_of_an_older_one(store: Store, write: Write) -> None:
    path = write("m,ms\n1,1\n2,1\n")
    put(store, gemm(path))
    (counts,) = store.ingest_operations([(Source(str(path), "new", "test", 2), gemm(path, given={"op": "rope"}), [1])])
    assert isinstance(counts, ImportCounts)
    assert counts.stored == 2
    assert store.sql("SELECT op, count(*) FROM op_measurements GROUP BY op").rows == [["rope", 2]]
    assert store.sql("SELECT source_id, importer_version FROM sources").rows == [[1, 2]]


def test_a_table_is_kept_until_the_database_changes(store: Store, write: Write) -> None:
    put(store, gemm(write("m,ms\n1,1\n")))
    first = store.operations(op="gemm")
    assert store.operations(op="gemm") is first
    assert Store(store.path).operations(op="gemm") is first
    with pytest.raises(ValueError, match="read-only"):
        first["m"][0] = 2
    put(store, gemm(write("m,ms\n5,1\n", "more.csv")))
    assert store.operations(op="gemm")["m"].tolist() == [1, 5]
    assert first["m"].tolist() == [1]
    assert len(store.operations(op="rope")) == 0
    assert len(store.operations(op="gemm")) == 2


def test_an_empty_database_answers_with_empty_columns(store: Store) -> None:
    found = store.operations(op="gemm")
    assert len(found) == 0
    assert found["latency_s"].tolist() == found["platform"].tolist() == []


VERSION_2 = """
INSERT INTO op_measurements VALUES
  (1, 1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1, 'H100', 'vllm', '0.8', 'gemm', 'bf16', '{"k":512,"m":64,"n":128}',
   64, 128, 512, NULL, NULL, NULL, 0.5, 0.25),
  (1, 2, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', 1, NULL, NULL, NULL, 'moe', NULL,
   '{"experts":99999,"spin":"up","tokens":3.5,"topk":2}', NULL, NULL, NULL, NULL, NULL, NULL, 0.75, NULL),
  (1, 3, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13', 1, NULL, NULL, NULL, 'odd', NULL, NULL, 1, 2.5, NULL, NULL, NULL, NULL,
   1, NULL), (1, 4, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13', 2, NULL, NULL, NULL, 'odd', NULL, '{}', NULL, NULL, NULL,
   NULL, NULL, NULL, 1, NULL)
"""


def test_rows_of_an_older_database_are_kept_with_all_they_say(store: Store) -> None:
    with engine() as connection:
        connection.execute("ATTACH ? AS db", [str(store.path)])
        connection.execute("USE db")
        schema.migrate(connection, store.path, upto=2)
        connection.execute(VERSION_2)
    columns = "source_row, platform, engine_version, op, m, n, k, tokens, topk, experts, more, latency_s, spread"
    rows = store.sql(f"SELECT {columns} FROM op_measurements ORDER BY source_row").rows
    more = [json.loads(str(row.pop(10) or "{}")) for row in rows]
    assert rows == [
        [1, "H100", "0.8", "gemm", 64, 128, 512, None, None, None, 0.5, 0.25],
        [2, None, None, "moe", *[None] * 4, 2, None, 0.75, None],
        [3, None, None, "odd", *[None] * 6, 1, None],
        [4, None, None, "odd", *[None] * 6, 1, None],
    ]
    assert more == [{}, {"experts": 99999, "spin": "up", "tokens": 3.5}, {"a1": 1, "a2": 2.5}, {}]
    assert store.sql("SELECT DISTINCT origin FROM op_measurements").rows == [["measured"]]


WORKER = """
import sys
from pathlib import Path
from perfdb.batch import Number, OperationFile, Reading, Source
from perfdb.store import Store, op_ingest
op_ingest._GROUP_ROWS = 5000
folder, first = Path(sys.argv[1]), int(sys.argv[2])
path = folder / "ops.csv"
def files():
    for number in range(first, first + 10_000):
        given = {"op": "gemm", "platform": f"p{number}"}
        file = OperationFile(path, (Reading(Number(("ms",), per=1000)),), given, numbers={"m": Number(("m",))})
        yield Source(f"file-{number}", f"hash-{number}", "test"), file, ()
print("ready", flush=True)
for counts in Store(folder / "perf.duckdb").ingest_operations(files()):
    print(counts.stored, flush=True)
"""


def test_killed_while_importing_keeps_whole_files_only(store: Store, write: Write) -> None:
    write("m,ms\n" + "".join(f"{i},{i + 1}\n" for i in range(1000)))
    rng, files = random.Random(2), 0
    for attempt in range(3):
        command = [sys.executable, "-c", WORKER, str(store.path.parent), str(attempt * 10_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "1000\n"]
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 0.9))
            process.send_signal(signal.SIGKILL)
            told = 1 + len(process.stdout.read().split())
        whole = store.sql(
            """SELECT count(*), count(*) FILTER (WHERE n = 1000), count(path) FROM sources s FULL JOIN
               (SELECT source_id, count(*) AS n FROM op_measurements GROUP BY 1) USING (source_id)"""
        ).rows[0]
        assert whole[0] == whole[1] == whole[2] >= files + told
        files = int(str(whole[0]))
    assert files > 0


def test_readers_and_a_second_importer_take_turns_with_a_long_import(store: Store, write: Write) -> None:
    path = write("m,ms\n" + "".join(f"{i},{i + 1}\n" for i in range(1000)))
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(store.path.parent), "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "1000\n":
            pass
        for number in range(3):
            rows, files = store.sql("SELECT count(*), count(DISTINCT source_id) FROM op_measurements").rows[0]
            assert rows == 1000 * int(str(files))
            (counts,) = store.ingest_operations(
                [(Source("mine", f"mine-{number}", "test"), gemm(path, given={"op": f"mine{number}"}), ())]
            )
            assert isinstance(counts, ImportCounts)
            assert counts.stored == 1000
        process.send_signal(signal.SIGKILL)
    assert len(store.operations(op="mine2")) == 1000
    assert np.isfinite(store.operations(op="mine2")["latency_s"]).all()
