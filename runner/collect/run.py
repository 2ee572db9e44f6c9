"""Measuring what is not measured yet, until all is or the time is up; the table is written however it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfdb.errors import EngineError, FileError
from perfdb.facts.local import local_platform
from perfdb.facts.platforms import LOCAL, canonical_platform
from perfdb.store.op_file import write_operations
from runner.collect.cases import MOST_FLOPS, Case, Grid, cases, formats_of
from runner.collect.journal import Journal, Timed
from runner.collect.method import method
from runner.collect.table import file_name, table_of
from runner.collect.worker.main import STRAYING
from runner.collect.worker_process import Library, Worker, WorkerDiedError

_HIDDEN, _JOURNAL, _LOG = ".collect", "times.jsonl", "worker.log"
"""Where importers do not look."""
_METHOD = "METHOD.md"
_TRIES = 2
_MOST_DEATHS = 3

Note = Callable[[str], None]
Progress = Callable[[int, int, Case, Timed], None]


@dataclass(frozen=True)
class Order:
    """What to measure: `formats` None for all that the library has, `platform` None for the name of the device found.

    It ends after `seconds`; `command` is noted as the one that asked.
    """

    library: Library
    grid: Grid
    folder: Path
    formats: Sequence[str] | None = None
    platform: str | None = None
    seconds: float = float("inf")
    command: str = ""


@dataclass(frozen=True)
class Collected:
    """What stands in `table` (None: nothing): of `cases` that were wanted, `missing` have no times of a free machine,
    `busy` of them since the machine had other work when they were timed.

    `new` got an answer by this call, which took `seconds` and asked `repeats` times for what had one or got none;
    `timed` is everything in the folder.
    """

    table: Path | None
    cases: int
    missing: int
    new: int
    repeats: int
    seconds: float
    timed: Sequence[Timed]
    busy: int


def collect(order: Order, note: Note, progress: Progress) -> Collected:
    """Measure the cases of an order that its folder does not hold yet.

    Args:
        order: what to measure.
        note: told of what a person should know.
        progress: told after each case: how many have an answer, of how many, the case, its least doubtful times.

    Raises:
        EngineError: the interpreter lacks the library or device, or the worker ends time and again.
        InputError: a format cannot be measured; the folder cannot be written, or holds times of something else.
    """
    hidden = _made(order.folder / _HIDDEN)
    with Worker(order.library, hidden / _LOG) as worker:
        about = _about(worker.about, order)
        formats = formats_of(order.formats, about, f"{order.library.name} on {order.library.device}")
        wanted = cases(order.grid, formats, about["formats"], MOST_FLOPS[order.library.device])
        with closing(Journal.open(hidden / _JOURNAL, about, note)) as journal:
            start, asked = time.monotonic(), sum(journal.tries.values())
            lacking = sum(_is_missing(journal, case) for case in wanted)
            try:
                _measure(worker, wanted, journal, start + order.seconds, progress)
            finally:
                timed = list(journal.timed.values())
                table = _write(order, about, timed)
    missing = sum(_is_missing(journal, case) for case in wanted)
    new, asked = lacking - missing, sum(journal.tries.values()) - asked
    seconds = time.monotonic() - start
    busy = sum(_is_missing(journal, case) and case.key in journal.timed for case in wanted)
    return Collected(table, len(wanted), missing, new, asked - new, seconds, timed, busy)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError.at(str(folder), f"cannot be made ({error.strerror})", "--out with a writable folder") from error
    return folder


def _about(said: dict[str, Any], order: Order) -> dict[str, Any]:
    """What all times have in common."""
    device = said.get("device") or local_platform().source.removeprefix("this machine: ")
    found = LOCAL if order.library.device == "cpu" else canonical_platform(device)[0] or device
    return {**said, "library": order.library.name, "device": device, "platform": order.platform or found}


def _measure(worker: Worker, wanted: Sequence[Case], journal: Journal, end: float, progress: Progress) -> None:
    deaths, missing = 0, {case.key for case in wanted if _is_missing(journal, case)}
    for case in _left(wanted, journal):
        if time.monotonic() >= end:
            return
        load = os.getloadavg()[0]
        try:
            answer, deaths = worker.ask(case.asked()), 0
        except WorkerDiedError as error:
            answer, deaths = {"error": f"the worker ended ({error})"}, deaths + 1
        journal.add(case, answer, time.time(), load)
        if not _is_missing(journal, case):
            missing.discard(case.key)
        progress(len(wanted) - len(missing), len(wanted), case, journal.timed[case.key])
        if deaths >= _MOST_DEATHS:
            raise EngineError(f"the worker ended {deaths} times in a row, last at {case}: {answer['error']}")
        if deaths:
            worker.restart()


def _left(wanted: Sequence[Case], journal: Journal) -> Iterator[Case]:
    """Cases without an answer; then those whose times are doubtful, once more: the machine may be less busy by then."""
    yield from [case for case in wanted if _is_missing(journal, case)]
    yield from [case for case in wanted if _is_missing(journal, case) or _is_doubtful(journal, case)]


def _is_missing(journal: Journal, case: Case) -> bool:
    found = journal.timed.get(case.key)
    return found is None or found.is_busy


def _is_doubtful(journal: Journal, case: Case) -> bool:
    found = journal.timed[case.key]
    return found.error is None and found.doubt > STRAYING and journal.tries[case.key] < _TRIES


def _write(order: Order, about: dict[str, Any], timed: Sequence[Timed]) -> Path | None:
    table, path = table_of(about, timed), order.folder / file_name(about)
    if len(table):
        write_operations(table, path)
    notes = order.folder / _METHOD
    try:
        notes.write_text(method(about, timed, order.command), encoding="utf-8")
    except OSError as error:
        raise FileError.at(str(notes), f"cannot be written ({error.strerror})", "a writable folder") from error
    return path if len(table) else None
