"""The operation tables that a question's steps are made of."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from model.tables.shelf import NO_TABLES, Shelf
from perfdb.errors import InputError, UnknownNameError
from perfdb.facts.engine_names import kernels_of, name_and_version
from perfdb.facts.platforms import PlatformFacts, platform

if TYPE_CHECKING:
    from model.tables.library import Tables
    from perfdb.store import State, Store


def shelf_of(store: Store) -> Shelf:
    """The operation tables of a database, of a file that is not there yet none; the same until a table changes."""
    return _shelf(_tables_state(store.state)) if store.path.exists() else NO_TABLES


@lru_cache(maxsize=4)
def _tables_state(state: State) -> State:
    """The state of the tables alone: runs may be written meanwhile."""
    store = state.store
    return replace(state, identity=(store.path.absolute(), store.tables_identity()))


@lru_cache(maxsize=4)
def _shelf(state: State) -> Shelf:
    return Shelf(state.store.operation_sets, state.store.operations, str(state.identity[-1]))


def tables_of(hardware: PlatformFacts, engine_name: str, version: str | None, store: Store | None) -> Tables:
    """The tables of a platform and engine; without a store, or with an empty one, rates that ship with the product."""
    from model.tables.library import Tables

    if store is None or not store.path.exists():
        return Tables(hardware, engine_name, version, (), NO_TABLES.fetch)
    sets = store.operation_sets(hardware.name)
    return Tables(hardware, engine_name, version, sets, store.operations, identity=store.tables_identity())


def tables_named(platform_name: str, engine_text: str, store: Store) -> Tables:
    """The tables of a platform and "engine" or "engine:version"; libraries of kernels count as engines.

    Raises:
        UnknownNameError: the platform or engine is not known. InputError: only tables know the platform.
    """
    name, version = name_and_version(engine_text)
    try:
        hardware = platform(platform_name)
    except UnknownNameError:
        if not (store.path.exists() and store.operation_sets(platform_name)):
            raise
        what = "tables of it are there, but nothing says its memory and its rates"
        raise InputError.at(f"--platform {platform_name}", what, "them in your file of facts (docs/facts.md)") from None
    return tables_of(hardware, kernels_of(name), version, store)
