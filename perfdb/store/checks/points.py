"""The usable points of a database as columns, and which of them are alike in what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfdb.metrics import Statistic
from perfdb.quality import Floats, Ints, Spread, spread
from perfdb.store.results import values_by_statistic
from perfdb.trend import Line

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

CONTEXT = "model, platform, devices, engine, engine_version, coalesce(config, '{}'), client, origin"
_LOAD = "arrival, concurrency, request_rate, batch_size"
KEY = f"{CONTEXT}, isl, osl, lengths, {_LOAD}"
"""What is recorded of what was run: points alike in all of it are replicates."""
_SHAPE = "left(lengths, 1)"
_MAIN_LOAD = {
    "concurrency": "coalesce(arrival = 'closed', false)",
    "batch_size": "coalesce(arrival = 'batch', false)",
    "request_rate": "coalesce(arrival NOT IN ('closed', 'batch'), true)",
}
"""The column that says how heavy a load is -> for which arrivals."""
_CASES = " ".join(f"WHEN {test} THEN {name}" for name, test in _MAIN_LOAD.items())
_OTHER_LOADS = ", ".join(f"CASE WHEN NOT {test} THEN {name} END" for name, test in _MAIN_LOAD.items())
_AXES = {
    "load": (f"{CONTEXT}, isl, osl, lengths, arrival, {_OTHER_LOADS}", f"CASE {_CASES} END"),
    "isl": (f"{CONTEXT}, osl, {_SHAPE}, {_LOAD}", "isl"),
    "osl": (f"{CONTEXT}, isl, {_SHAPE}, {_LOAD}", "osl"),
    "both": (f"{CONTEXT}, osl / isl, {_SHAPE}, {_LOAD}", "isl"),
}
"""Axis -> (what is alike along it, what changes)."""


@dataclass(frozen=True)
class Points:
    """All n usable points (outcome ok), in the order of their `ids`."""

    connection: Connection
    ids: Ints

    @classmethod
    def of(cls, connection: Connection) -> Points:
        """Those of the attached database."""
        found = connection.execute("SELECT point_id FROM operating_points WHERE outcome = 'ok' ORDER BY 1").fetchnumpy()
        return cls(connection, np.asarray(found["point_id"], dtype=np.int64))

    @cached_property
    def values(self) -> dict[tuple[str, Statistic], Floats]:
        """(metric, statistic) -> values, `n`, NaN where not measured."""
        return values_by_statistic(self.connection, self.ids)

    @cached_property
    def key(self) -> Ints:
        """Which points are replicates: number of the key, `n`."""
        return np.unique(self.hashed(KEY), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def repeated(self) -> Ints:
        """Rows of the points whose key another point has, too."""
        return np.flatnonzero(np.bincount(self.key)[self.key] > 1).astype(np.int64)

    @cached_property
    def lines(self) -> list[Line]:
        """The axes along which points follow a trend."""
        return [Line(self.hashed(alike), self.number(x), name == "load") for name, (alike, x) in _AXES.items()]

    def spread(self, metric: str, statistic: Statistic) -> Spread:
        """How far replicates lie apart in one metric."""
        return spread(self.key[self.repeated], self.values[(metric, statistic)][self.repeated])

    def members(self, keys: list[int]) -> list[list[int]]:
        """The point ids of each key that has replicates."""
        order = self.repeated[np.argsort(self.key[self.repeated], kind="stable")]
        starts = np.searchsorted(self.key[order], keys)
        ends = np.searchsorted(self.key[order], keys, side="right")
        return [self.ids[order[start:end]].tolist() for start, end in zip(starts, ends, strict=True)]

    def hashed(self, columns: str) -> npt.NDArray[np.uint64]:
        """A 64-bit number of these columns, `n`."""
        return np.asarray(self._column(f"hash({columns})"), dtype=np.uint64)

    def number(self, expression: str) -> Floats:
        """A numeric expression over the table, `n`, NaN where unknown."""
        return np.ma.filled(np.ma.asarray(self._column(f"({expression})::DOUBLE")), np.nan)

    def _column(self, expression: str) -> Any:
        query = f"SELECT {expression} AS v FROM operating_points WHERE outcome = 'ok' ORDER BY point_id"
        return self.connection.execute(query).fetchnumpy()["v"]
