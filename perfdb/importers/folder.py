"""Importing files and folders: found, looked at, recognised, read and stored, each file all or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from perfdb.batch import Batch, ImportCounts, Source
from perfdb.errors import FileError
from perfdb.importers.content import LARGEST_DOCUMENT, LONGEST_LINE, Content, look_at
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.options import CheckedOptions, ImportOptions, ImportReport
from perfdb.importers.sniff import FORMATS, importer, recognise
from perfdb.importers.walk import Found, walk
from perfdb.records import canonical_json

Progress = Callable[[str, int, int], None]
"""Called with (file, its number, number of files) before each file is read."""


class Sink(Protocol):
    """What an import writes to: the store, as far as this room needs it."""

    def seen(self, content_hashes: Collection[str]) -> dict[str, ImportCounts]:
        """Content hash -> what an earlier import of the same content counted; left out where there was none."""

    def ingest(self, source: Source, batches: Iterable[Batch]) -> ImportCounts:
        """Store all batches of one file, or nothing if reading them raises."""


@dataclass(frozen=True)
class Candidate:
    """A file that some importer will read."""

    path: Path
    importer: Importer
    settings: ReadSettings
    source: Source


def import_paths(
    store: Sink, paths: Sequence[Path], options: ImportOptions | None = None, progress: Progress | None = None
) -> ImportReport:
    """Import files and folders.

    Every file that is named is looked at before anything is stored. In a folder, what cannot be read is skipped with
    its reason. A file that was imported before with the same settings counts as duplicates, whole.

    Raises:
        FileError: a path does not exist, or a file named by itself cannot be read.
        UnknownNameError: a field or format of the options is not known.
        InputError: the pattern or the map cannot be read.
    """
    checked = (options or ImportOptions()).check()
    run = _Run(store, checked)
    candidates = [candidate for path in paths for found in walk(path) for candidate in run.candidate(found)]
    run.hashes.update(store.seen([candidate.source.content_hash for candidate, _ in candidates]))
    for number, (candidate, is_named) in enumerate(candidates, 1):
        if progress is not None:
            progress(str(candidate.path), number, len(candidates))
        run.take(candidate, is_named)
    return run.report


@dataclass
class _Run:
    """One import: where it writes, what the user said, what it found."""

    store: Sink
    options: CheckedOptions
    report: ImportReport = field(default_factory=ImportReport)
    hashes: dict[str, ImportCounts] = field(default_factory=dict)

    def candidate(self, found: Found) -> Iterator[tuple[Candidate, bool]]:
        """The candidate in a found file, or a note why there is none; a file named by itself raises instead."""
        try:
            yield _candidate(found, self.options), found.is_named
        except FileError as error:
            self._skip(found.path, error, found.is_named)

    def take(self, candidate: Candidate, is_named: bool) -> None:
        """Read and store one file."""
        known = self.hashes.get(candidate.source.content_hash)
        if known is not None:
            self.report.add(known.as_duplicates())
            self._warn(candidate.path, "imported before: all its rows are duplicates")
            return
        try:
            counts = self._store(candidate)
        except FileError as error:
            self._skip(candidate.path, error, is_named)
            return
        self.hashes[candidate.source.content_hash] = counts
        self.report.add(counts)

    def _store(self, candidate: Candidate) -> ImportCounts:
        batches = self._listen(candidate)
        if self.options.given.dry_run:
            return _counted(batches)
        return self.store.ingest(candidate.source, batches)

    def _listen(self, candidate: Candidate) -> Iterator[Batch]:
        warnings: list[str] = []
        for batch in candidate.importer.read(candidate.path, candidate.settings):
            warnings += batch.warnings
            yield batch
        for text in dict.fromkeys(warnings):
            self._warn(candidate.path, text)

    def _warn(self, path: Path, text: str) -> None:
        self.report.warn(str(path), text)

    def _skip(self, path: Path, error: FileError, is_named: bool) -> None:
        if is_named:
            raise error
        self.report.skipped.append((str(path), str(error).removeprefix(f"{path}: ")))


def _candidate(found: Found, options: CheckedOptions) -> Candidate:
    path = found.path
    if found.problem:
        raise FileError(f"{path}: {found.problem}")
    captures = options.pattern.match(path) if options.pattern else {}
    if captures is None:
        raise FileError(f"{path}: the path does not fit --from-path {options.given.from_path!r}")
    content = look_at(path)
    named = options.given.format
    chosen = importer(named) if named else recognise(content.head, path)
    if chosen is None:
        raise FileError(f"{path}: no importer knows this format ({', '.join(FORMATS)}); --format names one")
    _bounded(path, chosen, content)
    settings = ReadSettings(dict(options.given.set), captures, options.columns)
    digests = [content.digest, *(look_at(companion).digest for companion in chosen.companions(path))]
    digest = _content_hash(digests, settings, chosen.name)
    return Candidate(path, chosen, settings, Source(str(path), digest, chosen.name, chosen.version))


def _bounded(path: Path, chosen: Importer, content: Content) -> None:
    if chosen.is_lines and content.longest_line > LONGEST_LINE:
        raise FileError(f"{path}: a line of {content.longest_line:,} bytes; expected at most {LONGEST_LINE:,}")
    if not chosen.is_lines and content.size > LARGEST_DOCUMENT:
        raise FileError(f"{path}: a document of {content.size:,} bytes; expected at most {LARGEST_DOCUMENT:,}")


def _content_hash(digests: Sequence[str], settings: ReadSettings, name: str) -> str:
    """SHA-256 of the bytes and of all that changes their meaning: the files beside, the format and the settings."""
    said = canonical_json({"bytes": list(digests), "format": name, "settings": settings.fingerprint()})
    return hashlib.sha256(said.encode()).hexdigest()


def _counted(batches: Iterator[Batch]) -> ImportCounts:
    """What storing would count, without the records that the database holds already from other files."""
    good = bad = measurements = 0
    reasons: dict[str, int] = {}
    for batch in batches:
        good += len(batch.rows)
        measurements += sum(int(np.isfinite(values).sum()) for values in batch.values.values())
        first = {row.row: row.reason for row in reversed(batch.bad)}
        bad += len(first)
        for reason in first.values():
            reasons[reason] = reasons.get(reason, 0) + 1
    return ImportCounts(good + bad, good, 0, bad, measurements, reasons)
