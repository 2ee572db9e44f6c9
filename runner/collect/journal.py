"""What was measured so far, a JSON object per line: the first says how, each other is one case and its times.

A line is on disk before the next case is measured, so whatever ends us costs one case. A line that cannot be read is
left out, and its case measured again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from perfdb.errors import FileError, StoreBusyError
from runner.collect.cases import Case
from runner.collect.worker.main import STRAYING

_SAME = ("platform", "device", "library", "version", "threads")
"""Facts that are alike in all times of one folder."""


@dataclass(frozen=True)
class Timed:
    """The times of one case: what the worker answered, when (Unix seconds), and how busy the machine was."""

    asked: Mapping[str, Any]
    answer: Mapping[str, Any]
    measured_at: float
    load: float

    @property
    def error(self) -> str | None:
        """Why there are no times."""
        return self.answer.get("error")

    @property
    def spread(self) -> float:
        """Relative standard deviation of the repeats."""
        return float(self.answer["spread"])

    @property
    def waited(self) -> float:
        """Share of the time in which its threads waited for a core."""
        return float(self.answer.get("waited", 0.0))

    @property
    def is_busy(self) -> bool:
        """Whether these are times of a machine that had other work: steady or not, they are none of the kernel."""
        return self.error is None and self.waited > STRAYING

    @property
    def doubt(self) -> float:
        """How much may be wrong with the times, infinite without any."""
        return float("inf") if self.error is not None else max(self.spread, self.waited)


@dataclass(eq=False)
class Journal:
    """The open journal of one folder: the least doubtful times of each case, and how many there are of it."""

    path: Path
    about: Mapping[str, Any]
    timed: dict[str, Timed] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    _file: IO[str] | None = None

    @classmethod
    def open(cls, path: Path, about: Mapping[str, Any], note: Callable[[str], None]) -> Journal:
        """Go on with the journal at `path`, or begin one.

        Raises:
            FileError: it cannot be written, is no journal, or holds times of another library or device.
            StoreBusyError: another process measures into it.
        """
        try:
            file = path.open("a+", encoding="utf-8", errors="replace")
        except OSError as error:
            raise FileError.at(str(path), f"cannot be written ({error.strerror})", "a folder that can") from error
        journal = cls(path, about, _file=file)
        try:
            journal._lock()
            journal._read(note)
        except BaseException:
            journal.close()
            raise
        return journal

    def _lock(self) -> None:
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusyError(
                f"{self.path}: another process measures into this folder; expected one at a time"
            ) from None

    def _read(self, note: Callable[[str], None]) -> None:
        assert self._file is not None
        self._file.seek(0)
        text = self._file.read()
        if not text:
            self._write(self.about)
            return
        if not text.endswith("\n"):
            self._file.write("\n")  # what follows the end of a killed write is a line of its own
        first, *lines = text.removesuffix("\n").split("\n")
        self._check(_object(first))
        for number, line in enumerate(lines, start=2):
            found = _timed(_object(line))
            if found is None:
                note(f"{self.path}, line {number}: not readable; its case is measured again")
            else:
                self._keep(found)

    def _check(self, before: Mapping[str, Any]) -> None:
        if not before.keys() >= set(_SAME):
            raise FileError.at(str(self.path), "its first line does not say what was measured", "another --out")
        for name in _SAME:
            if before[name] != self.about.get(name):
                what = f"its times are of {name} {before[name]}, these would be of {self.about.get(name)}"
                raise FileError.at(str(self.path), what, "another --out")

    def _keep(self, found: Timed) -> None:
        key = json.dumps(found.asked, sort_keys=True)
        self.tries[key] = self.tries.get(key, 0) + 1
        if key not in self.timed or found.doubt < self.timed[key].doubt:
            self.timed[key] = found

    def add(self, case: Case, answer: Mapping[str, Any], measured_at: float, load: float) -> None:
        """Keep one answer, on disk when this returns.

        Raises:
            FileError: the disk does not take it.
        """
        asked = case.asked()
        try:
            self._write({"asked": asked, "answer": answer, "measured_at": measured_at, "load": load})
        except OSError as error:
            raise FileError.at(str(self.path), f"cannot be written ({error.strerror})", "room on the disk") from error
        self._keep(Timed(asked, answer, measured_at, load))

    def _write(self, document: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(document) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def _object(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _timed(line: Mapping[str, Any]) -> Timed | None:
    """None where the line is not one of ours."""
    asked, answer = line.get("asked"), line.get("answer")
    if not isinstance(asked, dict) or not isinstance(answer, dict):
        return None
    is_sound = _is_positive(answer.get("latency_s")) and isinstance(answer.get("spread"), int | float)
    if not is_sound and not isinstance(answer.get("error"), str):
        return None
    if not _is_positive(line.get("measured_at")) or not isinstance(line.get("load"), int | float):
        return None
    return Timed(asked, answer, float(line["measured_at"]), float(line["load"]))


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < float("inf")
