"""What an importer is: one format, recognised by its content, read into batches of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perfdb.batch import Batch, OperationFile


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """What a user's map says of one column: the canonical field it holds, and its unit ("" if the map is silent)."""

    field: str
    unit: str = ""


@dataclass(frozen=True)
class ReadSettings:
    """What the user says about one file. All of it changes the meaning of the file, so all of it is part of its hash.

    `constants` (from --set) and `captures` (from the path) map canonical fields to text; both win over the file's own
    columns, constants over captures. `columns` maps the file's column names to rules.
    """

    constants: Mapping[str, str] = field(default_factory=dict)
    captures: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, ColumnRule] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, str]:
        """Field -> text from outside of the file."""
        return {**self.captures, **self.constants}

    def fingerprint(self) -> dict[str, object]:
        """The settings as plain values, for the content hash."""
        rules = {name: [rule.field, rule.unit] for name, rule in self.columns.items()}
        return {"constants": dict(self.constants), "captures": dict(self.captures), "columns": rules}


def no_companions(path: Path) -> tuple[Path, ...]:
    """A file that stands for itself."""
    return ()


def no_facts(path: Path) -> Mapping[str, str]:
    """A file whose path says nothing."""
    return {}


@dataclass(frozen=True)
class Importer:
    """One format.

    `sniff(head, path)` takes the first bytes of a file and answers how sure it is that the file is of this format: 0
    (it is not) to 1; the surest importer reads. `read(path, settings)` yields batches, or answers at once how the
    store itself can read a table of operations, and raises `FileError` if the file is not what it seemed: then nothing
    of it is stored. `is_lines`: a record is a line, so that a huge file is fine and a huge line is not; else the file
    is one document, held in memory. `companions(path)` are files beside it that `read` looks into as well (the settings
    of a run), `facts(path)` is what it takes from the path: both are part of the file's hash.
    """

    name: str
    version: int
    sniff: Callable[[bytes, Path], float]
    read: Callable[[Path, ReadSettings], Iterator[Batch] | OperationFile]
    about: str = ""
    is_lines: bool = False
    companions: Callable[[Path], tuple[Path, ...]] = no_companions
    facts: Callable[[Path], Mapping[str, str]] = no_facts
