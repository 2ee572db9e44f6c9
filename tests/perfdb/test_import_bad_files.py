"""Files that are damaged, hostile or not what they seem: one clear sentence each, in bounded memory, nothing stored."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

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


def packed_zip(text: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.csv", text)
    return out.getvalue()


@pytest.mark.parametrize(
    ("pack", "kind"),
    [(gzip.compress, "gzip"), (packed_zip, "zip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")],
)
def test_compressed_files_are_named(store: Store, folder: Path, pack: Callable[[bytes], bytes], kind: str) -> None:
    (folder / "a.csv.packed").write_bytes(pack(GOOD.encode()))
    right = "expected it unpacked, a spreadsheet saved as CSV"
    assert only(import_paths(store, [folder])) == f"a compressed file ({kind}); {right}"


def test_a_text_that_begins_like_a_compressed_file_is_text(store: Store, folder: Path) -> None:
    (folder / "a.csv").write_text("BZh9,mean_ttft_ms\n1,50\n")
    assert import_paths(store, [folder]).stored == 1


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


def test_a_pipe_is_no_file(store: Store, folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    assert "not a regular file" in import_paths(store, [folder]).skipped[0][1]
