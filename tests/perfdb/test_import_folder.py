"""Importing files and folders into a real store: what is read, what is skipped, and the report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from perfdb.errors import FileError, InputError, UnknownNameError
from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportOptions, ImportReport
from perfdb.store.store import Store

GOOD = "model,gpu,engine,tp,mean_ttft_ms\nQwen3-8B,A10,vllm,1,50\nQwen3-8B,A10,vllm,2,40\nQwen3-8B,A10,vllm,2,-1\n"
RUN = {
    "model_id": "Qwen/Qwen3-8B", "num_prompts": 10, "request_rate": "inf", "max_concurrency": 4, "duration": 20.0,
    "completed": 10, "request_throughput": 0.5, "median_ttft_ms": 70.0,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "test.duckdb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results"
    path.mkdir()
    return path


def adds_up(report: ImportReport) -> bool:
    return report.rows_read == report.stored + report.duplicates + report.quarantined


def test_the_report_is_the_promised_document(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    (folder / "notes.txt").write_text("hello\n")
    document = import_paths(store, [folder]).to_json()
    assert list(document) == [
        "files", "rows_read", "stored", "duplicates", "quarantined", "measurements", "reasons", "skipped", "warnings"
    ]  # fmt: skip
    assert {name: document[name] for name in ("files", "rows_read", "stored", "duplicates", "quarantined")} == {
        "files": 1, "rows_read": 3, "stored": 2, "duplicates": 0, "quarantined": 1
    }  # fmt: skip
    assert document["measurements"] == 2
    assert document["reasons"] == {"negative ttft_s": 1}
    assert [entry["file"] for entry in document["skipped"]] == [str(folder / "notes.txt")]
    json.dumps(document)


def test_quarantine_names_file_row_column_and_reason(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    import_paths(store, [folder])
    table = store.sql('SELECT file, "row", "column", value, reason FROM quarantine')
    assert [list(row) for row in table.rows] == [[str(folder / "a.csv"), 3, "mean_ttft_ms", "-1", "negative ttft_s"]]


def test_importing_twice_stores_once(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    first, second = import_paths(store, [folder]), import_paths(store, [folder])
    assert (first.stored, second.stored, second.duplicates) == (2, 0, 3)
    assert adds_up(first)
    assert adds_up(second)


def test_the_same_bytes_under_two_names_are_one_file(store: Store, folder: Path) -> None:
    """T20, T21."""
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_text(GOOD)
    report = import_paths(store, [folder])
    assert (report.files, report.stored, report.duplicates) == (2, 2, 3)
    assert any("imported before" in text for text in report.warnings)


def test_other_settings_make_it_another_file(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    import_paths(store, [folder])
    again = import_paths(store, [folder], ImportOptions(set={"platform": "l4"}))
    assert again.stored == 2


def test_true_repeats_survive(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text("tp,mean_ttft_ms\n1,50\n1,50\n")
    assert import_paths(store, [folder]).stored == 2


def test_a_dry_run_reports_the_same_and_writes_nothing(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_text(GOOD)
    dry = import_paths(store, [folder], ImportOptions(dry_run=True))
    assert not store.path.exists()
    assert dry.to_json() == import_paths(store, [folder]).to_json()
    after = import_paths(store, [folder], ImportOptions(dry_run=True))
    assert (after.stored, after.duplicates) == (0, 6)


SKIPPED: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "empty"),
    "blank.csv": (b" \n \n", "blanks"),
    "lfs.csv": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS pointer"),
    "binary.csv": (b"tp,ttft\n\x00\x01,2\n", "binary"),
    "latin.csv": (b"tp,mean_ttft_ms,note\n1,50,caf\xe9\n", "0xe9 near byte 29 is not UTF-8"),
    "utf16.csv": ("tp,mean_ttft_ms\n1,5\n".encode("utf-16"), "UTF-16"),
    "header.csv": (b"tp,mean_ttft_ms\n", "no record"),
    "other.csv": (b"name,colour\nx,red\n", "no column is a metric that we know ('name', 'colour')"),
    "prose.md": (b"# Results\nAll was well.\n", "no importer knows this format"),
    "truncated.json": (json.dumps(RUN).encode()[:-20], "expected complete JSON"),
    "scalars.json": (b'["model_id", "num_prompts", "request_rate", "completed"]', "no JSON object"),
    "requests.csv": (b'latency_ms,tokens\n12,"[1, 2]"\n', "holds lists"),
    "quote.csv": (b'tp,mean_ttft_ms\n1,"50\n', "quote"),
}


@pytest.mark.parametrize("name", sorted(SKIPPED))
def test_each_unreadable_file_has_one_clear_reason(store: Store, folder: Path, name: str) -> None:
    content, reason = SKIPPED[name]
    (folder / name).write_bytes(content)
    (folder / "good.csv").write_text(GOOD)
    report = import_paths(store, [folder])
    assert report.files == 1
    assert [file for file, _ in report.skipped] == [str(folder / name)]
    assert reason in report.skipped[0][1]
    with pytest.raises(FileError, match=name):
        import_paths(store, [folder / name])


def test_a_named_file_that_cannot_be_read_stops_everything(store: Store, folder: Path) -> None:
    (folder / "good.csv").write_text(GOOD)
    (folder / "bad.csv").write_bytes(b"\x00\x00")
    with pytest.raises(FileError, match=r"bad\.csv"):
        import_paths(store, [folder / "good.csv", folder / "bad.csv"])
    assert not store.path.exists()


def test_a_path_that_does_not_exist(store: Store, folder: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        import_paths(store, [folder / "nowhere"])


def test_a_line_without_end_is_refused_in_bounded_memory(store: Store, folder: Path) -> None:
    with (folder / "long.csv").open("wb") as file:
        file.write(b"tp,mean_ttft_ms\n1,")
        for _ in range(5):
            file.write(b"5" * 2**20)
    report = import_paths(store, [folder])
    assert "a line of more than 4,194,304 bytes near line 2" in report.skipped[0][1]


def test_links_in_a_circle_and_to_nothing(store: Store, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "dangling.csv").symlink_to(folder / "gone.csv")
    (folder / "sub" / "a.csv").write_text(GOOD)
    report = import_paths(store, [folder])
    assert report.files == 1
    assert sorted(reason.split(" ")[0:3] for _, reason in report.skipped) == [
        ["a", "folder", "that"],
        ["a", "link", "to"],
    ]


def test_hidden_folders_are_not_entered(store: Store, folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "a.csv").write_text(GOOD)
    assert import_paths(store, [folder]).files == 0


def test_a_pipe_is_no_file(store: Store, folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    assert "not a regular file" in import_paths(store, [folder]).skipped[0][1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    (folder / "a.csv").chmod(0)
    assert "cannot be read" in import_paths(store, [folder]).skipped[0][1]


def test_parameters_from_the_path(store: Store, folder: Path) -> None:
    """T17."""
    for concurrency in (4, 8):
        (folder / f"m_vllm_tp8_isl1024_osl128_conc{concurrency}.json").write_text(
            json.dumps(RUN | {"max_concurrency": concurrency})
        )
    (folder / "other.json").write_text(json.dumps(RUN))
    options = ImportOptions(
        set={"hardware": "H200", "engine": "vllm"},
        from_path="{_}_vllm_tp{tp}_isl{isl}_osl{osl}_conc{concurrency}.json",
    )
    report = import_paths(store, [folder], options)
    assert (report.files, report.stored) == (2, 2)
    assert "does not fit --from-path" in report.skipped[0][1]
    rows = store.sql(
        "SELECT platform, devices, config, isl, osl, concurrency FROM operating_points ORDER BY concurrency"
    ).rows
    assert [list(row) for row in rows] == [
        ["h200_sxm", 8, '{"tensor_parallel_size":8}', 1024.0, 128.0, concurrency] for concurrency in (4, 8)
    ]


def test_what_the_path_says_wins_aloud(store: Store, folder: Path) -> None:
    (folder / "run_C64.json").write_text(json.dumps(RUN))
    report = import_paths(store, [folder], ImportOptions(from_path="run_C{concurrency}.json"))
    assert store.sql("SELECT concurrency FROM operating_points").rows[0][0] == 64
    assert any("max_concurrency" in text and "the path was taken" in text for text in report.warnings)


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"set": {"concurency": "8"}}, "did you mean concurrency"),
        ({"set": {"concurrency": "many"}}, "concurrency is a number"),
        ({"set": {"origin": "invented"}}, "measured"),
        ({"from_path": "{nonsense}.json"}, "unknown field of --from-path"),
        ({"from_path": "results.json"}, "no placeholder"),
        ({"from_path": "{tp}_{tp}.json"}, "stands twice"),
        ({"from_path": "re:(?P<tp"}, "regular expression"),
        ({"format": "excel"}, "unknown format 'excel'; known: "),
    ],
)
def test_bad_options_are_refused_with_the_right_ones(
    store: Store, folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        import_paths(store, [folder], ImportOptions(**options))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_field_is_an_unknown_name(store: Store, folder: Path) -> None:
    with pytest.raises(UnknownNameError):
        import_paths(store, [folder], ImportOptions(set={"x": "1"}))


def test_a_forced_format_reads_what_its_content_would_not_tell(store: Store, folder: Path) -> None:
    (folder / "a.txt").write_text("tp mean_ttft_ms\n1 50\n")
    with pytest.raises(FileError, match=r"a\.txt: no importer"):
        import_paths(store, [folder / "a.txt"])
    with pytest.raises(FileError, match="no column is a metric"):
        import_paths(store, [folder / "a.txt"], ImportOptions(format="generic"))


def test_progress_is_told_before_each_file(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_text(GOOD.replace("50", "51"))
    seen: list[tuple[str, int, int]] = []
    import_paths(store, [folder], progress=lambda file, number, total: seen.append((Path(file).name, number, total)))
    assert seen == [("a.csv", 1, 2), ("b.csv", 2, 2)]


def test_one_warning_for_many_files(store: Store, folder: Path) -> None:
    for place in range(3):
        (folder / f"{place}.csv").write_text(f"model,gpu,engine,mean_ttft_ms\nacme/x,A10,vllm,{50 + place}\n")
    warnings = import_paths(store, [folder]).warnings
    assert len(warnings) == 1
    assert warnings[0].startswith(f"3 files, each (first: {folder / '0.csv'}): unknown model")
    assert "acme/x" in warnings[0]
