"""What makes two source records the same: their content, and which of their like within one file they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def number_records(connection: Connection, text_columns: Sequence[str], other_columns: Sequence[str]) -> None:
    """Make `memory.numbered` (seq, content_key, occurrence) from the sound rows of `memory.stage`.

    `content_key` is the MD5 of every column that has a value, each with its name: a column that is empty for a row, or
    that a later version adds, changes no key. Texts carry their length, so that no two records share a spelling.
    `occurrence` counts equal records in the order of the file, from 1: true repeats survive, and the same records in
    another file get the same numbers.

    Args:
        connection: an engine with the table `memory.stage`, whose column `fault` is NULL in sound rows.
        text_columns: names of VARCHAR columns of the stage that belong to the content.
        other_columns: names of its numeric and time columns that do.
    """
    spelled = [
        *(f"""'{name}=' || length("{name}") || ':' || "{name}" """ for name in text_columns),
        *(f"""'{name}=' || "{name}"::VARCHAR""" for name in other_columns),
    ]
    connection.execute(
        f"""
        CREATE TABLE memory.numbered AS
        SELECT seq, content_key,
               (row_number() OVER (PARTITION BY content_key ORDER BY seq))::INTEGER AS occurrence
        FROM (
            SELECT rowid AS seq, md5(concat_ws(';', {", ".join(spelled)}))::UUID AS content_key
            FROM memory.stage WHERE fault IS NULL
        )"""
    )


def keep_new(connection: Connection, table: str, first_id: int = 1) -> int:
    """Make `temp.fresh` (seq, content_key, occurrence, id) of the numbered records that `table` lacks.

    It may run within a transaction and sees what that has removed. Returns their number.
    `id` counts on from `first_id` in the order of the file.
    """
    connection.execute(
        f"""
        CREATE TEMP TABLE fresh AS
        SELECT *, ?::BIGINT - 1 + row_number() OVER (ORDER BY seq) AS id
        FROM memory.numbered ANTI JOIN db.{table} USING (content_key, occurrence)""",
        [first_id],
    )
    found = connection.execute("SELECT count(*) FROM temp.fresh").fetchone()
    return int(found[0]) if found else 0
