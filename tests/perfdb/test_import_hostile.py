"""Files, names and cells that were made to do harm: they are text, and are stored and shown as such."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportReport
from perfdb.store.store import Store

GOOD = "tp,mean_ttft_ms\n1,50\n"


def only(report: ImportReport) -> str:
    ((_, reason),) = report.skipped
    return reason


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


def test_a_name_with_signs_of_a_pattern_is_one_file(store: Store, folder: Path) -> None:
    (folder / "[a-z]*.csv").write_text(GOOD)
    (folder / "b.csv").write_text("tp,mean_ttft_ms\n1,60\n")
    assert import_paths(store, [folder / "[a-z]*.csv"]).stored == 1
