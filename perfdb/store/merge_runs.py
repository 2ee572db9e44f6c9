"""The part of a merge that is about our own tuning: runs, experiments with their points, suggestions.

An experiment is the same where run, config, outcome and times are: two copies of one database that both went on with a
run gave the same ids to different experiments. Those are numbered on, so that a run's indices stay without gaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfdb.store.sources import next_id

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def merge_runs(connection: Connection) -> dict[str, int]:
    """Table -> rows stored."""
    runs = _run(connection, "INSERT INTO runs BY NAME SELECT * FROM other.runs ANTI JOIN runs USING (run_id)")
    _choose_experiments(connection)
    experiments = _run(
        connection,
        """INSERT INTO experiments BY NAME
           SELECT e.* REPLACE (n.experiment_id AS experiment_id, n."index" AS "index")
           FROM other.experiments e JOIN temp.fresh_experiments n ON e.rowid = n.place ORDER BY n.place""",
    )
    suggestions = _run(
        connection,
        """INSERT INTO suggestions BY NAME
           SELECT o.* REPLACE (last.seq + row_number() OVER (ORDER BY o.seq) AS seq)
           FROM other.suggestions o ANTI JOIN suggestions USING (run_id, config_key, noted_at, reason)
           CROSS JOIN (SELECT coalesce(max(seq), 0) AS seq FROM suggestions) last ORDER BY o.seq""",
    )
    return {"runs": runs, "experiments": experiments, "suggestions": suggestions, **_points(connection)}


def _choose_experiments(connection: Connection) -> None:
    """Make `fresh_experiments`: the place of each new one there, and its id and index here."""
    connection.execute(
        """CREATE TEMP TABLE fresh_experiments AS
           SELECT place, theirs, CASE WHEN is_free THEN "index" ELSE number END AS "index",
                  CASE WHEN is_free THEN theirs ELSE printf('%s-%04d', run_id, number) END AS experiment_id
           FROM (
             SELECT o.rowid AS place, o.experiment_id AS theirs, o.run_id, o."index",
                    r.last IS NULL AND o.experiment_id NOT IN (SELECT experiment_id FROM experiments) AS is_free,
                    coalesce(r.last, -1)
                      + row_number() OVER (PARTITION BY o.run_id ORDER BY o."index", o.rowid) AS number
             FROM other.experiments o LEFT JOIN (
               SELECT run_id, max("index") AS last FROM experiments GROUP BY run_id
             ) r USING (run_id)
             WHERE NOT EXISTS (
               SELECT 1 FROM experiments e
               WHERE e.run_id = o.run_id AND e.config_key = o.config_key AND e.outcome = o.outcome
                 AND e.started_at = o.started_at AND e.wall_s = o.wall_s
                 AND (e.experiment_id = o.experiment_id OR o.started_at > 0)))"""
    )


def _points(connection: Connection) -> dict[str, int]:
    connection.execute(
        """CREATE TEMP TABLE run_points AS
           SELECT p.point_id AS theirs, n.experiment_id,
                  ? - 1 + row_number() OVER (ORDER BY p.point_id) AS point_id
           FROM other.operating_points p JOIN temp.fresh_experiments n ON p.experiment_id = n.theirs""",
        [next_id(connection, "operating_points", "point_id")],
    )
    points = _run(
        connection,
        """INSERT INTO operating_points BY NAME
           SELECT p.* REPLACE (n.point_id AS point_id, n.experiment_id AS experiment_id)
           FROM other.operating_points p JOIN temp.run_points n ON p.point_id = n.theirs ORDER BY n.point_id""",
    )
    measurements = _run(
        connection,
        """INSERT INTO measurements SELECT n.point_id, m.metric, m.statistic, m.value
           FROM other.measurements m JOIN temp.run_points n ON m.point_id = n.theirs ORDER BY m.rowid""",
    )
    return {"operating_points": points, "measurements": measurements}


def _run(connection: Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchall()[0][0])
