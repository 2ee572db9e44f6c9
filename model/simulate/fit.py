"""The traffic that a trace is a sample of: lengths, arrivals, common prefixes and conversations.

Arrivals: the rate over equal windows is kept where the counts vary more than those of a steady process would, and the
burstiness is that of the gaps on the clock that runs with the rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.simulate.blocks import NONE, Ints
from model.simulate.costs import Floats
from model.simulate.fit_lengths import fit_lengths, quantile_nodes
from model.simulate.reuse import opening, reuse_of, with_conversations
from model.simulate.trace import Trace
from model.simulate.traffic import Conversations, Prefixes, Traffic
from perfdb.lengths import Lengths

_WINDOWS = 24
_LEAST_IN_WINDOW = 50
_STEADY = 3.0
"""How many standard deviations of a dispersion still count as chance."""
_CONSTANT_CV, _POISSON_CV = 0.02, 0.1
_FEW = 5
"""Of fewer arrivals the gaps say nothing of how they vary; two have but one."""
_COUNTED = 30.0
"""Requests per window in which bursts are counted."""
_NODES = 9


@dataclass(frozen=True)
class Rhythm:
    """`count` arrivals: how many per second, the cv of their gaps as they are and at an even rate; rates over time."""

    count: int
    rate: float
    cv: float
    even_cv: float
    rates: tuple[float, ...]
    window_s: float

    @property
    def burstiness(self) -> float:
        """The shape of gamma gaps; 1 and inf where Poisson or constant arrivals are within chance, 1 of too few."""
        if self.count < _FEW:
            return 1.0
        if self.even_cv < _CONSTANT_CV:
            return float("inf")
        # the cv of n exponential gaps has a deviation of 1/√n
        chance = max(_POISSON_CV, 2.0 / np.sqrt(self.count))
        return 1.0 if abs(self.even_cv - 1.0) < chance else float(self.even_cv**-2)

    @property
    def kind(self) -> str:
        """Constant, regular, poisson or bursty, where there are enough to say."""
        if self.count < _FEW:
            return "too few to say"
        shape = self.burstiness
        return "constant" if shape == np.inf else "poisson" if shape == 1.0 else "bursty" if shape < 1 else "regular"


def fit(trace: Trace) -> Traffic:
    """The traffic of a trace; sent all at once it is a closed loop of all its requests."""
    trace = with_conversations(trace)
    opens = opening(trace)
    rhythm = arrivals_of(trace.arrival_s[opens])
    added = added_tokens(trace)
    lengths = fit_lengths(added[opens], trace.output[opens])
    talk, prefixes = _conversations(trace, added, lengths), _prefixes(trace)
    if rhythm is None:
        return Traffic(lengths, concurrency=int(opens.sum()), prefixes=prefixes, conversations=talk)
    per_conversation = 1.0 if talk is None else talk.mean_turns
    return Traffic(
        lengths, rhythm.rate * per_conversation, None, rhythm.burstiness, rhythm.rates, rhythm.window_s, prefixes, talk
    )


def added_tokens(trace: Trace) -> Ints:
    """What each prompt adds to its conversation, n: the whole of a first turn."""
    if trace.turns is None:
        return trace.prompt
    previous = trace.turns.previous
    said = (trace.prompt + trace.output)[previous]
    return np.where(previous == NONE, trace.prompt, np.maximum(trace.prompt - said, 1))


def arrivals_of(moments: Floats) -> Rhythm | None:
    """How requests arrive; None where all came at once."""
    times = np.sort(moments)
    n, span = len(times), float(times[-1] - times[0])
    if n < 2 or span <= 0:
        return None
    rate = (n - 1) / span
    gaps = np.diff(times)
    cv = float(gaps.std() / gaps.mean())
    is_whole = _is_whole(times)
    smooth_cv = _count_cv(times, rate) if is_whole else cv
    windows = min(_WINDOWS, n // _LEAST_IN_WINDOW)
    if windows > 1:
        window_s = span / windows
        counts = np.histogram(times, windows, (times[0], times[-1]))[0].astype(np.float64)
        even = np.interp(
            times - times[0], np.arange(windows + 1) * window_s, np.concatenate([[0.0], np.cumsum(counts)])
        )
        even_cv = smooth_cv if is_whole else float(np.diff(even).std() / np.diff(even).mean())
        chance = even_cv**2 * (1.0 + _STEADY * np.sqrt(2.0 / (windows - 1)))
        if counts.var(ddof=1) / counts.mean() > max(chance, 2.0 / counts.mean()):
            return Rhythm(n, rate, cv, even_cv, tuple((counts / window_s).tolist()), window_s)
    return Rhythm(n, rate, cv, smooth_cv, (), 0.0)


def _is_whole(times: Floats) -> bool:
    return len(times) > _LEAST_IN_WINDOW and bool((times == np.rint(times)).all())


def _count_cv(times: Floats, rate: float) -> float:
    """The cv of gaps by the counts of neighbouring windows: whole seconds say nothing of the gaps within one.

    The counts of a renewal process vary, over long windows, by cv² times their mean (Cox, Renewal Theory, 1962).
    """
    width = np.ceil(_COUNTED / rate)
    counts = np.bincount((times // width).astype(np.int64))[:-1].astype(np.float64)
    if len(counts) < 2:
        return 1.0
    return float(np.sqrt(np.mean(np.diff(counts) ** 2) / 2 / counts.mean()))


def _conversations(trace: Trace, added: Ints, first: Lengths) -> Conversations | None:
    if trace.turns is None:
        return None
    turns = np.unique(trace.turns.owners(), return_counts=True)[1]
    later = trace.turns.previous != NONE
    lengths = fit_lengths(added[later], trace.output[later])
    think_s = quantile_nodes(trace.turns.think_s[later], _NODES)
    return Conversations(quantile_nodes(turns, _NODES), think_s, None if lengths == first else lengths)


def _prefixes(trace: Trace) -> Prefixes | None:
    """Prefixes of the conversations that open. Requests that end in the same known chunk share one."""
    opens = opening(trace)
    reuse = reuse_of(trace)
    hits = opens & (reuse.end != NONE)
    if not hits.any():
        return None
    found, group = np.unique(reuse.end[hits], return_inverse=True)
    # with each prefix counts the request that brought it
    members = np.bincount(group) + 1
    share = min(float(members.sum() / opens.sum()), 1.0)
    count = max(min(len(found), int(opens.sum() - hits.sum())), 1)
    return Prefixes(share, count, quantile_nodes(reuse.named[hits], _NODES), _skew(members, count))


def _skew(members: Ints, count: int) -> float:
    """The exponent under which two requests have the same prefix as often as they did."""
    total = float(members.sum())
    met = float((members * (members - 1.0)).sum()) / (total * (total - 1.0))
    low, high = 0.0, 4.0
    for _ in range(50):
        middle = (low + high) / 2
        weights = np.arange(1.0, count + 1.0) ** -middle
        low, high = (middle, high) if ((weights / weights.sum()) ** 2).sum() < met else (low, middle)
    return low
