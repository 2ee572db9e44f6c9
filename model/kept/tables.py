"""Packed tables kept on disk: to read and pack the measurements of one kernel takes a tenth of a second or more."""

from __future__ import annotations

from collections.abc import Callable

from model.tables.grid import Packed
from model.tables.pack import Table
from model.tables.spread import NOISE
from perfdb.facts.own import own_facts
from perfdb.kept import Arrays, kept, name_of

_OF_TABLE = ("keys", "lows", "highs")
_NUMBERS = tuple(name for name in Packed._fields if name != "noise")


def kept_table(identity: str | None, parts: object, pack: Callable[[], Table | None]) -> Table | None:
    """What `pack` answers, kept for a database of this identity (None: not at all) and these parts."""
    if identity is None:
        return pack()
    return kept(name_of("table", identity, parts, own_facts()), pack, _arrays, _table)


def _arrays(table: Table | None) -> Arrays:
    if table is None:
        return {}
    packed = {name: getattr(table.packed, name) for name in _NUMBERS}
    return {**packed, **{name: getattr(table, name) for name in _OF_TABLE}}


def _table(arrays: Arrays) -> Table | None:
    if not arrays:
        return None
    packed = Packed._make([*(arrays[name] for name in _NUMBERS), NOISE])
    return Table(packed, *(arrays[name] for name in _OF_TABLE))
