"""Opening: missing, foreign, damaged, newer, older and busy files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from perfdb.batch import Batch, Source
from perfdb.errors import FileError, InputError, StoreBusyError, StoreError
from perfdb.metrics import Statistic
from perfdb.store import Store, schema, waiting
from perfdb.store.engine import engine
from perfdb.store.provenance_schema import VIEWS

VERSION_1 = """
INSERT INTO runs (run_id, name, task_key, task, opened_at) VALUES ('r', 'old', 'k', '{}', TIMESTAMP '2025-01-01');
INSERT INTO experiments VALUES
  ('r-0', 'r', 0, 'c', '{"n":1}', 'm', 'p', 1, 'e', NULL, 'ok', 'trend', '', NULL, NULL, NULL, 'local', 1.5, 2.5, 0, 0,
   '{"output_tps":{"mean":90,"lo":80,"hi":"Infinity"},"e2e_s_p90":{"mean":4,"lo":3,"hi":5}}', TIMESTAMP '2025-01-01'),
  ('r-1', 'r', 1, 'c', '{"n":2}', 'm', 'p', 1, 'e', NULL, 'oom', 'trend', '', 'out of memory', NULL, NULL, 'local',
   1.5, 2.5, 0, 0, '{}', TIMESTAMP '2025-01-02');
INSERT INTO operating_points (point_id, experiment_id, point_index, outcome, origin) VALUES
  (1, 'r-0', 0, 'ok', 'measured'), (2, 'r-0', 1, 'ok', 'measured');
INSERT INTO measurements VALUES (1, 'output_tps', 'value', 100), (1, 'ttft_s', 'mean', 0.5), (1, 'ttft_s', 'p90', 0.9),
  (1, 'e2e_s', 'p90', 3), (2, 'output_tps', 'value', 7), (2, 'tpot_s', 'mean', 7)
"""


def make(path: Path, statements: str, version: int = schema.CURRENT) -> None:
    with engine() as connection:
        connection.execute("ATTACH ? AS db", [str(path)])
        connection.execute("USE db")
        if version:
            schema.migrate(connection, path, upto=version)
        connection.execute(statements)


def write(store: Store, name: str = "a") -> None:
    values = {("ttft_s", Statistic.MEAN): np.array([0.1])}
    store.ingest(Source(name, name, "csv"), [Batch(np.array([1]), {}, values)])


@contextmanager
def held(path: Path, read_only: bool) -> Iterator[int]:
    """Another process that keeps the file open; its id."""
    code = f"import duckdb; c = duckdb.connect({str(path)!r}, read_only={read_only}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_importing_the_store_loads_neither_duckdb_nor_pandas() -> None:
    code = "import sys, perfdb.store; sys.exit(' '.join({'duckdb', 'pandas', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).stderr == b"\n"


def test_a_missing_file_reads_as_empty_and_is_not_made(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "perf.duckdb"))
    assert store.sql("SELECT count(*) FROM experiments").rows == [[0]]
    assert store.experiments() == []
    assert len(store.results()["ttft_s"]) == 0
    assert store.seen(["x"]) == {}
    assert store.info()["exists"] is False
    assert list(tmp_path.iterdir()) == []


def test_the_first_write_makes_one_file_and_no_call_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "perf.duckdb"
    write(Store(path))
    Store(path).results()
    assert [file.name for file in tmp_path.iterdir()] == ["perf.duckdb"]
    with held(path, read_only=False):
        pass


def test_a_path_with_a_quote_in_it_is_a_path(tmp_path: Path) -> None:
    store = Store(tmp_path / "it's.duckdb")
    write(store)
    assert store.export("sources", tmp_path / "it's.csv") == 1


def test_a_missing_folder_is_bad_input(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere" / "perf.duckdb")
    with pytest.raises(InputError, match=r"nowhere.*folder does not exist"):
        store.experiments()
    with pytest.raises(InputError, match="folder does not exist"):
        write(store)
    with pytest.raises(InputError, match="it is a folder"):
        Store(tmp_path).info()


@pytest.mark.parametrize("content", [b"", b"abc", b"not a database " * 1000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    for use in (Store(path).experiments, lambda: write(Store(path))):
        with pytest.raises(FileError, match=r"notes.txt: not a DuckDB database"):
            use()
    assert path.read_bytes() == content


def test_a_damaged_database_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "perf.duckdb"
    write(Store(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:12288] + b"\xff" * 4096 + whole[16384:])
    with pytest.raises(StoreError, match=r"perf\.duckdb"):
        Store(path).experiments()


def test_someone_elses_duckdb_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.duckdb"
    make(path, "CREATE TABLE penguins (a INTEGER)", version=0)
    with pytest.raises(StoreError, match=r"something else.*penguins"):
        Store(path).experiments()
    with pytest.raises(StoreError, match="something else"):
        write(Store(path))


def test_a_duckdb_file_without_tables_is_taken_over_even_by_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "empty.duckdb"
    make(path, "SELECT 1", version=0)
    assert Store(path).experiments() == []
    assert Store(path).info()["schema_version"] == schema.CURRENT


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.duckdb"
    make(path, "INSERT INTO schema_version VALUES (99, now()::TIMESTAMP)")
    for use in (Store(path).experiments, lambda: write(Store(path))):
        with pytest.raises(StoreError, match=f"99 is newer than this program's {schema.CURRENT}"):
            use()


def test_migration_keeps_old_rows_and_fills_the_new_columns(tmp_path: Path) -> None:
    """S0.46, and S0.42 to S0.44 for rows that were there before."""
    path = tmp_path / "old.duckdb"
    make(path, VERSION_1, version=1)
    first, second = Store(path).experiments("r")
    assert (first.experiment_id, first.config["n"], first.predicted["output_tps"].mean) == ("r-0", 1, 90.0)
    assert (second.outcome, second.error, second.is_on_actual_frontier) == ("oom", "out of memory", False)
    names = "predicted_throughput, predicted_ttft, predicted_latency_p90, actual_throughput, actual_ttft, actual_tpot"
    table = Store(path).sql(f"SELECT {names}, actual_latency_p90, is_on_predicted_frontier FROM experiments")
    assert table.rows == [[90.0, None, 4.0, 100.0, 0.5, None, 3.0, False], [*[None] * 7, False]]
    versions = Store(path).sql("SELECT version FROM schema_version ORDER BY version").rows
    assert versions == [[migration.version] for migration in schema.MIGRATIONS]


def test_made_at_once_or_step_by_step_the_tables_are_the_same(tmp_path: Path) -> None:
    """An empty database skips what moves rows; one that grew up has had every step."""
    at_once, grown = tmp_path / "new.duckdb", tmp_path / "old.duckdb"
    make(at_once, "SELECT 1")
    make(grown, "SELECT 1", version=1)
    shape = "SELECT sql FROM duckdb_tables() UNION ALL SELECT sql FROM duckdb_views() WHERE NOT internal ORDER BY sql"
    assert Store(at_once).sql(shape).rows == Store(grown).sql(shape).rows
    assert len(Store(grown).sql(shape).rows) == len(schema.TABLES) + len(VIEWS)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.duckdb"
    make(path, VERSION_1, version=1)
    broken = schema.Migration(2, (*schema.MIGRATIONS[1].statements, "SELECT nonsense"))
    monkeypatch.setattr(schema, "MIGRATIONS", (schema.MIGRATIONS[0], broken))
    with pytest.raises(StoreError, match="nonsense"):
        Store(path).experiments()
    monkeypatch.undo()
    assert len(Store(path).experiments("r")) == 2


def test_a_journal_without_its_database_is_not_replayed_into_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "perf.duckdb.wal").write_bytes(b"x")
    with pytest.raises(StoreError, match="journal of a database that is gone"):
        write(Store(tmp_path / "perf.duckdb"))


def test_what_a_killed_maker_left_is_cleared(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    (tmp_path / f".perf.duckdb.{gone.pid}-1.new").touch()
    (tmp_path / f".perf.duckdb.{os.getpid()}-1.new").touch()
    write(Store(tmp_path / "perf.duckdb"))
    assert {file.name for file in tmp_path.iterdir()} == {"perf.duckdb", f".perf.duckdb.{os.getpid()}-1.new"}


def test_a_reader_replays_the_journal_of_a_killed_writer(tmp_path: Path) -> None:
    path = tmp_path / "perf.duckdb"
    write(Store(path))
    code = (
        f"import duckdb, os; c = duckdb.connect({str(path)!r}); "
        "c.execute(\"INSERT INTO measurements VALUES (1, 'tpot_s', 'mean', 0.5)\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / "perf.duckdb.wal").exists()
    assert Store(path).results()["tpot_s"].tolist() == [0.5]
    write(Store(path), "b")
    assert not (tmp_path / "perf.duckdb.wal").exists()
    assert Store(path).results()["tpot_s"][0] == 0.5


def test_a_busy_file_is_waited_for_then_named_with_its_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TELL_AFTER_S", 0.0)
    path, told = tmp_path / "perf.duckdb", list[str]()
    write(Store(path))
    store = Store(path, wait_s=0.1, on_wait=told.append)
    with held(path, read_only=False) as process:
        with pytest.raises(StoreBusyError, match=rf"process {process} held the database for 0\.\d s.*--wait"):
            store.experiments()
        assert len(told) == 1
        assert f"process {process} holds the database; waiting up to 0.1 s" in told[0]
    assert store.experiments() == []


def test_readers_do_not_wait_for_a_reader_but_a_writer_does(tmp_path: Path) -> None:
    path = tmp_path / "perf.duckdb"
    write(Store(path))
    with held(path, read_only=True):
        assert Store(path, wait_s=0).experiments() == []
        with pytest.raises(StoreBusyError):
            write(Store(path, wait_s=0), "b")


def test_a_waiting_writer_shuts_the_gate_to_new_readers(tmp_path: Path) -> None:
    """Else readers that overlap each other keep a writer out for ever."""
    if sys.platform != "linux":
        pytest.skip("the gate is Linux's")
    path = tmp_path / "perf.duckdb"
    write(Store(path))
    patient = waiting.Waiter(path, 0.0, None)
    code = f"""
from pathlib import Path
from perfdb.store import Store
from perfdb.errors import StoreBusyError
try: Store(Path({str(path)!r}), wait_s=0).experiments()
except StoreBusyError: print("busy", end="")
"""
    with waiting.gate(path, patient, exclusive=True):
        answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout == "busy"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == ""


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    path, failures = tmp_path / "perf.duckdb", list[BaseException]()

    def work(number: int) -> None:
        try:
            for turn in range(3):
                write(Store(path), f"{number}-{turn}")
                Store(path).sql("SELECT count(*) FROM sources")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Store(path).sql("SELECT count(*) FROM sources").rows == [[12]]


def test_a_database_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """DuckDB cannot make the draft, whose name is longer, and to unlink it fails as on a read-only file system."""
    store = Store(tmp_path / f"{'p' * 240}.duckdb")
    with pytest.raises(StoreError, match=r"p\.duckdb: cannot be written \(File name too long\)"):
        write(store)
    assert list(tmp_path.iterdir()) == []
