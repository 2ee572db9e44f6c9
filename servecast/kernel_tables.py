"""The operation tables that a question's steps are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.tables.shelf import Shelf
from perfdb.facts.engines import engine
from perfdb.facts.platforms import PlatformFacts, platform
from perfdb.operations import OperationTable

if TYPE_CHECKING:
    from model.tables.library import Tables
    from perfdb.store import Store


def shelf_of(store: Store) -> Shelf | None:
    """The operation tables of a database, None where there is no file yet."""
    if not store.path.exists():
        return None
    stat = store.path.stat()
    identity = f"{store.path.resolve()}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
    return Shelf(store.operation_sets, store.operations, identity)


def tables_of(hardware: PlatformFacts, engine_name: str, version: str | None, store: Store | None) -> Tables:
    """The tables of a platform and engine; without a store, or with an empty one, rates that ship with the product."""
    from model.tables.library import Tables

    if store is None or not store.path.exists():
        return Tables(hardware, engine_name, version, (), _nothing)
    return Tables(hardware, engine_name, version, store.operation_sets(hardware.name), store.operations)


def tables_named(platform_name: str, engine_text: str, store: Store) -> Tables:
    """The tables of a platform and "engine" or "engine:version".

    Raises:
        UnknownNameError: the platform or engine is not known.
    """
    name, _, version = engine_text.partition(":")
    return tables_of(platform(platform_name), engine(name).name, version or None, store)


def _nothing(**_filters: str) -> OperationTable:
    return OperationTable({}, 0)
