"""The performance database as one object: everything the rest of the product asks of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from perfdb.batch import BadRow, Batch, ImportCounts, OperationFile, Source, StoredSource
from perfdb.errors import FileError
from perfdb.operations import OperationSet, OperationTable
from perfdb.quality import Finding
from perfdb.records import Config, Experiment, PointResult, Suggestion, Target, Workload
from perfdb.store import (
    coverage,
    experiments,
    export,
    info,
    ingest,
    lookup,
    op_ingest,
    operations,
    quality,
    quarantine,
    query,
    results,
    runs,
)
from perfdb.store import merge as merging
from perfdb.store import replace as replacing
from perfdb.store.connect import Database
from perfdb.store.coverage import Coverage
from perfdb.store.merge import MergeCounts
from perfdb.store.query import Table
from perfdb.store.sources import known, stored_sources
from perfdb.store.state import State
from perfdb.store.unchanged import Identity, identity_of


class Store:
    """A DuckDB file that several processes share: each call opens it shortly, read-only where it can.

    Nothing is created before the first write; until then a reader sees an empty database. A call that finds the file
    locked tries again for `wait_s` seconds, and tells `on_wait` one sentence after the first second.

    Every method raises InputError where the file's folder is missing, StoreBusyError where the file stays locked, and
    StoreError where it is damaged, of a newer version, or no database of ours.
    """

    def __init__(self, path: Path | str, wait_s: float = 30.0, on_wait: Callable[[str], None] | None = None) -> None:
        self.path = Path(path)
        self._wait_s = wait_s
        self._on_wait = on_wait
        self._database = Database(self.path, wait_s, on_wait)

    @property
    def identity(self) -> Identity:
        """What changes whenever the database does."""
        return identity_of(self.path)

    @property
    def state(self) -> State:
        """The database as it is now: the key of what is worked out once for that, by any store of the same file."""
        return State(self.identity, self)

    def seen(self, content_hashes: Collection[str]) -> dict[str, ImportCounts]:
        """Content hash (of bytes and settings) -> what the first import of it counted; without those never imported."""
        with self._database.reading(is_kept=True) as connection:
            return known(connection, content_hashes)

    def superseded(self, sources: Collection[Source]) -> dict[str, list[int]]:
        """Content hash of a source -> ids of the stored ones that it is a better reading of; left out without any.

        Those are of the same bytes and settings, read by an older version of the importer or by another importer.
        """
        with self._database.reading(is_kept=True) as connection:
            return replacing.superseded(connection, sources)

    def read_otherwise(self, sources: Collection[Source]) -> set[str]:
        """Content hashes of those sources whose file is stored as it is, but read with other settings."""
        with self._database.reading(is_kept=True) as connection:
            return replacing.read_otherwise(connection, sources)

    def ingest(self, source: Source, batches: Iterable[Batch], replaces: Collection[int] = ()) -> ImportCounts:
        """Import one file in one transaction, in place of all that the sources with the ids `replaces` brought.

        A record that some file brought already is a duplicate, equal records within this file are not (the n-th of them
        is a duplicate only where n were brought). A file of known content is skipped whole: its records count as
        duplicates. A record with a value of the wrong kind (an infinite latency, a fraction of a request) is set aside.
        The file is open only after all batches were read and hashed.

        Raises:
            UnknownNameError: a value is of a metric that is not one of ours; nothing is stored.
        """
        return ingest.ingest(self._database, source, batches, replaces)

    def note_copies(self, sources: Collection[Source]) -> None:
        """Note files of known content, each where another file of that content is still there; others are left out."""
        replacing.note_copies(self._database, sources)

    def sources(self) -> list[StoredSource]:
        """Every file that was imported, in order."""
        with self._database.reading(is_kept=True) as connection:
            return stored_sources(connection)

    def quarantine(self) -> list[dict[str, Any]]:
        """Per file and reason ("source_id", "file", "reason") the number of "rows" that were set aside."""
        return quarantine.groups(self._database)

    def quarantined(self, source_id: int, limit: int) -> list[BadRow]:
        """The first `limit` faults of a file, in the order of its rows; a row may have several."""
        return quarantine.rows(self._database, source_id, limit)

    def ingest_operations(
        self, files: Iterable[tuple[Source, OperationFile, Collection[int]]]
    ) -> Iterator[ImportCounts | FileError]:
        """Import tables of operations; for each in order, what became of its records, or why it cannot be read.

        The third of each triple are ids of sources that it replaces, as in `ingest`.
        Each is stored as a whole or not at all, several in one transaction: read and typed in memory while the database
        is free, then written. Duplicates are as in `ingest`, within one platform, engine, engine version and operation.
        A record without a positive latency, or with an argument that is no count, is set aside.
        """
        return op_ingest.ingest_operations(self._database, files)

    def operations(
        self,
        platform: str | None = None,
        engine: str | None = None,
        engine_version: str | None = None,
        op: str | None = None,
        dtype: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> OperationTable:
        """Measured operations that match, in the order of their files; `source` is the path of the file.

        With `columns` these alone are read, several times faster, in any order. The same table is answered again
        without opening the database while its file is unchanged.
        """
        filters = {"platform": platform, "engine": engine, "engine_version": engine_version, "op": op, "dtype": dtype}
        return operations.operations(self._database, filters, columns)

    def operation_sets(self, platform: str) -> tuple[OperationSet, ...]:
        """Which operation tables there are of a platform; kept until the database changes, as they are."""
        return operations.operation_sets(self._database, platform)

    def tables_identity(self) -> str:
        """What changes whenever an operation table does, but not with the measured runs; equal for equal tables."""
        return operations.tables_identity(self._database)

    def open_run(self, name: str, task_key: str, task: Mapping[str, object]) -> str:
        """The id of the run of `task_key`, a new one where there is none; a finished run is open again."""
        return runs.open_run(self._database, name, task_key, task)

    def finish_run(self, run_id: str, stopped_because: str) -> None:
        """Note that a run ended, and why."""
        runs.finish_run(self._database, run_id, stopped_because)

    def record(self, experiment: Experiment) -> bool:
        """Store one experiment with its points in one transaction; False where its id is there already."""
        return experiments.record(self._database, experiment)

    def mark_frontiers(self, run_id: str, predicted: Collection[str], actual: Collection[str]) -> None:
        """Flag the run's experiments whose ids are given as on the predicted or actual frontier, all others as off."""
        experiments.mark_frontiers(self._database, run_id, predicted, actual)

    def experiments(self, run_id: str | None = None) -> list[Experiment]:
        """Equal to those recorded: of one run in index order, or of all runs in the order they were opened.

        The types of config values are kept: True stays a bool, 1 an int, 1.0 a float.
        """
        return experiments.experiments(self._database, run_id)

    def note_suggestions(self, run_id: str, suggestions: Sequence[Suggestion]) -> None:
        """Keep what was suggested, for who records a result later."""
        runs.note_suggestions(self._database, run_id, suggestions)

    def suggestions(self, run_id: str) -> list[Suggestion]:
        """The suggestions of a run, oldest first; of several for one config the latest."""
        return runs.suggestions(self._database, run_id)

    def look_up(self, target: Target, config: Config, workload: Workload) -> list[PointResult]:
        """What was measured of a config at an operating point, any outcome, oldest first; empty if nothing was.

        Model, platform, devices, engine, config, nominal lengths, arrival and load must be equal, an unknown one only
        equals an unknown one. Engine version, length distribution and client are compared where they are given: look
        at those of the answers before comparing them. The first call reads everything, those that follow take
        microseconds while the database is unchanged.
        """
        return lookup.look_up(self._database, target, config, workload)

    def results(self) -> dict[str, npt.NDArray[Any]]:
        """Everything measured, one row per operating point, imported or of our own experiments, in columns of length n.

        The columns of `perfdb.batch.CONTEXT` (numbers as float64 with NaN, `measured_at` in Unix seconds; texts as
        objects with None), experiment_id, run_id, source (path) and source_row, every metric as float64 in its unit
        (the mean, or the plain value; NaN where absent), and other statistics that occur as "ttft_s_p50" and so on.
        """
        return results.results(self._database)

    def sql(self, query_text: str) -> Table:
        """Answer one SELECT (or EXPLAIN, DESCRIBE, SHOW …); it can neither write nor reach any file. Times are UTC.

        Raises:
            InputError: it is no single reading statement, or DuckDB does not accept it.
        """
        return query.sql(self._database, query_text)

    def export(self, table_or_query: str, path: Path, replaces: bool = False) -> int:
        """Write a table or a query as .csv, .tsv, .parquet, .json or .jsonl, whole or not at all; returns the rows.

        Raises:
            InputError: unknown suffix or table, missing folder, a file that is there already and that it does not
                replace, or a query that `sql` would refuse.
        """
        return export.export(self._database, table_or_query, Path(path), replaces)

    def info(self) -> dict[str, Any]:
        """What is there, as plain values.

        Rows per table ("tables"), files and rows per format ("formats"), points, measurements, configs, failures and
        freshness per platform × engine × model ("contexts"), rows per operation table ("operations"), version, size.
        """
        return info.info(self._database)

    def coverage(
        self, op: str, platform: str | None = None, engine: str | None = None, engine_version: str | None = None
    ) -> list[Coverage]:
        """Where the tables of an operation have measurements, one per platform × engine × version that match.

        Raises:
            UnknownNameError: no operation has that name. InputError: it has no two sizes.
        """
        filters = {"platform": platform, "engine": engine, "engine_version": engine_version}
        return coverage.coverage(self._database, op, filters)

    def merge(self, other: Path, dry_run: bool = False) -> dict[str, MergeCounts]:
        """Bring what is new in another database into this one, in one transaction; table -> what became of its rows.

        Records are compared as in `ingest`, experiments and suggestions by what they say. Of a file that both have
        read, the reading of the newer importer stands. The other database is not changed; one of an older version is
        read from a copy. With `dry_run` nothing is written.

        Raises:
            FileError: there is no such file. InputError: it is this very database.
        """
        return merging.merge(self._database, Database(Path(other), self._wait_s, self._on_wait), dry_run)

    def check(self) -> list[Finding]:
        """Everything that is doubtful: contradictions, conflicts, outliers, unknown facts and so on, grave ones first.

        Numbers are compared only where a run succeeded. Nothing is changed.
        """
        return quality.check(self._database)
