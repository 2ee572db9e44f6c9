"""What a simulated server writes down while it serves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit
from model.simulate.costs import Floats
from model.simulate.records import Records, of_floats, of_ints


class Served(NamedTuple):
    """What happened to n requests in k stretches (one step each, or several alike).

    `arrived`, `first_s`, `last_s`: seconds on the server's clock, n each. `end_s`, `steps`, `gap_first`, `gap_last`
    (seconds of the stretch's first and last step), `emitted` (sequences that got their next token in every step of it),
    `used` (blocks at its end): k each. `late`: gaps between two tokens of one request that took more than a step.
    """

    arrived: Floats
    first_s: Floats
    last_s: Floats
    end_s: Floats
    steps: Floats
    gap_first: Floats
    gap_last: Floats
    emitted: Floats
    used: Floats
    late: Floats
    preemptions: int
    peak: int


_TIMES = of_floats("arrived", "first_s", "last_s", "token_s")
_STRETCH = of_floats("end_s", "steps", "gap_first", "gap_last", "emitted", "used")
_TALLY = of_ints("stretches", "late", "peak", "preemptions")


class Book(NamedTuple):
    """The log under way. `times`, n: fields of `Served`, and `token_s`, when a request got its latest token. The other
    fields of `Served` that are arrays: the first so many `stretches`, of `late`, as `tally[0]` says, with the peak and
    preemptions."""

    times: Records
    stretches: Records
    late: Floats
    tally: Records


def new_book(n: int) -> Book:
    """Nothing written yet about n requests."""
    times, tally = np.full(n, np.nan, dtype=_TIMES), np.zeros(1, dtype=_TALLY)
    times["arrived"] = 0.0
    return Book(times, np.empty(1024, dtype=_STRETCH), np.empty(1024), tally)


@inner_njit(inline="always")
def with_room(book: Book, late: int) -> Book:
    """The book, its pages made twice as many where they would not hold two stretches and `late` gaps more."""
    if book.tally[0].stretches + 2 > len(book.stretches) or book.tally[0].late + late > len(book.late):
        larger: Book = _larger(book, late)
        return larger
    return book


@inner_njit
def _larger(book: Book, late: int) -> Book:
    stretches, gaps = np.empty(2 * len(book.stretches), dtype=_STRETCH), np.empty(2 * (len(book.late) + late))
    for place in range(book.tally[0].stretches):
        stretches[place] = book.stretches[place]
    for place in range(book.tally[0].late):
        gaps[place] = book.late[place]
    return Book(book.times, stretches, gaps, book.tally)


@inner_njit
def write(book: Book, end: float, steps: int, first: float, last: float, emitted: int, used: int) -> None:
    """One stretch; none where nothing ran, since all were preempted."""
    if first == 0.0:
        return
    tally = book.tally[0]
    row = book.stretches[tally.stretches]
    row.end_s, row.steps, row.gap_first, row.gap_last, row.emitted, row.used = end, steps, first, last, emitted, used
    tally.stretches += 1
    tally.peak = max(tally.peak, used)


@inner_njit
def write_late(book: Book, gap: float) -> None:
    """A token that took more than a step."""
    tally = book.tally[0]
    book.late[tally.late] = gap
    tally.late += 1


def closed(book: Book) -> Served:
    """The book as it is read."""
    tally, times = book.tally[0], book.times
    stretches = book.stretches[: tally["stretches"]]
    of_requests = {name: times[name].copy() for name in ("arrived", "first_s", "last_s")}
    of_steps = {name: stretches[name].copy() for name in _STRETCH.names or ()}
    late = book.late[: tally["late"]].copy()
    return Served(**of_requests, **of_steps, late=late, preemptions=int(tally["preemptions"]), peak=int(tally["peak"]))


@inner_njit(inline="always")
def steps_before(until: float, most: int, first: float, slope: float) -> int:
    """How many of `most` steps begin before `until` seconds have passed, where step i takes first + i · slope."""
    if most == 0 or (most - 1) * (first + 0.5 * slope * (most - 2)) < until:
        return most
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) >> 1
        if (middle - 1) * (first + 0.5 * slope * (middle - 2)) < until:
            low = middle
        else:
            high = middle - 1
    return low
