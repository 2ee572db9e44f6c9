"""Files, folders and databases that are closed to this user: one clear sentence, or not there for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from perfdb.errors import FileError, InputError, StoreError
from perfdb.importers.folder import import_paths
from perfdb.importers.walk import walk
from perfdb.paths import is_file, is_folder, is_same, is_there
from perfdb.store import Store

GOOD = "model,platform,engine,concurrency,ttft_ms\nQwen/Qwen3-8B,a10,vllm,1,50\n"
Close = Callable[[Path, int], None]


@pytest.fixture
def close() -> Iterator[Close]:
    """Takes rights away until the end of the test; root keeps them all, so for root there is nothing to test."""
    before: dict[Path, int] = {}

    def run(path: Path, mode: int) -> None:
        before[path] = path.stat().st_mode
        path.chmod(mode)
        if os.access(path, os.W_OK):
            pytest.skip("closed files are NOT tested: root may open everything")

    yield run
    for path, mode in reversed(before.items()):
        path.chmod(mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results"
    path.mkdir()
    (path / "a.csv").write_text(GOOD)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "db").mkdir()
    return Store(tmp_path / "db" / "perf.duckdb")


def test_what_is_there_is_told_from_what_is_not(folder: Path) -> None:
    file, gone = folder / "a.csv", folder / "gone" / "b.csv"
    (folder / "link.csv").symlink_to(file)
    assert [is_there(path) for path in (file, folder, gone)] == [True, True, False]
    assert [is_folder(path) for path in (file, folder, gone)] == [False, True, False]
    assert [is_file(path) for path in (file, folder, gone)] == [True, False, False]
    assert [is_same(file, path) for path in (folder / "link.csv", folder, gone)] == [True, False, False]


def test_a_closed_file_is_skipped(store: Store, folder: Path, close: Close) -> None:
    close(folder / "a.csv", 0)
    assert import_paths(store, [folder]).skipped == [(str(folder / "a.csv"), "cannot be read (Permission denied)")]


@pytest.mark.parametrize(("mode", "skipped"), [(0o400, "a.csv"), (0o000, "")], ids=["listed", "not even listed"])
def test_a_closed_folder_is_skipped_with_all_that_is_in_it(
    store: Store, folder: Path, close: Close, mode: int, skipped: str
) -> None:
    close(folder, mode)
    assert import_paths(store, [folder]).skipped == [(str(folder / skipped), "cannot be read (Permission denied)")]
    with pytest.raises(FileError, match=r"a\.csv: no such file or folder that this user can reach"):
        list(walk(folder / "a.csv"))


def test_a_copy_of_a_file_that_is_now_closed_stands_for_it(store: Store, folder: Path, close: Close) -> None:
    (folder.parent / "copy.csv").write_text(GOOD)
    import_paths(store, [folder])
    close(folder, 0)
    assert import_paths(store, [folder.parent / "copy.csv"]).duplicates == 1


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_database_that_may_only_be_read_is_read(store: Store, folder: Path, close: Close, closed: str) -> None:
    import_paths(store, [folder])
    (folder / "b.csv").write_text(GOOD.replace("50", "60"))
    close(*((store.path, 0o400) if closed == "file" else (store.path.parent, 0o500)))
    right = r"cannot be written \(Permission denied\); expected its file and its folder open for writing"
    with pytest.raises(StoreError, match=right):
        import_paths(store, [folder])
    assert store.sql("SELECT count(*) FROM results").rows == [[1]]
    assert import_paths(store, [folder / "a.csv"]).duplicates == 1


def test_nothing_new_is_written_into_a_closed_folder(store: Store, folder: Path, close: Close) -> None:
    import_paths(store, [folder])
    close(store.path.parent, 0o500)
    with pytest.raises(InputError, match=r"out\.csv: cannot be written \(Permission denied\)"):
        store.export("results", store.path.with_name("out.csv"))
    with pytest.raises(StoreError, match=r"new\.duckdb: cannot be written \(Permission denied\)"):
        import_paths(Store(store.path.with_name("new.duckdb")), [folder])
    assert [path.name for path in store.path.parent.iterdir()] == ["perf.duckdb"]


def test_a_database_in_a_closed_folder_cannot_be_read(store: Store, folder: Path, close: Close) -> None:
    import_paths(store, [folder])
    close(store.path.parent, 0)
    with pytest.raises(FileError, match=r"perf\.duckdb: cannot be read \(Permission denied\)"):
        store.info()
    with pytest.raises(FileError, match=r"perf\.duckdb: no such file that this user can reach"):
        Store(folder / "other.duckdb").merge(store.path)


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
