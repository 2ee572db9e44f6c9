"""Which files can be merged: databases of ours of any version, each read and left as it is; all else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfdb.errors import FileError, InputError, StoreError
from perfdb.store import Store, schema
from perfdb.store.engine import engine
from perfdb.store.merge import MergeCounts


@pytest.fixture
def here(tmp_path: Path) -> Store:
    return Store(tmp_path / "here.duckdb")


def came(counts: dict[str, MergeCounts]) -> dict[str, int]:
    return {table: count.stored for table, count in counts.items() if count.stored}


@pytest.mark.parametrize("version", range(1, schema.CURRENT))
def test_a_database_of_an_older_version_is_read_and_stays_as_it_is(here: Store, tmp_path: Path, version: int) -> None:
    old = tmp_path / "old.duckdb"
    with engine() as connection:
        connection.execute("ATTACH ? AS db", [str(old)])
        connection.execute("USE db")
        schema.migrate(connection, old, upto=version)
        connection.execute(
            """INSERT INTO operating_points (point_id, source_id, source_row, content_key, occurrence, outcome, origin)
               VALUES (7, 3, 1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1, 'ok', 'measured');
               INSERT INTO measurements VALUES (7, 'ttft_s', 'mean', 0.5);
               INSERT INTO sources (source_id, path, content_hash, format, importer_version, imported_at, rows_read,
                 stored, duplicates, quarantined, measurements, reasons)
               VALUES (3, 'old.csv', 'h', 'csv', 1, TIMESTAMP '2025-01-01', 1, 1, 0, 0, 1, '{}')"""
        )
        connection.execute("USE memory")
        connection.execute("DETACH db")
    before = old.read_bytes()
    assert came(here.merge(old)) == {"sources": 1, "operating_points": 1, "measurements": 1}
    assert here.results()["ttft_s"].tolist() == [0.5]
    assert old.read_bytes() == before


def test_what_cannot_be_merged_is_refused_with_one_sentence(here: Store, tmp_path: Path) -> None:
    here.open_run("r", "key", {})
    link = tmp_path / "link.duckdb"
    link.symlink_to(here.path)
    with pytest.raises(InputError, match="it is the database itself"):
        here.merge(link)
    with pytest.raises(FileError, match=r"none\.duckdb: no such file"):
        here.merge(tmp_path / "none.duckdb")
    (tmp_path / "text.csv").write_text("no database at all, just text")
    with pytest.raises(FileError, match=r"text\.csv: not a DuckDB database"):
        here.merge(tmp_path / "text.csv")
    for name, statement in (
        ("foreign", "CREATE TABLE x (a INTEGER)"),
        ("newer", "INSERT INTO schema_version VALUES (99, now()::TIMESTAMP)"),
    ):
        path = tmp_path / f"{name}.duckdb"
        with engine() as connection:
            connection.execute("ATTACH ? AS db", [str(path)])
            connection.execute("USE db")
            if name == "newer":
                schema.migrate(connection, path)
            connection.execute(statement)
            connection.execute("USE memory")
            connection.execute("DETACH db")
        with pytest.raises(StoreError, match=f"{name}[.]duckdb: .*expected"):
            here.merge(path)
    assert here.info()["tables"]["runs"] == 1
