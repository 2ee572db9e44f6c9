"""Files kept in the user's cache: the same answer without the work, and none that harms, whatever happens to them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from perfdb import kept as module
from perfdb.kept import Arrays, as_text, cache_folder, code_identity, from_text, kept, name_of

relaxed = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_LOOK_EVERY", 1)
    return tmp_path / "servecast" / "kept"


class Work:
    """Makes three numbers and a text; counts how often it was asked to."""

    def __init__(self, last: float = 3.0) -> None:
        self.last, self.times = last, 0

    def __call__(self) -> tuple[list[float], str]:
        self.times += 1
        return [1.0, np.inf, self.last], "é\n"

    def kept(self, name: str = "some", state: object = None) -> tuple[list[float], str]:
        return kept(name, self, _encode, _decode, state)


def _encode(made: tuple[list[float], str]) -> Arrays:
    return {"numbers": np.array(made[0]), "text": as_text(made[1])}


def _decode(found: Arrays) -> tuple[list[float], str]:
    return found["numbers"].tolist(), from_text(found["text"])


def test_the_second_answer_is_the_first_without_the_work(folder: Path) -> None:
    work = Work()
    assert work.kept() == work.kept() == ([1.0, np.inf, 3.0], "é\n")
    assert work.times == 1
    assert [file.suffix for file in folder.iterdir()] == [".kept"]


@relaxed
@given(st.dictionaries(st.text("abc", min_size=1), arrays.arrays(st.sampled_from([np.float64, np.int8, np.bool_, "U3"]),
       arrays.array_shapes(min_dims=0, max_dims=3, min_side=0))))  # fmt: skip
def test_arrays_of_any_kind_come_back_as_they_were(folder: Path, given: dict[str, np.ndarray[Any, Any]]) -> None:
    for _ in range(2):
        found = kept("any", lambda: given, lambda made: made, dict, state=repr(given))
        assert list(found) == list(given)
        for name, values in found.items():
            assert (values.dtype, values.shape) == (given[name].dtype, given[name].shape)
            assert values.tobytes() == given[name].tobytes()


def test_what_is_read_can_be_written_to_and_is_aligned(folder: Path) -> None:
    """Compiled code takes read-only arrays for another type, and would be compiled twice."""
    for _ in range(2):
        found = kept("x", lambda: {"a": np.ones(3, np.int8), "b": np.ones(2)}, lambda made: made, dict)
        assert all(values.flags.writeable and values.flags.aligned for values in found.values())


def test_of_another_state_it_is_worked_out_anew_and_replaced(folder: Path) -> None:
    old, new = Work(1.0), Work(2.0)
    old.kept(state="old")
    assert new.kept(state="new")[0][2] == 2.0
    assert len(list(folder.iterdir())) == 1
    old.kept(state="old")
    assert (old.times, new.times) == (2, 1)


def _cut(data: bytes, at: int) -> bytes:
    return data[:at]


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("damage", [_cut, _flipped])
def test_a_file_damaged_anywhere_is_as_good_as_none(folder: Path, damage: Callable[[bytes, int], bytes]) -> None:
    work = Work()
    work.kept()
    [file] = folder.iterdir()
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(damage(whole, at))
        assert work.kept() == ([1.0, np.inf, 3.0], "é\n"), at


@pytest.mark.parametrize("content", [b"", b"\n", b"[]\n", b"null\n", b"{}\n", b"PK\x03\x04", b'{"state": "None"}\n'])
def test_a_file_of_something_else_is_as_good_as_none(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "some.kept").write_bytes(content)
    assert Work().kept()[0][0] == 1.0


def test_arrays_that_do_not_say_what_is_asked_are_as_good_as_none(folder: Path) -> None:
    kept("some", lambda: {"others": np.ones(1)}, lambda made: made, dict)
    assert Work().kept()[0][2] == 3.0


def test_where_nothing_can_be_written_it_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    work = Work()
    assert work.kept() == work.kept()
    assert work.times == 2


def test_what_was_kept_is_read_where_nothing_can_be_written_any_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    work.kept()

    def refused(*_given: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(os, "utime", refused)
    work.kept()
    assert work.times == 1


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    work = Work()
    work.kept()
    work.kept()
    assert work.times == 2


@pytest.mark.parametrize("at", ["replace", "mkdir"])
def test_a_save_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    def full(*_given: object, **_more: object) -> None:
        raise OSError(28, "no space left on device")

    folder.mkdir(parents=True)
    monkeypatch.setattr(Path, at, full)
    assert Work().kept()[0][0] == 1.0
    assert list(folder.iterdir()) == []


def test_what_a_killed_process_left_is_removed_in_time(folder: Path) -> None:
    folder.mkdir(parents=True)
    old, fresh = folder / "old.part", folder / "fresh.part"
    old.write_text("half")
    fresh.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    Work().kept()
    assert not old.exists()
    assert fresh.exists()


@pytest.mark.parametrize(("limit", "most"), [("_MOST_FILES", 3), ("_MOST_BYTES", 700)])
def test_the_least_used_files_go(folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    monkeypatch.setattr(module, limit, most)
    for number in range(6):
        Work().kept(f"n{number}")
        os.utime(folder / f"n{number}.kept", (1000 + number,) * 2)
        if (folder / "n0.kept").exists():
            Work().kept("n0")  # it is used, and stays
    left = {file.stem for file in folder.iterdir()}
    assert {"n0", "n5"} <= left < {f"n{number}" for number in range(6)}
    if limit == "_MOST_FILES":
        assert len(left) == most
    else:
        assert sum(file.stat().st_size for file in folder.iterdir()) <= most


def test_several_that_write_at_once_read_whole_files(folder: Path) -> None:
    answers: list[float] = []

    def write(number: int) -> None:
        for round_ in range(10):
            answers.append(Work(float(number)).kept(state=round_)[0][2])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 40
    assert set(answers) <= {0.0, 1.0, 2.0, 3.0}
    assert [file.suffix for file in folder.iterdir()] == [".kept"]


def test_names_follow_every_part_and_where_one_ends() -> None:
    names = [name_of("k"), name_of("k", "ab", "c"), name_of("k", "a", "bc"), name_of("k", b"abc"), name_of("k", 1, 1.0)]
    assert len({*names, name_of("l")}) == 6
    assert name_of("k", "ab", "c") == names[1]


def test_names_follow_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code, facts and coefficients, however deep; nothing else."""
    for room in ("model", "perfdb"):
        (tmp_path / room / "deep" / "__pycache__").mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "perfdb" / "kept.py"))

    def identity() -> bytes:
        code_identity.cache_clear()
        return code_identity()

    try:
        seen = [identity()]
        for name in ("model/a.py", "model/deep/b.json", "perfdb/deep/c.csv"):
            (tmp_path / name).write_text("1")
            seen.append(identity())
            (tmp_path / name).write_text("2")
            os.utime(tmp_path / name, (1, 1))
            seen.append(identity())
        assert len(set(seen)) == 7
        (tmp_path / "model" / "deep" / "__pycache__" / "b.pyc").write_text("")
        assert identity() == seen[-1]
    finally:
        code_identity.cache_clear()


def test_the_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("kernels") == tmp_path / "servecast" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder("kernels") == Path.home() / ".cache" / "servecast" / "kernels"
