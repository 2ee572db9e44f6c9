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
        """The tables of a platform and engine version (None: the newest); where nothing was measured they answer by the
        rates that ship with the product. None on a CPU: the roofline knows its threads and block formats."""
        key = (platform.name, engine, version)
        if key not in self._opened:
            self._opened[key] = self._open(platform, engine, version)
        return self._opened[key]

    def _open(self, platform: PlatformFacts, engine: str, version: str | None) -> Tables | None:
        if platform.kind == "cpu":
            return None
        # the tables' kernels take their time to import: only where steps are made of them
        from model.tables.library import Tables

        sets = self.sets_of(platform.name)
        return Tables(platform, engine, version, sets, self.fetch, packed=self._packed, identity=self.identity)


NO_TABLES = Shelf(lambda _platform: (), lambda **_filters: OperationTable({}, 0))
"""Nothing was measured anywhere."""
