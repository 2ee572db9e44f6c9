"""`servecast import aiconfigurator`: the tables of an installed package, read in place."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from perfdb.errors import InputError, UnknownNameError
from perfdb.importers import installed
from perfdb.importers.importer import ReadSettings
from perfdb.importers.installed import Installed
from perfdb.importers.sniff import importer, recognise
from perfdb.operations import OPERATIONS
from perfdb.store import Store
from perfdb.store.op_ingest import preview


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the name and layout of the real one, which it hides where that is installed."""
    site = tmp_path / "site"
    notes = site / "aiconfigurator_core-0.12.0.dist-info"
    notes.mkdir(parents=True)
    (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: aiconfigurator-core\nVersion: 0.12.0\n")
    systems = site / "aiconfigurator_core" / "systems"
    systems.mkdir(parents=True)
    (site / "aiconfigurator_core" / "__init__.py").write_text("raise ImportError('it is read, never imported')\n")
    for system, device in (("h200_sxm", "NVIDIA H200"), ("l40s", "NVIDIA L40S")):
        folder = systems / "data" / system / "gemm" / "vllm" / "0.24.0"
        folder.mkdir(parents=True)
        (folder / "collection_meta.yaml").write_text("tables:\n")
        duckdb.sql(
            f"""SELECT 'VLLM' AS framework, '0.24.0' AS version, '{device}' AS device, 'gemm' AS op_name,
                'k' AS kernel_source, 'fp8' AS gemm_dtype, 8 * i AS m, 16 AS n, 32 AS k, 0.5 * i AS latency
                FROM range(3) t(i)"""
        ).write_parquet(str(folder / "gemm_perf.parquet"))
    (systems / "data" / "h100_pcie").mkdir()
    monkeypatch.syspath_prepend(site)
    return site


TABLE = "aiconfigurator-core 0.12.0/systems/data/{}/gemm/vllm/0.24.0/gemm_perf.parquet"


def test_its_tables_are_imported_under_their_place_in_the_package(cli, package):
    report = cli.json("import", "aiconfigurator", "--db", "x.duckdb")
    assert (report["files"], report["rows_read"], report["stored"], report["quarantined"]) == (2, 6, 4, 2)
    assert report["skipped"] == report["warnings"] == []
    store = Store(cli.folder / "x.duckdb")
    paths = [row[0] for row in store.sql("SELECT path FROM sources ORDER BY path").rows]
    assert paths == [TABLE.format("h200_sxm"), TABLE.format("l40s")]
    assert len(store.operations(platform="h200_sxm", op="gemm", dtype="fp8")) == 2
    again = cli.json("import", "aiconfigurator", "--db", "x.duckdb")
    assert (again["stored"], again["duplicates"]) == (0, 6)


def test_rows_set_aside_are_read_again_where_the_package_is(cli, package):
    cli.run("import", "aiconfigurator", "--systems", "l40s", "--db", "x.duckdb")
    done = cli.run("db", "quarantine", "retry", "--db", "x.duckdb", "--set", "tp=2")
    assert done.returncode == 0, done.stderr
    assert "gone" not in done.stdout + done.stderr
    table = Store(cli.folder / "x.duckdb").operations(op="gemm")
    assert (table["tp"].tolist(), table["source"].tolist()) == ([2, 2], [TABLE.format("l40s")] * 2)


def test_systems_choose_devices(cli, package):
    assert cli.json("import", "aiconfigurator", "--systems", "L40S", "--dry-run")["rows_read"] == 3
    report = cli.json("import", "aiconfigurator", "--systems", "h200_sxm, l40s")
    assert report["rows_read"] == 6


def test_an_unknown_system_lists_the_right_ones(cli, package):
    done = cli.run("import", "aiconfigurator", "--systems", "h201")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown system of aiconfigurator-core 'h201'" in done.stderr
    assert "known: h200_sxm, l40s" in done.stderr
    assert not (cli.folder / "servecast.duckdb").exists()


def test_a_folder_of_that_name_is_meant_unless_systems_are_given(cli, package):
    folder = cli.folder / "aiconfigurator"
    folder.mkdir()
    (folder / "r.csv").write_text("model,gpu,engine,concurrency,ttft_ms\nQwen3-8B,A10,vllm,4,50\n")
    done = cli.run("import", "aiconfigurator")
    assert done.returncode == 0, done.stderr
    assert "1 rows of 1 file" in done.stdout
    assert "aiconfigurator is a path here and is imported as such; --systems reads the installed package" in done.stderr
    assert cli.json("import", "aiconfigurator", "--systems", "l40s")["rows_read"] == 3


def test_systems_of_anything_else_are_refused(cli):
    done = cli.run("import", "results.csv", "--systems", "h200_sxm")
    assert done.returncode == 2
    assert "--systems: no device to choose from" in done.stderr


def test_where_it_is_not_installed_the_error_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_MODULE", "no_such_module_at_all")
    with pytest.raises(
        InputError, match=r"aiconfigurator-core is not installed; expected uv sync --extra aiconfigurator"
    ):
        Installed.find()


def real_package() -> Installed:
    try:
        return Installed.find()
    except InputError as error:
        pytest.skip(f"the tables of the real package are NOT tested here: {error}")


def test_every_kind_of_table_of_the_real_package_is_read_whole() -> None:
    smallest: dict[str, Path] = {}
    for found in real_package().files():
        known = smallest.get(found.path.stem)
        if known is None or found.path.stat().st_size < known.stat().st_size:
            smallest[found.path.stem] = found.path
    tables = [path for path in smallest.values() if path.suffix == ".parquet"]
    assert len(tables) >= 45
    for path in tables:
        assert recognise(b"PAR1", path) is importer("aiconfigurator")
        counts = preview(importer("aiconfigurator").read(path, ReadSettings()))
        (rows,) = duckdb.sql(f"SELECT count(*) FROM read_parquet('{path}')").fetchall()
        assert counts.rows_read == rows[0] == counts.stored + counts.quarantined
        assert set(counts.reasons) <= {"not measured"}
        assert not [text for text in counts.warnings if "none that we know" in text], path


def test_the_real_package_names_its_systems() -> None:
    package = real_package()
    assert "h200_sxm" in package.systems
    with pytest.raises(UnknownNameError, match="h200_sxm"):
        list(package.files(["nothing"]))
    assert "gemm" in OPERATIONS
