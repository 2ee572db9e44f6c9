"""The performance database as one object: everything the rest of the product asks of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from perfdb.batch import Batch, ImportCounts, Source
from perfdb.records import Experiment, Suggestion
from perfdb.store import experiments, export, info, ingest, operations, query, results, runs
from perfdb.store.connect import Database
from perfdb.store.query import Table
from perfdb.store.sources import known


class Store:
    """A DuckDB file that several processes share: each call opens it shortly, read-only where it can.

    Nothing is created before the first write; until then a reader sees an empty database. A call that finds the file
    locked tries again for `wait_s` seconds, and tells `on_wait` one sentence after the first second.

    Every method raises InputError where the file's folder is missing, StoreBusyError where the file stays locked, and
    StoreError where it is damaged, of a newer version, or no database of ours.
    """

    def __init__(self, path: Path | str, wait_s: float = 30.0, on_wait: Callable[[str], None] | None = None) -> None:
        self.path = Path(path)
        self._database = Database(self.path, wait_s, on_wait)

    def seen(self, content_hashes: Collection[str]) -> dict[str, ImportCounts]:
        """Content hash (of bytes and settings) -> what the first import of it counted; without those never imported."""
        with self._database.reading() as connection:
            return known(connection, content_hashes)

    def ingest(self, source: Source, batches: Iterable[Batch]) -> ImportCounts:
        """Import one file in one transaction.

        A record that some file brought already is a duplicate, equal records within this file are not (the n-th of them
        is a duplicate only where n were brought). A file of known content is skipped whole: its records count as
        duplicates. A record with a value of the wrong kind (an infinite latency, a fraction of a request) is set aside.
        The file is open only after all batches were read and hashed.

        Raises:
            UnknownNameError: a value is of a metric that is not one of ours; nothing is stored.
        """
        return ingest.ingest(self._database, source, batches)

    def add_operations(self, source: Source, columns: Mapping[str, npt.NDArray[Any]]) -> ImportCounts:
        """Import one table of measured operations in one transaction; duplicates as in `ingest`.

        `columns`, each n: op and latency_s (seconds), and where known platform, engine, engine_version, dtype, shape
        (canonical JSON object, argument -> value), a1 to a6 (the same values as numbers, in the order of the
        operation), spread (relative). A row without an operation or with a latency that is not positive is set aside.
        """
        return operations.add_operations(self._database, source, columns)

    def operations(
        self,
        platform: str | None = None,
        engine: str | None = None,
        op: str | None = None,
        dtype: str | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Measured operations as columns (those of `add_operations`, and source), n each, all that match."""
        filters = {"platform": platform, "engine": engine, "op": op, "dtype": dtype}
        return operations.operations(self._database, filters)

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

    def results(self) -> dict[str, npt.NDArray[Any]]:
        """Everything measured, one row per operating point, imported or of our own experiments, in columns of length n.

        The columns of `perfdb.batch.CONTEXT` (numbers as float64 with NaN, `measured_at` in Unix seconds; texts as
        objects with None), experiment_id, run_id and source (path), every metric as float64 in its unit (the mean, or
        the plain value; NaN where absent), and other statistics that occur as "ttft_s_p50" and so on.
        """
        return results.results(self._database)

    def sql(self, query_text: str) -> Table:
        """Answer one SELECT (or EXPLAIN, DESCRIBE, SHOW …); it can neither write nor reach any file. Times are UTC.

        Raises:
            InputError: it is no single reading statement, or DuckDB does not accept it.
        """
        return query.sql(self._database, query_text)

    def export(self, table_or_query: str, path: Path) -> int:
        """Write a table or a query as .csv, .tsv, .parquet, .json or .jsonl, whole or not at all; returns the rows.

        Raises:
            InputError: unknown suffix or table, missing folder, or a query that `sql` would refuse.
        """
        return export.export(self._database, table_or_query, Path(path))

    def info(self) -> dict[str, Any]:
        """Rows per table ("tables"), points and freshness per platform × engine × model ("contexts"), version, size."""
        return info.info(self._database)
