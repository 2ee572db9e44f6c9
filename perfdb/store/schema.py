"""The tables, and the numbered steps from each version of them to the next."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfdb.errors import StoreError
from perfdb.store.engine import transaction
from perfdb.store.op_schema import OPERATION_COLUMNS
from perfdb.store.provenance_schema import PROVENANCE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

TABLES = (
    "sources",
    "operating_points",
    "measurements",
    "op_measurements",
    "runs",
    "experiments",
    "suggestions",
    "quarantine",
    "duplicates",
    "schema_version",
)
"""Every table of the newest version."""


@dataclass(frozen=True, slots=True)
class Migration:
    """The statements that lead from version `version - 1` to `version`, run in one transaction.

    Those that begin with INSERT or UPDATE move the rows that are there, and are left out where there are none.
    """

    version: int
    statements: tuple[str, ...]


_SOURCES = """
CREATE TABLE sources (
    source_id BIGINT NOT NULL, path VARCHAR NOT NULL, content_hash VARCHAR NOT NULL, format VARCHAR NOT NULL,
    importer_version INTEGER NOT NULL, imported_at TIMESTAMP NOT NULL,
    rows_read BIGINT NOT NULL, stored BIGINT NOT NULL, duplicates BIGINT NOT NULL, quarantined BIGINT NOT NULL,
    measurements BIGINT NOT NULL, reasons VARCHAR NOT NULL
)"""

_OPERATING_POINTS = """
CREATE TABLE operating_points (
    point_id BIGINT NOT NULL,
    source_id BIGINT, source_row BIGINT, content_key UUID, occurrence INTEGER,
    experiment_id VARCHAR, point_index INTEGER,
    config_key VARCHAR,
    model VARCHAR, platform VARCHAR, devices BIGINT, engine VARCHAR, engine_version VARCHAR, config VARCHAR,
    isl DOUBLE, osl DOUBLE, arrival VARCHAR, concurrency BIGINT, request_rate DOUBLE, batch_size BIGINT,
    lengths VARCHAR, requests BIGINT, warmup_requests BIGINT, client VARCHAR,
    outcome VARCHAR NOT NULL, origin VARCHAR NOT NULL, measured_at TIMESTAMP, extra VARCHAR
)"""

_MEASUREMENTS = """
CREATE TABLE measurements (
    point_id BIGINT NOT NULL, metric VARCHAR NOT NULL, statistic VARCHAR NOT NULL, value DOUBLE NOT NULL
)"""

_OP_MEASUREMENTS = """
CREATE TABLE op_measurements (
    source_id BIGINT NOT NULL, source_row BIGINT NOT NULL, content_key UUID NOT NULL, occurrence INTEGER NOT NULL,
    platform VARCHAR, engine VARCHAR, engine_version VARCHAR, op VARCHAR NOT NULL, dtype VARCHAR, shape VARCHAR,
    a1 DOUBLE, a2 DOUBLE, a3 DOUBLE, a4 DOUBLE, a5 DOUBLE, a6 DOUBLE,
    latency_s DOUBLE NOT NULL, spread DOUBLE
)"""

_RUNS = """
CREATE TABLE runs (
    run_id VARCHAR NOT NULL, name VARCHAR NOT NULL, task_key VARCHAR NOT NULL, task VARCHAR NOT NULL,
    opened_at TIMESTAMP NOT NULL, finished_at TIMESTAMP, stopped_because VARCHAR
)"""

_EXPERIMENTS = """
CREATE TABLE experiments (
    experiment_id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, "index" INTEGER NOT NULL,
    config_key VARCHAR NOT NULL, config VARCHAR NOT NULL,
    model VARCHAR NOT NULL, platform VARCHAR NOT NULL, devices BIGINT NOT NULL, engine VARCHAR NOT NULL,
    engine_version VARCHAR, outcome VARCHAR NOT NULL, selection_reason VARCHAR NOT NULL, detail VARCHAR NOT NULL,
    error VARCHAR, command VARCHAR, log_path VARCHAR, executor VARCHAR NOT NULL,
    started_at DOUBLE NOT NULL, wall_s DOUBLE NOT NULL, gpu_hours DOUBLE NOT NULL, cost_usd DOUBLE NOT NULL,
    predicted VARCHAR NOT NULL, recorded_at TIMESTAMP NOT NULL
)"""

_SUGGESTIONS = """
CREATE TABLE suggestions (
    run_id VARCHAR NOT NULL, seq BIGINT NOT NULL, noted_at TIMESTAMP NOT NULL,
    config_key VARCHAR NOT NULL, config VARCHAR NOT NULL, reason VARCHAR NOT NULL, detail VARCHAR NOT NULL,
    predicted VARCHAR NOT NULL, on_predicted_frontier BOOLEAN NOT NULL
)"""

_QUARANTINE = """
CREATE TABLE quarantine (
    source_id BIGINT NOT NULL, file VARCHAR NOT NULL, "row" BIGINT NOT NULL, "column" VARCHAR NOT NULL,
    value VARCHAR NOT NULL, reason VARCHAR NOT NULL
)"""

HEADLINES = {
    "throughput": ("output_tps", "mean"),
    "ttft": ("ttft_s", "mean"),
    "tpot": ("tpot_s", "mean"),
    "latency_p90": ("e2e_s", "p90"),
}
"""The `predicted_*` and `actual_*` columns of `experiments`: the metric and statistic that each shows."""


def headline_of_prediction(name: str) -> str:
    """The key of `Experiment.predicted` that a headline column shows ("e2e_s_p90" for latency_p90)."""
    metric, statistic = HEADLINES[name]
    return metric if statistic == "mean" else f"{metric}_{statistic}"


def _headline_columns() -> tuple[str, ...]:
    """Version 2: frontier flags and headline numbers, filled in for the experiments that are there already."""
    statements = [
        f"ALTER TABLE experiments ADD COLUMN {kind}_{name} DOUBLE"
        for kind in ("predicted", "actual")
        for name in HEADLINES
    ]
    statements += [
        f"ALTER TABLE experiments ADD COLUMN is_on_{kind}_frontier BOOLEAN DEFAULT false"
        for kind in ("predicted", "actual")
    ]
    for name, (metric, statistic) in HEADLINES.items():
        statements.append(
            f"UPDATE experiments SET predicted_{name} = "
            f"TRY_CAST(json_extract_string(predicted, '$.{headline_of_prediction(name)}.mean') AS DOUBLE)"
        )
        plain = "m.statistic IN ('mean', 'value')" if statistic == "mean" else f"m.statistic = '{statistic}'"
        statements.append(
            f"UPDATE experiments SET actual_{name} = (SELECT arg_min(m.value, m.statistic) FROM measurements m "
            "JOIN operating_points p USING (point_id) WHERE p.experiment_id = experiments.experiment_id "
            f"AND p.point_index = 0 AND m.metric = '{metric}' AND {plain})"
        )
    return tuple(statements)


MIGRATIONS = (
    Migration(
        1,
        (
            "CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at TIMESTAMP NOT NULL)",
            _SOURCES,
            _OPERATING_POINTS,
            _MEASUREMENTS,
            _OP_MEASUREMENTS,
            _RUNS,
            _EXPERIMENTS,
            _SUGGESTIONS,
            _QUARANTINE,
        ),
    ),
    Migration(2, _headline_columns()),
    Migration(3, OPERATION_COLUMNS),
    Migration(4, PROVENANCE),
)
CURRENT = MIGRATIONS[-1].version


def version_of(connection: Connection, path: Path) -> int:
    """The version of the attached database; 0 where it has no table at all.

    Raises:
        StoreError: it has tables, but they are not ours.
    """
    import duckdb

    with suppress(duckdb.CatalogException):
        found = connection.execute("SELECT max(version) FROM db.schema_version").fetchone()
        return int(found[0]) if found and found[0] is not None else 0
    rows = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'db'").fetchall()
    if rows:
        names = ", ".join(sorted(name for (name,) in rows)[:5])
        raise StoreError(f"{path}: a DuckDB file of something else (it has {names}); expected one of ours")
    return 0


def is_current(connection: Connection, path: Path) -> bool:
    """Whether the attached database is in the newest schema.

    Raises:
        StoreError: it is of a newer version than this program knows, or of something else.
    """
    version = version_of(connection, path)
    if version > CURRENT:
        raise StoreError(
            f"{path}: schema version {version} is newer than this program's {CURRENT}; expected a newer servecast"
        )
    return version == CURRENT


def migrate(connection: Connection, path: Path, upto: int = CURRENT) -> None:
    """Bring the attached database to version `upto`: an empty one at once, another one step by step.

    Raises:
        StoreError: as `is_current`.
    """
    if is_current(connection, path):
        return
    done = version_of(connection, path)
    steps = [migration for migration in MIGRATIONS if done < migration.version <= upto]
    for together in [[step] for step in steps] if done else [steps]:
        with transaction(connection):
            for step in together:
                _take(connection, step, rows=done > 0)


def _take(connection: Connection, step: Migration, rows: bool) -> None:
    """One step; in an empty database there are no `rows` to move, and planning that takes longer than all the rest."""
    for statement in step.statements:
        if rows or not statement.startswith(("INSERT", "UPDATE")):
            connection.execute(statement)
    connection.execute("INSERT INTO schema_version VALUES (?, now()::TIMESTAMP)", [step.version])
