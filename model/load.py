"""Which requests arrive and how: workloads as plain arrays, one row per config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from model.prediction import Bools, Floats
from perfdb.errors import InputError
from perfdb.lengths import Lengths, is_fixed
from perfdb.records import Arrival, Workload

ARRIVALS = tuple(Arrival)
VARIATION = 0.5
"""Coefficient of variation of lengths that differ."""
UNKNOWN = 0.5
"""How much alike lengths are of which nothing is said (see `Load`)."""


@dataclass(frozen=True)
class Load:
    """Which requests arrive and how, for n rows: all arrays `n`. Lengths are means of what is drawn.

    `amount` is the concurrency, the static batch or the request rate (1/s), whichever `arrival` (index into
    `tuple(Arrival)`) takes; `requests` how many are sent in all, inf where unknown; `alike` is 1 where all requests
    have the same lengths, 0 where they vary, 0.5 where it is not known; `deviation` is the standard deviation of the
    tokens of an answer, nan where it is not known.
    """

    isl: Floats
    osl: Floats
    arrival: npt.NDArray[np.int64]
    amount: Floats
    requests: Floats
    alike: Floats
    deviation: Floats

    @cached_property
    def is_batch(self) -> Bools:
        """Rows that are one static batch."""
        return np.equal(self.arrival, ARRIVALS.index(Arrival.BATCH))

    @cached_property
    def is_open(self) -> Bools:
        """Rows whose requests arrive at a rate of their own."""
        poisson, constant = (self.arrival == ARRIVALS.index(way) for way in (Arrival.POISSON, Arrival.CONSTANT))
        return np.asarray(poisson | constant)

    def take(self, rows: npt.NDArray[Any]) -> Load:
        """The given rows."""
        return Load(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def varied_as(self, asked: Load) -> Load:
        """These rows, with lengths that vary as those of another load where nothing says how their own do."""
        is_known = (self.alike != UNKNOWN) | ~np.isnan(self.deviation)
        return replace(
            self,
            alike=np.where(is_known, self.alike, asked.alike[:1]),
            deviation=np.where(is_known, self.deviation, asked.deviation[:1]),
        )


def load_of(workload: Workload, n: int) -> Load:
    """One workload for n configs.

    Raises:
        InputError: the lengths or the load are missing or not positive.
    """
    isl, osl, arrival, *others = (np.full(n, value) for value in _one_load(workload))
    return Load(isl, osl, arrival.astype(np.int64), *others)


@lru_cache(maxsize=4096)
def variety(notation: str | None) -> tuple[float, float]:
    """`alike` and `deviation` of a `Load` with lengths in a notation, which may be read elsewhere: inf where it is."""
    if notation is None:
        return UNKNOWN, np.nan
    try:
        return float(is_fixed(notation)), Lengths.parse(notation).deviation
    except InputError:
        return 0.0, np.inf


def means_drawn(notation: str | None, isl: float, osl: float) -> tuple[float, float]:
    """Mean lengths of what is drawn, where `isl` and `osl` are those that a notation names; else these."""
    return (isl, osl) if notation is None else _means(notation).get((isl, osl), (isl, osl))


@lru_cache(maxsize=4096)
def _means(notation: str) -> Mapping[tuple[float, float], tuple[float, float]]:
    """Mean lengths as a notation names them -> those of what is drawn; empty where it is read elsewhere."""
    try:
        lengths = Lengths.parse(notation)
    except InputError:
        return {}
    return {(lengths.isl, lengths.osl): lengths.drawn}


def _one_load(workload: Workload) -> tuple[float, ...]:
    arrival, amount = _amount(workload)
    for name, value in (("isl", workload.isl), ("osl", workload.osl), (f"load ({arrival.value})", amount)):
        if value is None or not value > 0:
            raise InputError.at("workload", f"{name} is {value}", "a number above zero")
    requests = float(workload.requests) if workload.requests else np.inf
    isl, osl = means_drawn(workload.lengths, float(workload.isl or 0), float(workload.osl or 0))
    code = ARRIVALS.index(arrival)
    return isl, osl, code, float(at_most_sent(code, amount or 0.0, requests)), requests, *variety(workload.lengths)


def at_most_sent(arrival: npt.ArrayLike, amount: npt.ArrayLike, requests: npt.ArrayLike) -> Floats:
    """The `amount` of loads: a closed loop has no more requests in flight than are sent; all `n`, or all of one."""
    is_closed = np.equal(arrival, ARRIVALS.index(Arrival.CLOSED))
    return np.where(is_closed, np.minimum(amount, requests), amount)


def _amount(workload: Workload) -> tuple[Arrival, float | None]:
    """The arrival process and its one number. Without a process, or with an infinite rate, whichever number is given
    decides: n requests sent at once are a closed loop of n."""
    rate = workload.request_rate
    amounts = {
        Arrival.CLOSED: workload.concurrency,
        Arrival.BATCH: workload.batch_size,
        Arrival.POISSON: rate,
        Arrival.CONSTANT: rate,
    }
    arrival = workload.arrival
    if rate == np.inf and arrival not in {Arrival.CLOSED, Arrival.BATCH}:
        arrival = None
        amounts |= {Arrival.POISSON: workload.requests}
    if arrival is None:
        arrival = next(
            (way for way in (Arrival.CLOSED, Arrival.BATCH, Arrival.POISSON) if amounts[way]), Arrival.CLOSED
        )
    amount = amounts[arrival]
    is_burst = rate == np.inf and arrival is Arrival.POISSON
    return Arrival.CLOSED if is_burst else arrival, None if amount is None else float(amount)
