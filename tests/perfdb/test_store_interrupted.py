"""Ctrl-C: it ends a query of DuckDB as it ends everything else, and what was not committed is not there."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from perfdb.batch import Batch, Source
from perfdb.metrics import Statistic
from perfdb.store import Store
from perfdb.store.engine import engine

# with one thread, as DuckDB hears of it between two tasks of the thread that asked
ENDLESS = "SET threads = 1; SELECT count(*) FROM range(1000000000000) WHERE hash(range) = 1"


@pytest.fixture
def soon() -> Iterator[None]:
    """Ctrl-C in a tenth of a second."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("soon")
def test_a_query_that_is_interrupted_ends_as_all_code_does() -> None:
    with pytest.raises(KeyboardInterrupt), engine() as connection:
        connection.execute(ENDLESS)


def test_other_failures_keep_their_kind() -> None:
    with pytest.raises(RuntimeError, match="something else"), engine():
        raise RuntimeError("something else")


def test_an_interrupted_import_stores_nothing_and_the_next_one_everything(tmp_path: Path) -> None:
    store, source = Store(tmp_path / "perf.duckdb"), Source("a.csv", "hash", "csv")
    batch = Batch(np.array([1]), {}, {("ttft_s", Statistic.MEAN): np.array([0.1])})

    def interrupted() -> Iterator[Batch]:
        yield batch
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.ingest(source, interrupted())
    assert store.sources() == []
    assert store.ingest(source, [batch]).stored == 1
