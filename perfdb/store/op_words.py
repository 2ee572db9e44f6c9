"""What a file of operations calls things, spelled as we do: known names one way, unknown ones as they are, aloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfdb.batch import OperationFile
from perfdb.errors import UnknownNameError
from perfdb.facts.engine_names import kernels_of
from perfdb.facts.platforms import canonical_platform
from perfdb.operations import DTYPE_BYTES, OPERATIONS, TEXTS, canonical_dtype
from perfdb.store.op_source import Relation, quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

Group = tuple[str | None, ...]
"""Values of `GROUP`."""
GROUP = ("platform", "engine", "engine_version", "op")
"""Records are the same only within one value of these."""


def _engine(word: str) -> str | None:
    try:
        return kernels_of(word)
    except UnknownNameError:
        return None


_SPELL: Mapping[str, Callable[[str], str | None]] = {
    "platform": lambda word: canonical_platform(word)[0],
    "engine": _engine,
    "op": lambda word: word if word in OPERATIONS else None,
    "dtype": canonical_dtype,
    "kv_dtype": canonical_dtype,
    "gemm_dtype": canonical_dtype,
}
_SAID_BY_PATH = ("platform", "engine")
_SHOWN_CHARACTERS = 80


@dataclass
class Words:
    """The texts of one file: `ours[column]` maps what it says (None: nothing) to what we store.

    `said` are the combinations that occur, one dictionary each.
    """

    file: OperationFile
    cells: Mapping[str, str]
    said: list[dict[str, str | None]]
    ours: dict[str, dict[str | None, str | None]] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, connection: Connection, relation: Relation, file: OperationFile) -> Words:
        """Read every text of the file once."""
        given = {*file.given, *set.intersection(*(set(reading.given) for reading in file.readings)), "more"}
        names = {name: relation.first(file.texts.get(name, ())) for name in TEXTS if name not in given}
        cells = {name: relation.text(column) for name, column in names.items() if column is not None}
        columns = ", ".join(f"{cell} AS {name}" for name, cell in cells.items())
        found = connection.execute(f"SELECT DISTINCT {columns} FROM {relation.sql}").fetchall() if cells else [()]
        words = cls(file, cells, [dict(zip(cells, row, strict=True)) for row in found])
        for name in cells:
            words.ours[name] = {word: words._spelled(name, word) for word in {row[name] for row in words.said}}
        return words

    def text(self, name: str, given: Mapping[str, str]) -> str | None:
        """SQL of a text column, None where the file says nothing of it; a literal where it says the same throughout."""
        if name in given:
            if name == "op" and given[name] not in OPERATIONS:
                self._unknown(name, given[name])
            return quoted(given[name])
        if name not in self.cells:
            return quoted(self.file.absent[name]) if name in self.file.absent else None
        return _case(self.cells[name], self.ours[name])

    def bytes_of(self, elements: str) -> str | None:
        """SQL of the bytes of so many numbers, None where no format is known."""
        sizes = {word: DTYPE_BYTES.get(our or "") for word, our in self.ours.get("dtype", {}).items()}
        cases = " ".join(f"WHEN {quoted(word)} THEN {size:g}" for word, size in sizes.items() if word and size)
        return f"({elements} * CASE {self.cells['dtype']} {cases} END)::BIGINT" if cases else None

    def groups(self, given: Mapping[str, str]) -> set[Group]:
        """The values of `GROUP` that occur, or more."""
        return {tuple(self._value(name, row, given) for name in GROUP) for row in self.said}

    def _value(self, name: str, row: Mapping[str, str | None], given: Mapping[str, str]) -> str | None:
        if name in given:
            return given[name]
        return self.ours[name][row[name]] if name in self.cells else self.file.absent.get(name)

    def _unknown(self, name: str, word: str) -> None:
        self.warnings[f"{name} {self._shown(word)} is none that we know: kept as it is"] = None

    def _shown(self, word: str) -> str:
        return repr(self.file.redact(word)[:_SHOWN_CHARACTERS])

    def _spelled(self, name: str, word: str | None) -> str | None:
        absent = self.file.absent.get(name)
        if word is None or word == absent:
            return absent
        if word in self.file.words.get(name, {}):
            return self.file.words[name][word]
        found = _SPELL[name](word) if name in _SPELL else self.file.redact(word)
        if found is None and absent is None:
            self._unknown(name, word)
        if found is not None and absent not in {None, found} and name in _SAID_BY_PATH:
            self.warnings[f"{name} {self._shown(word)} is {found}, though the path says {absent}: so it is read"] = None
        return found or absent or self.file.redact(word)


def _case(cell: str, ours: Mapping[str | None, str | None]) -> str:
    if len(ours) == 1:
        (only,) = ours.values()
        return _literal(only)
    cases = [
        f"WHEN {cell} IS NOT DISTINCT FROM {_literal(word)} THEN {_literal(our)}"
        for word, our in ours.items()
        if our != word
    ]
    return f"CASE {' '.join(cases)} ELSE {cell} END" if cases else cell


def _literal(text: str | None) -> str:
    return "NULL" if text is None else quoted(text)
