"""kill -9 at random moments, 20 times while importing and 20 times while recording; prints what was found.

Run: `python tests/bench/store_crash.py [ROUNDS]`.
"""

from __future__ import annotations

import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from perfdb.store import Store

WORKER = Path(__file__).parents[1] / "perfdb" / "store_worker.py"
WHOLE = runpy.run_path(str(WORKER))["WHOLE"]


def killed(mode: str, path: Path, first: int, after_s: float) -> set[int]:
    """Kill a writer `after_s` seconds after it is ready; the steps it said were committed."""
    command = [sys.executable, str(WORKER), mode, str(path), str(first), "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise SystemExit("the writer did not start")
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        return {int(line) for line in process.stdout.read().split()}


def there(store: Store, mode: str) -> tuple[set[int], int]:
    """The steps that are stored, and how many of them only in part."""
    if mode == "ingest":
        files = store.sql("SELECT path FROM sources").rows
        return {int(str(name).split("-")[1]) for (name,) in files}, int(str(store.sql(WHOLE).rows[0][0]))
    stored = store.experiments()
    return {e.index for e in stored}, sum([len(p.measurements) for p in e.points] != [3, 3] for e in stored)


def main(rounds: int) -> None:
    """Print one line per kill and stop at the first loss."""
    for mode in ("ingest", "record"):
        with tempfile.TemporaryDirectory() as folder:
            path, rng, told, journals = Path(folder) / "crash.duckdb", random.Random(), set[int](), 0
            for turn in range(rounds):
                told |= killed(mode, path, max(told, default=-1) + 2, rng.uniform(0.0, 0.4))
                journals += path.with_name(f"{path.name}.wal").exists()
                stored, halves = there(Store(path), mode)
                print(f"{mode} {turn + 1:2d}: {len(told)} told, {len(stored)} stored, {halves} in part", flush=True)
                if halves or not told <= stored:
                    raise SystemExit(f"lost {sorted(told - stored)}, {halves} in part")
            print(f"{mode}: {rounds} kills, {journals} left a journal, nothing lost, nothing in part")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
