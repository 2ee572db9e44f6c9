"""What is said of tables beside their answers: what stands in for what, and what of them is not taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.tables.answer import EXTRAPOLATED, INTERPOLATED
from model.tables.pack import Table
from model.tables.sources import LEAST_ROWS, Choice
from perfdb.operations import OperationSet


@dataclass(frozen=True)
class Asked:
    """Whose tables were asked for: of an engine and its version (None: the newest) on a platform."""

    platform: str
    engine: str
    version: str | None

    def never_measured(self, choice: Choice, sets: Iterable[OperationSet]) -> str | None:
        """That nothing of the version is known, and which one stands in; None where something is, or for another
        engine's table."""
        known = {s.engine_version for s in sets if s.engine == self.engine}
        if self.version is None or self.version in known or choice.engine != self.engine:
            return None
        nearest = f"tables of {self.engine} {choice.version or 'of no known version'}, the nearest version, stand in"
        return f"nothing of {self} on {self.platform} was measured: {nearest}"

    def notes(self, op: str, dtype: str, choice: Choice, table: Table, is_said: bool) -> Iterator[str]:
        """What to say of the table that answers for an operation and its number format; that its version stands
        in for the one asked for may be said already (`is_said`)."""
        is_nearest = is_said and not choice.is_sibling
        whose = f"{choice.engine} {choice.version or ''}".strip()
        if (choice.is_proxy or choice.is_sibling) and not is_nearest:
            wanted = f"{dtype} {op} of {self} on {self.platform}"
            yield f"no {wanted} was measured: that of {whose} in {choice.dtype or dtype} stands in"
        glitches = np.count_nonzero(table.packed.codes == INTERPOLATED)
        if glitches:
            measured = np.count_nonzero(table.packed.codes != EXTRAPOLATED)
            where = f"{choice.dtype or dtype} {op} of {whose} on {self.platform}"
            yield (
                f"measurements of {where} that no neighbour agrees with, and for which these answer: "
                f"{glitches} of {measured}"
            )

    def too_small(self, op: str, dtype: str, sets: Sequence[OperationSet]) -> Iterator[str]:
        """What to say of tables of the engine that would answer, had they more rows."""
        for found in sets:
            is_own = (found.engine, found.op) == (self.engine, op) and found.dtype in {dtype, None}
            if is_own and found.rows < LEAST_ROWS:
                whose = f"{found.engine} {found.engine_version or ''}".strip()
                yield (
                    f"the table of {dtype} {op} of {whose} on {self.platform} has {found.rows} rows and is not used: "
                    f"it takes {LEAST_ROWS}"
                )

    def __str__(self) -> str:
        return f"{self.engine} {self.version or ''}".strip()
