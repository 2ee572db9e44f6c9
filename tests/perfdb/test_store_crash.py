"""kill -9 at random moments, and several processes on one file."""

from __future__ import annotations

import random
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perfdb.store import Store

WORKER = Path(__file__).with_name("store_worker.py")
WHOLE = runpy.run_path(str(WORKER))["WHOLE"]


def start(mode: str, path: Path, first: int, steps: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), mode, str(path), str(first), str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_at(mode: str, path: Path, first: int, after_s: float) -> list[int]:
    """Start a writer, kill it `after_s` seconds after it is ready; the steps it said were committed."""
    with start(mode, path, first, 10_000) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(after_s)
        process.send_signal(signal.SIGKILL)
        return [int(line) for line in process.stdout.read().split()]


def test_killed_while_importing_keeps_whole_files_only(tmp_path: Path) -> None:
    path, rng, told = tmp_path / "crash.duckdb", random.Random(1), set[str]()
    for _ in range(4):
        first = len(told) and max(int(name.split("-")[1]) for name in told) + 2
        told |= {f"file-{n}" for n in killed_at("ingest", path, first, rng.uniform(0.0, 0.25))}
        store = Store(path)
        assert store.sql(WHOLE).rows == [[0]]
        assert told <= {str(row[0]) for row in store.sql("SELECT path FROM sources").rows}


@pytest.mark.parametrize("is_linked", [False, True], ids=["before the file is there", "after"])
def test_killed_while_making_the_file_leaves_a_draft_that_the_next_writer_removes(
    tmp_path: Path, is_linked: bool
) -> None:
    path = tmp_path / "crash.duckdb"
    code = f"""
import os, runpy, sys
real = os.link
def link(*paths):
    if {is_linked}:
        real(*paths)
    os.kill(os.getpid(), 9)
os.link = link
sys.argv = ["", "ingest", {str(path)!r}, "0", "1"]
runpy.run_path({str(WORKER)!r}, run_name="__main__")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert path.exists() is is_linked
    assert len(list(tmp_path.glob(".*.new"))) == 1
    assert Store(path).sql("SELECT count(*) FROM sources").rows == [[0]]
    assert start("ingest", path, 0, 1).communicate(timeout=60)[1] == ""
    assert [file.name for file in tmp_path.iterdir()] == ["crash.duckdb"]


def test_killed_while_recording_keeps_every_committed_experiment(tmp_path: Path) -> None:
    path, rng, told = tmp_path / "crash.duckdb", random.Random(2), set[int]()
    for _ in range(4):
        told |= set(killed_at("record", path, len(told) and max(told) + 1, rng.uniform(0.0, 0.25)))
        stored = Store(path).experiments()
        assert told <= {e.index for e in stored}
        assert len({e.experiment_id for e in stored}) == len(stored)
        assert all(len(p.measurements) == 3 for e in stored for p in e.points)
        assert all(len(e.points) == 2 for e in stored)


@pytest.mark.parametrize(
    ("mode", "last_step"),
    [
        ("ingest", "perfdb.store.ingest.add_source"),
        ("ingest", "perfdb.store.ingest._write_measurements"),
        ("record", "perfdb.store.experiments._insert_points"),
    ],
)
def test_killed_within_a_transaction_leaves_nothing_of_it(tmp_path: Path, mode: str, last_step: str) -> None:
    path = tmp_path / "crash.duckdb"
    assert start(mode, path, 0, 1).communicate(timeout=60)[1] == ""
    module = last_step.rpartition(".")[0]
    code = f"""
import os, runpy, sys, {module}
{last_step} = lambda *_: os.kill(os.getpid(), 9)
sys.argv = ["", {mode!r}, {str(path)!r}, "1", "1"]
runpy.run_path({str(WORKER)!r}, run_name="__main__")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    tables = Store(path).info()["tables"]
    if mode == "ingest":
        assert Store(path).sql(WHOLE).rows == [[0]]
        assert tables["sources"] == 1
    else:
        assert (tables["experiments"], tables["operating_points"], tables["measurements"]) == (1, 2, 6)
    assert start(mode, path, 1, 1).communicate(timeout=60)[1] == ""
    assert Store(path).info()["tables"]["operating_points"] == 2 * tables["operating_points"]


def test_two_readers_and_a_writer_see_only_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "shared.duckdb"
    processes = [start("ingest", path, 0, 12), start("read", path, 0, 40), start("read", path, 0, 40)]
    results = [process.communicate(timeout=120) for process in processes]
    assert [(p.returncode, err) for p, (_, err) in zip(processes, results, strict=True)] == [(0, "")] * 3
    assert Store(path).sql("SELECT count(*) FROM sources").rows == [[12]]


def test_two_processes_that_make_the_file_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new.duckdb"
    processes = [start("ingest", path, first, 3) for first in (0, 100)]
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", ""]
    assert Store(path).sql("SELECT count(*) FROM sources").rows == [[6]]
    assert [file.name for file in tmp_path.iterdir()] == ["new.duckdb"]
