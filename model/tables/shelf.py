"""The operation tables of a database, by platform and engine version, each opened when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfdb.facts.platforms import PlatformFacts
from perfdb.operations import OperationSet, OperationTable

if TYPE_CHECKING:
    from model.tables.library import Tables
    from model.tables.pack import Table


@dataclass(frozen=True, eq=False)
class Shelf:
    """Where tables come from: `sets_of(platform name)` says what there is, `fetch` reads it (see `perfdb.store`).

    `identity` changes whenever the tables may have changed, None where nothing says so.
    """

    sets_of: Callable[[str], Sequence[OperationSet]]
    fetch: Callable[..., OperationTable]
    identity: str | None = None
    _opened: dict[tuple[str, str, str | None], Tables | None] = field(default_factory=dict)
    _packed: dict[tuple[str | None, ...], Table | None] = field(default_factory=dict)

    def of(self, platform: PlatformFacts, engine: str, version: str | None) -> Tables | None:
        """The tables of a platform and engine version (None: the newest), None where nothing was measured there."""
        key = (platform.name, engine, version)
        if key not in self._opened:
            self._opened[key] = self._open(platform, engine, version)
        return self._opened[key]

    def _open(self, platform: PlatformFacts, engine: str, version: str | None) -> Tables | None:
        sets = self.sets_of(platform.name)
        if not sets or platform.kind == "cpu":
            return None
        # compiled look-ups take their time to import: only where there is something to look up
        from model.tables.library import Tables

        return Tables(platform, engine, version, sets, self.fetch, packed=self._packed)
