"""What was measured at one operating point of one config: found in microseconds while the database is unchanged."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfdb.metrics import Statistic
from perfdb.records import Config, Measurement, Outcome, PointResult, Target, Workload
from perfdb.store.connect import Database
from perfdb.store.unchanged import Identity, identity_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_TEXTS = ("model", "platform", "engine", "config_key", "arrival")
_NUMBERS = ("devices", "isl", "osl", "concurrency", "request_rate", "batch_size")
_ASKED = ("engine_version", "lengths", "client")
"""Facts that are compared only where they are asked for."""
_MOST_KEPT = 2


@dataclass(frozen=True)
class _Index:
    """n points sorted by `keys`; the measurements of point i are those from `starts[i]` to `starts[i + 1]`.

    `facts[name]` and `outcomes` are `n`; `kinds` are places in `names`, as many as `values`.
    """

    keys: npt.NDArray[np.uint64]
    facts: dict[str, npt.NDArray[Any]]
    outcomes: npt.NDArray[Any]
    starts: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int16]
    values: npt.NDArray[np.float64]
    names: list[tuple[str, Statistic]]

    def results(self, key: int, workload: Workload, engine_version: str | None) -> list[PointResult]:
        first, last = np.searchsorted(self.keys, np.uint64(key)), np.searchsorted(self.keys, np.uint64(key), "right")
        asked = {"engine_version": engine_version, "lengths": workload.lengths, "client": workload.client}
        wanted = {name: text for name, text in asked.items() if text is not None}
        rows = [i for i in range(first, last) if all(self.facts[name][i] == text for name, text in wanted.items())]
        return [self._result(i, workload) for i in rows]

    def _result(self, i: int, workload: Workload) -> PointResult:
        part = slice(self.starts[i], self.starts[i + 1])
        named = (self.names[kind] for kind in self.kinds[part].tolist())
        pairs = zip(named, self.values[part].tolist(), strict=True)
        measured = tuple(Measurement(metric, statistic, value) for (metric, statistic), value in pairs)
        told = replace(workload, lengths=self.facts["lengths"][i], client=self.facts["client"][i])
        return PointResult(told, measured, Outcome(self.outcomes[i]))


_kept: dict[Path, tuple[Identity, _Index]] = {}
_guard = threading.Lock()


def look_up(database: Database, target: Target, config: Config, workload: Workload) -> list[PointResult]:
    """The points of one key, oldest first; see `Store.look_up`."""
    return _index(database).results(_key(target, config, workload), workload, target.engine_version)


def _index(database: Database) -> _Index:
    with _guard:
        path, identity = database.path.resolve(), identity_of(database.path)
        known = _kept.get(path)
        if known is None or known[0] != identity:
            with database.reading() as connection:
                known = (identity_of(database.path), _read(connection))
            _kept.pop(path, None)
            while len(_kept) >= _MOST_KEPT:
                _kept.pop(next(iter(_kept)))
            _kept[path] = known
        return known[1]


def _key(target: Target, config: Config, workload: Workload) -> int:
    """The first half of the MD5 of all facts, spelled as `_KEY_SQL` spells them."""
    texts = (target.model, target.platform, target.engine, config.key, workload.arrival)
    numbers = (target.devices, *(getattr(workload, name) for name in _NUMBERS[1:]))
    spelled = [f"{len(text)}:{text}" if text else "" for text in map(_text, texts)]
    spelled += ["" if number is None else f"{float(number):.9g}" for number in numbers]
    return int(hashlib.md5("|".join(spelled).encode(), usedforsecurity=False).hexdigest()[:16], 16)


def _text(value: object) -> str:
    return "" if value is None else str(value)


_KEY_SQL = ", ".join(
    [
        *(f"CASE WHEN {name} <> '' THEN length({name}) || ':' || {name} ELSE '' END" for name in _TEXTS),
        *(f"coalesce(format('{{:.9g}}', {name}::DOUBLE), '')" for name in _NUMBERS),
    ]
)


def _read(connection: Connection) -> _Index:
    found = connection.execute(
        f"""SELECT ('0x' || left(md5(concat_ws('|', {_KEY_SQL})), 16))::UBIGINT AS key, point_id,
                   outcome, {", ".join(_ASKED)}
            FROM operating_points ORDER BY key, point_id"""
    ).fetchnumpy()
    ids = np.asarray(found["point_id"], dtype=np.int64)
    names = connection.execute("SELECT DISTINCT metric, statistic FROM measurements ORDER BY ALL").fetchall()
    kinds = " ".join(f"WHEN metric = '{m}' AND statistic = '{s}' THEN {i}" for i, (m, s) in enumerate(names))
    measured = connection.execute(
        f"""SELECT point_id, (CASE {kinds} END)::SMALLINT AS kind, value FROM measurements
            ORDER BY point_id, rowid"""
        if names
        else "SELECT point_id, 0::SMALLINT AS kind, value FROM measurements"
    ).fetchnumpy()
    return _sorted(found, ids, measured, [(str(metric), Statistic(statistic)) for metric, statistic in names])


def _sorted(
    found: dict[str, Any], ids: npt.NDArray[np.int64], measured: dict[str, Any], names: list[tuple[str, Statistic]]
) -> _Index:
    """Bring the measurements, which come by point, into the order of the keys."""
    of = np.asarray(measured["point_id"], dtype=np.int64)
    begin, end = np.searchsorted(of, ids), np.searchsorted(of, ids, side="right")
    starts = np.r_[0, np.cumsum(end - begin)].astype(np.int64)
    places = np.repeat(begin - starts[:-1], end - begin) + np.arange(starts[-1])
    facts = {name: _objects(found[name]) for name in _ASKED}
    kinds = np.asarray(measured["kind"], dtype=np.int16)[places]
    values = np.asarray(measured["value"], dtype=np.float64)[places]
    keys = np.asarray(found["key"], dtype=np.uint64)
    return _Index(keys, facts, _objects(found["outcome"]), starts, kinds, values, names)


def _objects(column: Any) -> npt.NDArray[Any]:
    objects = np.array(np.ma.getdata(column), dtype=object)
    objects[np.ma.getmaskarray(column)] = None
    return objects
