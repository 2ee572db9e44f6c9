"""FEATURES S1.23: files and folders into a real store: what is read, what is skipped, and the report."""

from __future__ import annotations

import json
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


def test_a_dry_run_reports_the_same_and_writes_nothing(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_text(GOOD)
    dry = import_paths(store, [folder], ImportOptions(dry_run=True))
    assert not store.path.exists()
    assert dry.to_json() == import_paths(store, [folder]).to_json()
    after = import_paths(store, [folder], ImportOptions(dry_run=True))
    assert (after.stored, after.duplicates) == (0, 6)


def test_a_path_that_does_not_exist(store: Store, folder: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        import_paths(store, [folder / "nowhere"])


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
