"""Reading stored files again: with the importer as it is now, and with what the user says besides."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from perfdb.batch import Batch, ImportCounts, OperationFile, Source, StoredSource
from perfdb.errors import FileError, InputError
from perfdb.importers.content import digest_of
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.installed import installed_place
from perfdb.importers.options import ImportOptions
from perfdb.importers.provenance import digests_of, settings_of, source_of
from perfdb.importers.sniff import FORMATS, importer
from perfdb.paths import is_file, is_same


class Files(Protocol):
    """The store, as far as reading again needs it."""

    path: Path

    def sources(self) -> list[StoredSource]:
        """Every file that was imported."""

    def ingest(self, source: Source, batches: Iterable[Batch], replaces: Collection[int] = ()) -> ImportCounts:
        """Store a file's batches in place of what the sources `replaces` brought."""

    def ingest_operations(
        self, files: Iterable[tuple[Source, OperationFile, Collection[int]]]
    ) -> Iterator[ImportCounts | FileError]:
        """The same for tables of operations that the store reads by itself."""


@dataclass(frozen=True)
class Retried:
    """One stored file: what its records came to before and now; `counts` is None where it was `left_alone`, and why."""

    stored: StoredSource
    counts: ImportCounts | None = None
    left_alone: str = ""

    def to_json(self) -> dict[str, Any]:
        """The file as a JSON object."""
        before = self.stored.counts
        answer = {"source_id": self.stored.source_id, "file": self.stored.source.path, "left_alone": self.left_alone}
        answer["before"] = _counts(before)
        answer["after"] = None if self.counts is None else _counts(self.counts)
        return answer


def _counts(counts: ImportCounts) -> dict[str, int]:
    names = ("rows_read", "stored", "duplicates", "quarantined", "measurements")
    return {name: getattr(counts, name) for name in names}


def retry(
    store: Files, files: Sequence[str], given: Mapping[str, str] | None = None, column_map: Path | None = None
) -> list[Retried]:
    """Read stored files again, each in one transaction: what is sound now replaces what the file brought before.

    Args:
        store: where they are stored.
        files: paths (as imported, or where the file is now) or source ids; without any, all with rows in quarantine.
        given: fields and constants, beside those of the import and before them.
        column_map: a column map, beside that of the import and before it.

    Raises:
        InputError: a file is not among the stored ones, or a field is not known.
    """
    options = ImportOptions(set=given or {}, map=column_map).check()
    known = store.sources()
    chosen = choose(known, files) if files else [(stored, None) for stored in known if stored.counts.quarantined]
    more = ReadSettings(dict(given or {}), {}, options.columns)
    done: dict[str, Retried] = {}
    for stored, place in chosen:
        before = done.get(stored.source.content_hash)
        if before is None or before.counts is None:  # a copy may be there where its original is not
            alike = [other for other in known if other.source.content_hash == stored.source.content_hash]
            done[stored.source.content_hash] = _again(store, stored, alike, place, more)
    return list(done.values())


def choose(stored: Sequence[StoredSource], files: Iterable[str]) -> list[tuple[StoredSource, Path | None]]:
    """The stored sources that the texts name, and where the file is now if that is another place.

    Raises:
        InputError: one names none.
    """
    found: dict[int, tuple[StoredSource, Path | None]] = {}
    for text in files:
        matches = _matches(stored, text)
        if not matches:
            right = "the path or the number of an imported file (servecast db quarantine list)"
            raise InputError.at(text, "no such file was imported", right)
        found |= {source.source_id: (source, place) for source, place in matches}
    return list(found.values())


def _matches(stored: Sequence[StoredSource], text: str) -> list[tuple[StoredSource, Path | None]]:
    by_id = [s for s in stored if text == str(s.source_id)]
    by_path = [s for s in stored if text == s.source.path or is_same(Path(text), Path(s.source.path))]
    if by_id or by_path:
        return [(s, None) for s in by_path or by_id]
    if not is_file(Path(text)):
        return []
    digest = digest_of(Path(text))
    return [(s, Path(text)) for s in stored if digest in settings_of(s.source)[0][:1]]


def _again(
    store: Files, stored: StoredSource, alike: Sequence[StoredSource], place: Path | None, more: ReadSettings
) -> Retried:
    """Read one file again in place of all sources of its content: itself and its copies."""
    before = replace(stored, counts=alike[0].counts)
    try:
        path = place or _place(store, stored)
        reader = _reader(stored)
        known = _settings(stored, path, reader)
        constants, columns = {**known.constants, **more.constants}, {**known.columns, **more.columns}
        settings = ReadSettings(constants, known.captures, columns)
        source = source_of(path if place else Path(stored.source.path), reader, settings, digests_of(path, reader))
        ids = [other.source_id for other in alike]
        return Retried(before, _stored(store, source, reader.read(path, settings), ids))
    except InputError as error:  # of a file, or of a setting that was right once
        return Retried(before, left_alone=str(error))


def _stored(
    store: Files, source: Source, found: Iterable[Batch] | OperationFile, replaces: Collection[int]
) -> ImportCounts:
    if not isinstance(found, OperationFile):
        return store.ingest(source, found, replaces)
    [counts] = store.ingest_operations([(source, found, replaces)])
    if isinstance(counts, FileError):
        raise counts
    return counts


def _place(store: Files, stored: StoredSource) -> Path:
    """Where the file is: its path as imported may start at this folder, or at the database's."""
    path = Path(stored.source.path)
    place = next((p for p in (path, store.path.parent / path, installed_place(path)) if is_file(p)), None)
    if place is None:
        raise FileError(f"{path}: the file is gone; expected it there, or named where it is now")
    return place


def _reader(stored: StoredSource) -> Importer:
    if stored.source.format not in FORMATS:
        right = "a file of `servecast import`"
        raise FileError.at(stored.source.path, f"it was read as {stored.source.format}, not from a file alone", right)
    return importer(stored.source.format)


def _settings(stored: StoredSource, path: Path, reader: Importer) -> ReadSettings:
    """The settings of the import.

    Raises:
        FileError: the file has changed since, or an older version has not kept how it was read.
    """
    digests, settings = settings_of(stored.source)
    now = digests_of(path, reader)
    if not digests and source_of(path, reader, settings, now).content_hash != stored.source.content_hash:
        raise FileError(f"{path}: changed since, or its settings were not kept; expected it imported again with them")
    if digests and digests != now:
        raise FileError(f"{path}: the file has changed since it was imported; expected it imported as a new one")
    return settings
