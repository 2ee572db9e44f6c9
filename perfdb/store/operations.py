"""Tables of measured operations as columns, kept in memory until the database changes."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfdb.errors import UnknownNameError
from perfdb.kept import Arrays, as_text, from_text
from perfdb.operations import ARGUMENTS, COLUMNS, TEXTS, VALUES, OperationSet, OperationTable
from perfdb.store.connect import Database
from perfdb.store.unchanged import identity_of, kept_with

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

FILTERS = ("platform", "engine", "engine_version", "op", "dtype")
_NUMBERS = (*ARGUMENTS, *VALUES, "measured_at")
_MOST_ROWS = 4_000_000
"""Rows that are kept in memory, over all tables: about 100 bytes each."""

_SETS = ("engine", "engine_version", "op", "dtype", "kv_dtype")
_MOST_SETS = 64

_Key = tuple[object, ...]
_sets: OrderedDict[_Key, tuple[OperationSet, ...]] = OrderedDict()
_kept: OrderedDict[_Key, OperationTable] = OrderedDict()
_kept_guard = threading.Lock()


def operations(
    database: Database, filters: Mapping[str, str | None], columns: Sequence[str] | None = None
) -> OperationTable:
    """Rows of the operation tables; see `Store.operations`."""
    wanted = {name: filters.get(name) for name in FILTERS if filters.get(name) is not None}
    key = (*identity_of(database.path), *sorted(wanted.items()), columns and tuple(columns))
    with _kept_guard:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    with database.reading(is_kept=True) as connection:
        table = _read(connection, wanted) if columns is None else _read_some(connection, wanted, columns)
    with _kept_guard:
        for other in [known for known in _kept if known[0] == key[0] and known[1:3] != key[1:3]]:
            del _kept[other]  # of this database before it changed
        _kept[key] = table
        while len(_kept) > 1 and sum(map(len, _kept.values())) > _MOST_ROWS:
            _kept.popitem(last=False)
    return table


def operation_sets(database: Database, platform: str) -> tuple[OperationSet, ...]:
    """Which operation tables there are; see `Store.operation_sets`."""
    key = (*identity_of(database.path), platform)
    with _kept_guard:
        if key in _sets:
            return _sets[key]
    found = kept_with(
        database.path, f"sets of {platform}", lambda: _read_sets(database, platform), _sets_as_text, _sets_from_text
    )
    with _kept_guard:
        _sets[key] = found
        while len(_sets) > _MOST_SETS:
            _sets.popitem(last=False)
    return found


def tables_identity(database: Database) -> str:
    """What changes whenever an operation table does, but not with the measured runs; see `Store.tables_identity`."""
    return kept_with(
        database.path,
        "identity",
        lambda: _read_state(database),
        lambda found: {"identity": as_text(found)},
        lambda arrays: str(from_text(arrays["identity"])),
    )


def _read_state(database: Database) -> str:
    """A digest of the files that the rows are from, how they were read, and the latencies of each."""
    with database.reading(is_kept=True) as connection:
        rows = connection.execute(
            """SELECT content_hash, settings, importer_version, many, latencies FROM (
                   SELECT source_id, count(*) AS many, bit_xor(hash(source_row, latency_s)) AS latencies
                   FROM op_measurements GROUP BY source_id) LEFT JOIN sources USING (source_id) ORDER BY ALL"""
        ).fetchall()
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _read_sets(database: Database, platform: str) -> tuple[OperationSet, ...]:
    wanted = ", ".join([*_SETS, "count(*)", "min(latency_s)"])
    with database.reading(is_kept=True) as connection:
        rows = connection.execute(
            f"SELECT {wanted} FROM op_measurements WHERE platform = ? GROUP BY ALL ORDER BY ALL", [platform]
        ).fetchall()
    return tuple(OperationSet(*row) for row in rows)


def _sets_as_text(found: tuple[OperationSet, ...]) -> Arrays:
    return {"sets": as_text([astuple(one) for one in found])}


def _sets_from_text(arrays: Arrays) -> tuple[OperationSet, ...]:
    return tuple(OperationSet(*row) for row in from_text(arrays["sets"]))


def _read(connection: Connection, wanted: Mapping[str, str | None]) -> OperationTable:
    """Texts are read once per combination that occurs and joined by number: as objects they would cost most."""
    values = list(wanted.values())
    counts = ", ".join(f"count({name}) AS {name}" for name in _NUMBERS)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE said AS SELECT *, (row_number() OVER ())::INTEGER - 1 AS place FROM (
                SELECT source_id, {", ".join(TEXTS)}, {counts} FROM op_measurements
                WHERE {_condition("", wanted)} GROUP BY source_id, {", ".join(TEXTS)})""",
        values,
    )
    said = connection.execute(
        f"""SELECT s.path, said.source_id, {", ".join((*TEXTS, *_NUMBERS))}
            FROM said LEFT JOIN sources s USING (source_id) ORDER BY place"""
    )
    known = dict(zip(("source", "source_id", *TEXTS, *_NUMBERS), zip(*said.fetchall(), strict=True), strict=False))
    numbers = [name for name in _NUMBERS if any(known.get(name, ()))]
    differing = [name for name in ("source_id", *TEXTS) if len(set(known.get(name, ()))) > 1]
    same = " AND ".join(f"o.{name} IS NOT DISTINCT FROM said.{name}" for name in differing) or "true"
    found = connection.execute(
        f"""SELECT said.place, {"".join(f"{_sql(name)} AS {name}, " for name in numbers)}
            FROM op_measurements o JOIN said ON {same} WHERE {_condition("o.", wanted)}
            ORDER BY o.source_id, o.source_row""",
        values,
    ).fetchnumpy()
    places = np.asarray(found["place"], dtype=np.int64)
    texts = {name: _objects(known.get(name, ()))[places] for name in ("source", *TEXTS) if any(known.get(name, ()))}
    columns = {**texts, **{name: _floats(found[name]) for name in numbers}}
    for column in columns.values():
        column.setflags(write=False)  # callers share it
    return OperationTable(columns, len(places))


def _read_some(connection: Connection, wanted: Mapping[str, str | None], columns: Sequence[str]) -> OperationTable:
    """Some columns; texts are read once per combination that occurs, which a digest of 64 bits tells apart.

    Raises:
        UnknownNameError: no column is called so.
    """
    for name in columns:
        if name not in COLUMNS:
            raise UnknownNameError.of("column of operation tables", name, COLUMNS)
    texts, numbers = ([name for name in columns if (name in TEXTS) is is_text] for is_text in (True, False))
    said = f"hash({', '.join(texts)})" if texts else "0"
    found = connection.execute(
        f"""SELECT rowid AS place, {said} AS said, {", ".join(map(_sql, numbers)) or "0"}
            FROM op_measurements o WHERE {_condition("", wanted)}""",
        list(wanted.values()),
    ).fetchnumpy()
    first, kind = _kinds(np.asarray(found["said"]))
    told = _texts_of(connection, texts, np.asarray(found["place"])[first].tolist())
    read: dict[str, npt.NDArray[Any]] = {name: _objects(values)[kind] for name, values in told.items()}
    read |= {name: _floats(found[name]) for name in numbers}
    for column in read.values():
        column.setflags(write=False)
    return OperationTable(read, len(kind))


def _kinds(codes: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A row of each code, and the number of each row's, `n`."""
    if len(codes) and (codes == codes[0]).all():
        return np.zeros(1, np.int64), np.zeros(len(codes), np.int64)
    _, first, kind = np.unique(codes, return_index=True, return_inverse=True)
    return first, kind.reshape(-1)


def _texts_of(connection: Connection, texts: Sequence[str], places: Sequence[int]) -> dict[str, list[object]]:
    """The text columns of the rows at the given places, in that order."""
    if not places:
        return {name: [] for name in texts}
    listed, numbers = ", ".join(["rowid", *texts]), ", ".join(map(str, places))
    rows = connection.execute(f"SELECT {listed} FROM op_measurements WHERE rowid IN ({numbers})").fetchall()
    at = {row[0]: row[1:] for row in rows}
    return {name: [at[place][number] for place in places] for number, name in enumerate(texts)}


def _condition(prefix: str, wanted: Mapping[str, str | None]) -> str:
    return " AND ".join(f"{prefix}{name} = ?" for name in wanted) or "true"


def _sql(name: str) -> str:
    return "epoch(o.measured_at)" if name == "measured_at" else f"o.{name}"


def _objects(values: Sequence[object]) -> npt.NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _floats(column: Any) -> npt.NDArray[np.float64]:
    values = np.ma.getdata(column).astype(np.float64)
    if np.ma.is_masked(column):
        values[np.ma.getmaskarray(column)] = np.nan
    return values
