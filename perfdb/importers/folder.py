"""Importing files and folders: found, looked at, recognised, read and stored, each file all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from perfdb.batch import Batch, ImportCounts, OperationFile, Source
from perfdb.errors import FileError
from perfdb.importers.column_map import Understood
from perfdb.importers.content import LARGEST_DOCUMENT, look_at
from perfdb.importers.copies import Copies
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.options import CheckedOptions, ImportOptions, ImportReport
from perfdb.importers.provenance import digests_of, source_of
from perfdb.importers.sniff import FORMATS, importer, recognise
from perfdb.importers.table.redact import redact, sentence
from perfdb.importers.walk import Found, walk
from perfdb.texts import printable

Progress = Callable[[str, int, int], None]
"""Called with (file, its number, number of files) before each file is read."""
_BOTH_STAND = (
    "imported before with other settings: its rows stand there under both; "
    "`servecast db quarantine retry FILE --set …` would have replaced them"
)


class Sink(Protocol):
    """What an import writes to: the store, as far as this room needs it."""

    def seen(self, content_hashes: Collection[str]) -> dict[str, ImportCounts]:
        """Content hash -> what an earlier import of the same content counted; left out where there was none."""

    def superseded(self, sources: Collection[Source]) -> Mapping[str, Collection[int]]:
        """Content hash -> stored sources of the same file that an older importer, or another, read; else left out."""

    def read_otherwise(self, sources: Collection[Source]) -> Collection[str]:
        """Content hashes of those sources whose file is stored as it is, but read with other settings."""

    def ingest(self, source: Source, batches: Iterable[Batch], replaces: Collection[int] = ()) -> ImportCounts:
        """Store all batches of one file in place of those of `replaces`, or nothing if reading them raises."""

    def ingest_operations(
        self, files: Iterable[tuple[Source, OperationFile, Collection[int]]]
    ) -> Iterator[ImportCounts | FileError]:
        """The same for tables of operations that the store reads by itself; for each in order its counts or why not."""

    def note_copies(self, sources: Collection[Source]) -> None:
        """Note files whose content is known from another file."""


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
        InputError: the pattern or the map cannot be read, or the new map not be written.
    """
    return import_files(store, (found for path in paths for found in walk(path)), options, progress)


def import_files(
    store: Sink,
    files: Iterable[Found],
    options: ImportOptions | None = None,
    progress: Progress | None = None,
    shown: Callable[[Path], str] = str,
) -> ImportReport:
    """Import files that were found. `shown` is what a file is called in the database and in the report.

    Raises:
        as `import_paths`.
    """
    checked = (options or ImportOptions()).check()
    run = _Run(store, checked, shown)
    candidates = [candidate for found in files for candidate in run.candidate(found)]
    sources = [candidate.source for candidate, _ in candidates]
    run.hashes.update(store.seen([source.content_hash for source in sources]))
    run.older.update(store.superseded(sources))
    run.otherwise.update(store.read_otherwise(sources))
    for number, (candidate, is_named) in enumerate(candidates, 1):
        if progress is not None:
            progress(str(candidate.path), number, len(candidates))
        run.take(candidate, is_named)
    run.take_tables(progress)
    if run.again and not checked.given.dry_run:
        store.note_copies(run.again)
    run.save_map()
    return run.report


@dataclass(frozen=True)
class _Table:
    """A table of operations that waits to be stored, in place of the sources `older`."""

    candidate: Candidate
    is_named: bool
    file: OperationFile
    older: Collection[int]


@dataclass
class _Run:
    """One import: where it writes, what the user said, what it found."""

    store: Sink
    options: CheckedOptions
    shown: Callable[[Path], str] = str
    report: ImportReport = field(default_factory=ImportReport)
    hashes: dict[str, ImportCounts] = field(default_factory=dict)
    older: dict[str, Collection[int]] = field(default_factory=dict)
    otherwise: set[str] = field(default_factory=set)
    again: list[Source] = field(default_factory=list)
    tables: list[_Table] = field(default_factory=list)
    copies: Copies = field(default_factory=Copies)
    understood: Understood = field(default_factory=Understood)

    def candidate(self, found: Found) -> Iterator[tuple[Candidate, bool]]:
        """The candidate in a found file, or a note why there is none; a file named by itself raises instead."""
        try:
            yield _candidate(found, self.options, self.shown), found.is_named
        except FileError as error:
            self._skip(found.path, error, found.is_named)

    def take(self, candidate: Candidate, is_named: bool) -> None:
        """Read and store one file."""
        known = self.hashes.get(candidate.source.content_hash)
        older = self.older.pop(candidate.source.content_hash, ())
        if known is not None and not older:
            self.again.append(candidate.source)
            self.report.add(known.as_duplicates())
            self._warn(candidate.path, "imported before: all its rows are duplicates")
            if self.options.given.save_map is not None:
                found = candidate.importer.read(candidate.path, candidate.settings)
                for batch in () if isinstance(found, OperationFile) else found:
                    self._understand(candidate.path, batch)
            return
        if older:
            self._warn(candidate.path, "imported before by another importer: what it reads now replaces what it read")
        try:
            found = candidate.importer.read(candidate.path, candidate.settings)
            if isinstance(found, OperationFile):
                self.tables.append(_Table(candidate, is_named, found, older))
                return
            counts = self._store(candidate, found, older)
        except FileError as error:
            self._skip(candidate.path, error, is_named)
            return
        self._stored(candidate, counts)

    def take_tables(self, progress: Progress | None) -> None:
        """Read and store the tables of operations."""
        results = (
            self._counted_tables()
            if self.options.given.dry_run
            else self.store.ingest_operations(self._described(progress))
        )
        for table, found in zip(self.tables, results, strict=True):
            if isinstance(found, FileError):
                self._skip(table.candidate.path, found, table.is_named)
            else:
                self._stored(table.candidate, found)

    def _described(self, progress: Progress | None) -> Iterator[tuple[Source, OperationFile, Collection[int]]]:
        for number, table in enumerate(self.tables, 1):
            if progress is not None:
                progress(str(table.candidate.path), number, len(self.tables))
            yield table.candidate.source, table.file, table.older

    def _counted_tables(self) -> Iterator[ImportCounts | FileError]:
        from perfdb.store.op_ingest import preview

        for table in self.tables:
            try:
                yield preview(table.file)
            except FileError as error:
                yield error

    def _stored(self, candidate: Candidate, counts: ImportCounts) -> None:
        self.hashes[candidate.source.content_hash] = counts
        self.report.add(counts)
        if candidate.source.content_hash in self.otherwise:
            self._warn(candidate.path, _BOTH_STAND)
        for text in counts.warnings:
            self._warn(candidate.path, text)

    def save_map(self) -> None:
        """Write how the columns were understood, where the user asked for it."""
        path = self.options.given.save_map
        if path is None:
            return
        if self.understood.rules:
            self.understood.write(path)
        else:
            self._warn(path, "no column was read, so no map was written")

    def _understand(self, path: Path, batch: Batch) -> None:
        for text in self.understood.add(printable(str(path)), batch.columns):
            if self.options.given.save_map is not None:
                self._warn(path, text)

    def _store(self, candidate: Candidate, found: Iterator[Batch], replaces: Collection[int]) -> ImportCounts:
        batches = self._listen(candidate, found)
        if self.options.given.dry_run:
            return _counted(batches)
        return self.store.ingest(candidate.source, batches, replaces)

    def _listen(self, candidate: Candidate, found: Iterator[Batch]) -> Iterator[Batch]:
        warnings: list[str] = []
        for batch in found:
            warnings += [*batch.warnings, *self.copies.add(candidate.path, batch)]
            self._understand(candidate.path, batch)
            yield batch
        for text in dict.fromkeys(warnings):
            self._warn(candidate.path, text)

    def _warn(self, path: Path, text: str) -> None:
        self.report.warn(printable(self.shown(path)), printable(text))

    def _skip(self, path: Path, error: FileError, is_named: bool) -> None:
        text, start = str(error), str(path)
        if is_named:
            told = start if text.startswith(start) else ""
            raise FileError(printable(redact(told)) + sentence(text.removeprefix(told))) from error
        self.report.skipped.append((printable(self.shown(path)), sentence(text.removeprefix(f"{path}: "))))


def _candidate(found: Found, options: CheckedOptions, shown: Callable[[Path], str]) -> Candidate:
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
    if not chosen.is_lines and content.size > LARGEST_DOCUMENT:
        raise FileError(f"{path}: a document of {content.size:,} bytes; expected at most {LARGEST_DOCUMENT:,}")
    settings = ReadSettings(dict(options.given.set), captures, options.columns)
    digests = digests_of(path, chosen)
    source = replace(source_of(path, chosen, settings, digests), path=shown(path))
    return Candidate(path, chosen, settings, source)


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
