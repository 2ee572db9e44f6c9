"""What a simulated server writes down while it serves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit
from model.simulate.blocks import Ints
from model.simulate.costs import Floats

_COLUMNS = 6
STRETCHES, LATE, PEAK = range(3)


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


class Book(NamedTuple):
    """The log under way. `token_s`: when a request got its latest token, n. `count`: stretches, late gaps, the peak."""

    arrived: Floats
    first_s: Floats
    last_s: Floats
    token_s: Floats
    stretches: Floats
    late: Floats
    counts: Ints


@inner_njit
def new_book(n: int) -> Book:
    """Nothing written yet about n requests."""
    unknown = np.full(n, np.nan)
    stretches, late, count = np.empty((1024, _COLUMNS)), np.empty(1024), np.zeros(3, dtype=np.int64)
    return Book(np.zeros(n), unknown, unknown.copy(), unknown.copy(), stretches, late, count)


@inner_njit(inline="always")
def with_room(book: Book, late: int) -> Book:
    """The book, its pages made twice as many where they would not hold two stretches and `late` gaps more."""
    if book.counts[STRETCHES] + 2 > len(book.stretches) or book.counts[LATE] + late > len(book.late):
        larger: Book = _larger(book, late)
        return larger
    return book


@inner_njit
def _larger(book: Book, late: int) -> Book:
    stretches = np.empty((2 * len(book.stretches), _COLUMNS))
    stretches[: len(book.stretches)] = book.stretches
    gaps = np.empty(2 * (len(book.late) + late))
    gaps[: len(book.late)] = book.late
    return Book(book.arrived, book.first_s, book.last_s, book.token_s, stretches, gaps, book.counts)


@inner_njit(inline="always")
def write(book: Book, end: float, steps: int, first: float, last: float, emitted: int, used: int) -> None:
    """One stretch."""
    row = book.stretches[book.counts[STRETCHES]]
    row[0], row[1], row[2], row[3], row[4], row[5] = end, steps, first, last, emitted, used
    book.counts[STRETCHES] += 1


@inner_njit(inline="always")
def write_late(book: Book, gap: float) -> None:
    """A token that took more than a step."""
    book.late[book.counts[LATE]] = gap
    book.counts[LATE] += 1


@inner_njit
def closed(book: Book, preemptions: int) -> Served:
    """The book as it is read."""
    table = book.stretches[: book.counts[STRETCHES]].T.copy()
    return Served(
        book.arrived,
        book.first_s,
        book.last_s,
        table[0],
        table[1],
        table[2],
        table[3],
        table[4],
        table[5],
        book.late[: book.counts[LATE]].copy(),
        preemptions,
        book.counts[PEAK],
    )


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
