"""A process that writes to, or reads from, a database until it has done its share or is killed.

Usage: store_worker.py {ingest|record|read} DATABASE FIRST COUNT. It prints a line after each committed step.
"""

from __future__ import annotations

import sys
from itertools import count, islice

import numpy as np

from perfdb.batch import Batch, Source
from perfdb.metrics import Statistic
from perfdb.records import Config, Experiment, Measurement, Outcome, PointResult, Target, Workload
from perfdb.store import Store

ROWS = 3000
WHOLE = f"""
SELECT count(*) FROM (
    SELECT source_id, count(DISTINCT point_id) AS points, count(value) AS numbers, count(s.path) AS named
    FROM sources s FULL JOIN operating_points p USING (source_id) FULL JOIN measurements m USING (point_id)
    GROUP BY source_id HAVING points <> {ROWS} OR numbers <> 2 * {ROWS} OR named <> numbers
)"""
"""Files that are not there as a whole."""


def ingest_one(store: Store, number: int) -> None:
    rows = np.arange(1, ROWS + 1)
    batch = Batch(
        rows,
        {"model": np.full(ROWS, f"m{number}", dtype=object), "isl": rows.astype(np.float64)},
        {("ttft_s", Statistic.MEAN): rows / 7, ("output_tps", Statistic.VALUE): rows * 1.5},
    )
    store.ingest(Source(f"file-{number}", f"hash-{number}", "test"), [batch])


def record_one(store: Store, number: int) -> None:
    run = store.open_run("crash", "crash", {})
    numbers = tuple(Measurement("ttft_s", Statistic.MEAN, value) for value in (0.1, 0.2, 0.3))
    points = (PointResult(Workload(isl=1), numbers), PointResult(Workload(isl=2), numbers))
    config, target = Config({"n": number}), Target("m", "p", "e")
    store.record(Experiment(f"{run}-{number}", run, number, config, target, Outcome.OK, "random", points=points))


def read_one(store: Store, number: int) -> None:
    table = store.sql(f"SELECT ({WHOLE}), (SELECT count(*) FROM sources)")
    halves, files = table.rows[0]
    if halves:
        raise SystemExit(f"read {number}: {halves} of {files} files are there in part")


def main() -> None:
    mode, path, first, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    step = {"ingest": ingest_one, "record": record_one, "read": read_one}[mode]
    store = Store(path)
    print("ready", flush=True)
    for number in islice(count(first), steps):
        step(store, number)
        print(number, flush=True)


if __name__ == "__main__":
    main()
