"""The map of what was understood: written, edited, given back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from perfdb.errors import FileError, InputError
from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportOptions
from perfdb.store.store import Store

CSV = (
    "Model,GPU,Engine,TP,Concurrency,ISL,OSL,Median TTFT (ms),p99_ttft_ms,TPOT,Output throughput,Temperature,1\n"
    "Qwen3-8B,8xH100,vllm,8,16,1024,128,70.5,90,12.5,1280.5,71.5,a\n"
    "Qwen3-8B,8xH100,vllm,8,32,1024,128,80.5,99,14.5,2207.25,72.5,b\n"
    "Qwen3-8B,8xH100,vllm,8,64,1024,128,-1,99,14.5,2207.25,72.5,c\n"
)
MARKDOWN = (
    "| Model | GPU | TTFT (ms) | TPOT | tok/s |\n|---|---|---|---|---|\n"
    "| Qwen3-8B | H100 | 70.5 ± 1.5 | 12.5 | 80 |\n\n| Model | e2e |\n|---|---|\n| Qwen3-8B | 4.25 |\n"
)
FLAT = [{"model": "Qwen3-8B", "gpu": "H100", "latency": 4200.0, "output_throughput": 900.5, "isl": 1024, "note": "x"}]
POINT = {
    "hw": "h200", "conc": 64, "model": "m", "framework": "vllm", "precision": "fp8", "tp": 8, "tput_per_gpu": 500.5,
    "median_ttft": 0.2,
}  # fmt: skip

Facts = list[tuple[object, ...]]


def as_csv(folder: Path) -> Path:
    (folder / "r.csv").write_text(CSV)
    return folder / "r.csv"


def as_parquet(folder: Path) -> Path:
    duckdb.sql(f"SELECT * FROM read_csv('{as_csv(folder)}')").write_parquet(str(folder / "r.parquet"))
    return folder / "r.parquet"


def as_markdown(folder: Path) -> Path:
    (folder / "r.md").write_text(MARKDOWN)
    return folder / "r.md"


def as_flat_json(folder: Path) -> Path:
    (folder / "r.json").write_text(json.dumps(FLAT))
    return folder / "r.json"


def as_tool_json(folder: Path) -> Path:
    (folder / "r.json").write_text(json.dumps(POINT))
    return folder / "r.json"


def stored(folder: Path, name: str, file: Path, **options: Any) -> tuple[Facts, Facts]:
    """What a fresh database holds after the import: (facts of the points with their values, records set aside)."""
    store = Store(folder / f"{name}.duckdb")
    import_paths(store, [file], ImportOptions(**options))
    points = store.sql("""
        SELECT model, platform, devices, engine, isl, osl, concurrency, config, outcome, client, arrival,
               metric, statistic, value
        FROM operating_points LEFT JOIN measurements USING (point_id) ORDER BY ALL""").rows
    aside = store.sql('SELECT "row", "column", value, reason FROM quarantine ORDER BY ALL').rows
    return [tuple(row) for row in points], [tuple(row) for row in aside]


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_markdown, as_flat_json, as_tool_json])
def test_the_map_of_what_was_understood_gives_the_same_import(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    file, saved = write(tmp_path), tmp_path / "map.yaml"
    first = stored(tmp_path, "first", file, save_map=saved)
    assert first[0]
    assert stored(tmp_path, "second", file, map=saved) == first


def test_it_says_field_and_unit_of_every_column(tmp_path: Path) -> None:
    saved = tmp_path / "map.yaml"
    stored(tmp_path, "db", as_csv(tmp_path), save_map=saved, set={"platform": "h200_sxm"})
    assert yaml.safe_load(saved.read_text()) == {
        "Model": "model",
        "GPU": "platform",
        "Engine": "engine",
        "TP": "tp",
        "Concurrency": "concurrency",
        "ISL": "isl",
        "OSL": "osl",
        "Median TTFT (ms)": {"field": "ttft_s:p50", "unit": "ms"},
        "p99_ttft_ms": {"field": "ttft_s:p99", "unit": "ms"},
        # not in its name: decided by the other numbers
        "TPOT": {"field": "tpot_s", "unit": "ms"},
        "Output throughput": "output_tps",
        "Temperature": "extra.Temperature",
        "1": "extra.1",
    }
    assert saved.read_text().startswith("# Column -> field")


def test_an_edited_map_changes_what_is_read(tmp_path: Path) -> None:
    file, saved = as_csv(tmp_path), tmp_path / "map.yaml"
    stored(tmp_path, "first", file, save_map=saved)
    edited = saved.read_text().replace("Temperature: extra.Temperature", "Temperature: {field: itl_s, unit: ms}")
    saved.write_text(edited)
    found = [row[-1] for row in stored(tmp_path, "second", file, map=saved)[0] if row[-3] == "itl_s"]
    assert found == pytest.approx([0.0715, 0.0725])


def test_a_dry_run_and_a_second_import_write_it_as_well(tmp_path: Path) -> None:
    file, store = as_csv(tmp_path), Store(tmp_path / "db.duckdb")
    names = [tmp_path / f"{name}.yaml" for name in ("dry", "wet", "again")]
    for name, is_dry in zip(names, (True, False, False), strict=True):
        import_paths(store, [file], ImportOptions(dry_run=is_dry, save_map=name))
    assert len({name.read_text() for name in names}) == 1


def test_where_two_files_disagree_on_a_unit_none_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.csv").write_text("tp,tpot,mean_ttft_ms\n1,0.05,3\n2,0.04,3\n")
    (folder / "b.csv").write_text("tp,tpot,mean_ttft_ms\n1,50,3\n2,40,3\n")
    saved = tmp_path / "map.yaml"
    report = import_paths(Store(tmp_path / "db.duckdb"), [folder], ImportOptions(save_map=saved))
    assert yaml.safe_load(saved.read_text())["tpot"] == "tpot_s"
    (said,) = [text for text in report.warnings if "cannot be right for all files" in text]
    assert f"column 'tpot' is tpot_s in ms, and tpot_s in s in {folder / 'a.csv'}" in said


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    file, saved = as_csv(tmp_path), tmp_path / "map.yaml"
    saved.write_text("mine")
    store = Store(tmp_path / "db.duckdb")
    with pytest.raises(InputError, match="it exists already; expected the name of a new file"):
        import_paths(store, [file], ImportOptions(save_map=saved))
    with pytest.raises(InputError, match="there is no folder"):
        import_paths(store, [file], ImportOptions(save_map=tmp_path / "none" / "map.yaml"))
    assert (saved.read_text(), store.path.exists()) == ("mine", False)


def test_where_nothing_was_read_there_is_no_map(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    saved = tmp_path / "map.yaml"
    report = import_paths(Store(tmp_path / "db.duckdb"), [tmp_path], ImportOptions(save_map=saved))
    assert not saved.exists()
    assert report.warnings == [f"{saved}: no column was read, so no map was written"]


def test_a_map_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    from perfdb.importers.column_map import Understood

    with pytest.raises(FileError, match="the column map cannot be written"):
        Understood().write(tmp_path)


def test_any_column_name_survives(tmp_path: Path) -> None:
    names = ["yes", "null", "- a", "a: b", "naïve ±", "x\ty", "#n", "'q'", "12.50", "é" * 300]
    file, saved = tmp_path / "r.json", tmp_path / "map.yaml"
    file.write_text(json.dumps([{"mean_ttft_ms": 5} | dict.fromkeys(names, 3)]))
    first = stored(tmp_path, "first", file, save_map=saved)
    written = yaml.safe_load(saved.read_text())
    assert {name: written[name] for name in names} == {name: f"extra.{name}" for name in names}
    assert stored(tmp_path, "second", file, map=saved) == first


def test_a_map_names_columns_and_units(store: Store, folder: Path, tmp_path: Path) -> None:
    (folder / "a.csv").write_text("speed,wait,who,kv\n900,120,x,fp8\n")
    (tmp_path / "map.yaml").write_text(
        "speed: output_tps\nwait: {field: p50_ttft_s, unit: ms}\nwho: ignore\nkv: config.kv_dtype\n"
    )
    import_paths(store, [folder], ImportOptions(map=tmp_path / "map.yaml"))
    rows = store.sql("SELECT metric, statistic, value FROM measurements ORDER BY metric").rows
    assert [list(row) for row in rows] == [["output_tps", "value", 900.0], ["ttft_s", "p50", 0.12]]
    assert store.sql("SELECT config, extra FROM operating_points").rows[0][0] == '{"kv_dtype":"fp8"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b\n", "not a column map"),
        ("a: [1\n", "cannot be read"),
        ("a: {unit: ms}\n", "no rule"),
        ("a: {field: ttft_s, unit: fortnight}\n", "unknown unit 'fortnight'"),
        ("a: nonsense\n", "unknown field of the column map 'nonsense'"),
    ],
)
def test_a_bad_map_is_refused_before_anything_is_read(
    store: Store, folder: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "map.yaml").write_text(content)
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        import_paths(store, [folder], ImportOptions(map=tmp_path / "map.yaml"))
