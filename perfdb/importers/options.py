"""What a user can say about an import, checked before any file is touched, and the report that comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfdb.batch import ImportCounts
from perfdb.errors import InputError, UnknownNameError
from perfdb.importers.column_map import check_new, read_map
from perfdb.importers.frompath import PathPattern
from perfdb.importers.importer import ColumnRule
from perfdb.importers.sniff import importer
from perfdb.importers.table.bind import is_numeric
from perfdb.importers.table.cells import number
from perfdb.importers.table.fields import field_meaning
from perfdb.importers.table.lengths import parse_lengths
from perfdb.records import Arrival, Origin, Outcome


@dataclass(frozen=True)
class ImportOptions:
    """The user's statements. `set` maps fields to constants, `from_path` is a pattern (see `PathPattern`), `map` a YAML
    file (see `read_map`), `format` a name of `sniff.FORMATS`; `dry_run` reads and reports but stores nothing;
    `save_map` is a new file for the map of what was understood."""

    set: Mapping[str, str] = field(default_factory=dict)
    from_path: str | None = None
    map: Path | None = None
    format: str | None = None
    dry_run: bool = False
    save_map: Path | None = None

    def check(self) -> CheckedOptions:
        """Everything read and verified.

        Raises:
            UnknownNameError: a field or the format is not known; the message lists the right ones.
            InputError: the pattern cannot be read, or the new map not be written.
            FileError: the map cannot be read.
        """
        if self.save_map is not None:
            check_new(self.save_map)
        for name, text in self.set.items():
            _check_constant(name, text)
        if self.format is not None:
            importer(self.format)
        pattern = PathPattern.parse(self.from_path) if self.from_path is not None else None
        return CheckedOptions(self, pattern, read_map(self.map) if self.map is not None else {})


@dataclass(frozen=True)
class CheckedOptions:
    """Options whose pattern and map are read."""

    given: ImportOptions
    pattern: PathPattern | None
    columns: Mapping[str, ColumnRule]


def _check_constant(name: str, text: str) -> None:
    meaning = field_meaning(name, "field of --set")
    value = number(text)
    if is_numeric(meaning) and value is None and parse_lengths(text) is None:
        raise InputError.at(f"--set {name}={text}", f"{name} is a number", f"such as --set {name}=8")
    for field_name, kinds in (("outcome", Outcome), ("origin", Origin), ("arrival", Arrival)):
        if meaning.name == field_name and text.lower() not in set(kinds):
            raise UnknownNameError.of(field_name, text, kinds)


@dataclass
class ImportReport:
    """What became of the files: every record read is stored, duplicate or quarantined; every other file is skipped."""

    files: int = 0
    rows_read: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    measurements: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    said: dict[str, list[str]] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """Each warning once, after the file that it is about, or how many files and the first of them."""
        return [
            f"{files[0]}: {text}" if len(files) == 1 else f"{len(files)} files, each (first: {files[0]}): {text}"
            for text, files in self.said.items()
        ]

    def warn(self, file: str, text: str) -> None:
        """Note a warning about one file."""
        self.said.setdefault(text, []).append(file)

    def add(self, counts: ImportCounts) -> None:
        """Count one file from which records were read."""
        self.files += 1
        self.rows_read += counts.rows_read
        self.stored += counts.stored
        self.duplicates += counts.duplicates
        self.quarantined += counts.quarantined
        self.measurements += counts.measurements
        self.reasons.update(counts.reasons)

    def to_json(self) -> dict[str, Any]:
        """The document of `servecast import --json`."""
        return {
            "files": self.files,
            "rows_read": self.rows_read,
            "stored": self.stored,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "measurements": self.measurements,
            "reasons": dict(self.reasons),
            "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
            "warnings": self.warnings,
        }
