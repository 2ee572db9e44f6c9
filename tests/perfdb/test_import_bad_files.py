"""Files that are damaged, hostile or not what they seem: one clear sentence each, in bounded memory, nothing stored."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import IO, Any

import pytest

from perfdb.errors import FileError
from perfdb.importers import content
from perfdb.importers.folder import import_paths
from perfdb.importers.importer import ReadSettings
from perfdb.importers.options import ImportReport
from perfdb.importers.sniff import importer
from perfdb.store.store import Store

GOOD = "tp,mean_ttft_ms\n1,50\n"
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


def only(report: ImportReport) -> str:
    ((_, reason),) = report.skipped
    return reason


def test_a_line_of_a_gigabyte_is_refused_quickly_and_in_little_memory(store: Store, folder: Path) -> None:
    """The reading ends soon after the limit: what lies behind it (here a byte that is no text) is never seen."""
    with (folder / "long.csv").open("wb") as file:
        file.write(GOOD.encode() + b"1,")
        for _ in range(8):
            file.write(b"5" * 2**20)
        file.truncate(2**30)
    tracemalloc.start()
    report = import_paths(store, [folder])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "a line of more than 4,194,304 bytes near line 3; expected a record per line" in only(report)
    assert peak < 2**25


def test_a_document_beyond_the_limit_is_not_even_read(store: Store, folder: Path) -> None:
    with (folder / "big.json").open("wb") as file:
        file.write(json.dumps(RUN).encode() + b" " * 2**16)
        file.truncate(content.LARGEST_DOCUMENT + 1)
    assert "a document of 536,870,913 bytes" in only(import_paths(store, [folder]))


@pytest.mark.parametrize(
    ("late", "reason"),
    [
        (b"caf\xe9\n", "byte 0xe9 near byte 80019 is not UTF-8"),
        (b"5\x000\n", "a NUL at byte 80017"),
        (b"5\xc3", "byte 0xc3 near byte 80017 is not UTF-8"),
    ],
    ids=["latin-1", "NUL", "cut in a character"],
)
def test_what_is_no_text_is_found_behind_the_beginning_too(
    store: Store, folder: Path, late: bytes, reason: str
) -> None:
    (folder / "a.csv").write_bytes(b"tp,mean_ttft_ms\n" + b"1,50\n" * 16000 + late)
    assert reason in only(import_paths(store, [folder]))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_named_or_binary(store: Store, folder: Path, encoding: str) -> None:
    (folder / "a.csv").write_text(GOOD, encoding=encoding)
    assert only(import_paths(store, [folder])) in {"UTF-16 text; expected UTF-8", "a binary file; expected text"}


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_every_line_end_ends_a_line(store: Store, folder: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "LONGEST_LINE", 40)
    (folder / "a.csv").write_bytes(GOOD.replace("\n", end).encode() + f"2,60{end}".encode() * 30)
    report = import_paths(store, [folder])
    assert (report.stored, report.skipped) == (31, [])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1e308", "ttft_s above 1e+07 s"),
        ("9" * 400, "infinite"),
        ("1e400", "infinite"),
        ("-1e308", "negative ttft_s"),
        ("nan", "not a number (NaN)"),
        ("-inf", "infinite"),
        ("=SUM(A1)", "text where a number belongs"),
        ("@cmd|' /C calc'!A0", "text where a number belongs"),
        ("0x1F", "text where a number belongs"),
    ],
)
def test_cells_that_are_no_measurement(store: Store, folder: Path, cell: str, reason: str) -> None:
    (folder / "a.csv").write_text(GOOD + f'2,"{cell}"\n')
    report = import_paths(store, [folder])
    assert (report.stored, dict(report.reasons)) == (1, {reason: 1})
    (row,) = store.sql('SELECT "row", "column", value FROM quarantine').rows
    assert list(row) == [2, "mean_ttft_ms", cell[:200]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps(RUN)[:-1] + ', "completed": 9}', "key 'completed' stands twice in one object, with two values"),
        (json.dumps(RUN)[:-1] + ', "x": ' + '{"a":' * 100_000, "nested too deeply"),
        (json.dumps(RUN)[:-1] + f', "x": {"9" * 5000}}}', "whole number of thousands of digits"),
        (json.dumps(RUN) + "]", "expected complete JSON"),
    ],
    ids=["repeated key", "deep", "long number", "trailing"],
)
def test_json_that_cannot_be_trusted(store: Store, folder: Path, text: str, reason: str) -> None:
    (folder / "a.json").write_text(text)
    path = folder / "a.json"
    with pytest.raises(FileError, match=reason):
        import_paths(store, [path])


def test_json_that_is_nearly_too_deep_is_read_or_refused(folder: Path) -> None:
    """At some depth the parser still gets through and what comes after it would not."""
    path, reasons = folder / "a.json", []
    for depth in range(900, 1001):
        path.write_text(json.dumps(RUN)[:-1] + ', "x": ' + '{"a":' * depth + "1" + "}" * (depth + 1))
        try:
            list(importer("vllm").read(path, ReadSettings()))
        except FileError as error:
            reasons.append(str(error))
    assert 0 < len(reasons) < 101
    assert all("nested too deeply" in reason for reason in reasons)


def test_a_key_that_says_the_same_twice_does_no_harm(store: Store, folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps(RUN)[:-1] + ', "completed": 10}')
    assert import_paths(store, [folder]).stored == 1


@pytest.mark.parametrize("number", ["9" * 400, "NaN", "-Infinity", "1e999"])
def test_json_numbers_that_are_none(store: Store, folder: Path, number: str) -> None:
    (folder / "a.json").write_text(json.dumps(RUN).replace("70.0", number))
    report = import_paths(store, [folder])
    assert (report.stored, report.quarantined) == (0, 1)
    assert set(report.reasons) <= {"infinite", "not a number (NaN)"}


def test_a_hundred_thousand_columns(store: Store, folder: Path) -> None:
    names = ",".join(["mean_ttft_ms", *(f"c{i}" for i in range(99_999))])
    (folder / "a.csv").write_text(f"{names}\n{'1,' * 99_999}1\n")
    assert only(import_paths(store, [folder])) == "100,000 columns; expected at most 5,000"


def test_a_cell_that_swallows_the_file(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text('tp,mean_ttft_ms\n1,"50\n' + "2,60\n" * 40_000)
    assert "a cell of more than 131,072 characters; expected every quote closed" in only(import_paths(store, [folder]))


HOSTILE = "evil\x1b[2J\nname\u202e.csv"


def test_names_of_files_cannot_write_to_the_terminal(store: Store, folder: Path) -> None:
    (folder / HOSTILE).write_text("tp\n1\n")
    (folder / f"good {HOSTILE}").write_text(GOOD)
    report = import_paths(store, [folder])
    shown = json.dumps(report.to_json(), ensure_ascii=False)
    assert r"evil\\x1b[2J\\nname\\u202e.csv" in shown
    assert not any(
        character in "".join(report.warnings + [file for file, _ in report.skipped]) for character in "\x1b\n"
    )
    with pytest.raises(FileError) as caught:
        import_paths(store, [folder / HOSTILE])
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_text_is_skipped(store: Store, folder: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.csv"))
    path.write_text(GOOD)
    report = import_paths(store, [folder])
    assert report.skipped == [
        (rf"{folder}/caf\udce9.csv", "its path is no UTF-8 text; expected one that can be stored and shown")
    ]
    with pytest.raises(FileError, match="no UTF-8 text"):
        import_paths(store, [path])


def test_cells_and_headers_cannot_write_to_the_terminal(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text(
        'model,mean_ttft_ms,"no\x1b[31mte",p99_ttft_ms\n"ac\x1b]0;me\x07/x",50,\x9b2J,90\n"acme\nx",5\x1b[1m,a,90\n'
    )
    report = import_paths(store, [folder])
    (model, extra), *_ = store.sql("SELECT model, extra FROM operating_points").rows
    assert model == r"ac\x1b]0;me\x07/x"
    assert json.loads(str(extra)) == {r"no\x1b[31mte": r"\x9b2J"}
    assert store.sql("SELECT value FROM quarantine").rows[0][0] == r"5\x1b[1m"
    assert not any("\x1b" in text or "\n" in text for text in report.warnings)


def test_a_refusal_shows_no_secret(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text("run --api_key hush-hush --model m,colour\nx,red\n")
    reason = only(import_paths(store, [folder]))
    assert "hush-hush" not in reason
    assert "no column is a metric" in reason
    with pytest.raises(FileError, match=r"a\.csv: no column is a metric.*\[redacted\]"):
        import_paths(store, [folder / "a.csv"])


def test_a_model_that_is_called_like_a_path_is_only_a_name(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text("model,gpu,mean_ttft_ms\n../../../etc/passwd,/dev/zero,50\n")
    import_paths(store, [folder])
    assert [list(row) for row in store.sql("SELECT model, platform FROM operating_points").rows] == [
        ["../../../etc/passwd", "/dev/zero"]
    ]


def test_a_file_that_may_not_be_read(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the system's answer is given here."""
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_text(GOOD)
    opened = Path.open

    def refuse(path: Path, *args: Any, **settings: Any) -> IO[Any]:
        if path.name == "a.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **settings)

    monkeypatch.setattr(Path, "open", refuse)
    report = import_paths(store, [folder])
    assert report.skipped == [(str(folder / "a.csv"), "cannot be read (Permission denied)")]
    assert report.stored == 1


def test_a_name_with_signs_of_a_pattern_is_one_file(store: Store, folder: Path) -> None:
    (folder / "[a-z]*.csv").write_text(GOOD)
    (folder / "b.csv").write_text("tp,mean_ttft_ms\n1,60\n")
    assert import_paths(store, [folder / "[a-z]*.csv"]).stored == 1
