"""What a trace's requests have in common with earlier ones: tokens that a cache without end would hold already."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.simulate.blocks import NONE, Ints
from model.simulate.state import NO_SHARING
from model.simulate.trace import Trace, Turns
from perfdb.texts import Bools


@dataclass(frozen=True)
class Reuse:
    """What earlier requests had already, n each: tokens of the named prefix, of conversation and prefix together, and
    the name of the last chunk that was known (NONE: nothing was)."""

    named: Ints
    tokens: Ints
    end: Ints


def opening(trace: Trace) -> Bools:
    """Which requests open a conversation, n: all where there is none."""
    return np.ones(len(trace), dtype=bool) if trace.turns is None else trace.turns.previous == NONE


def reuse_of(trace: Trace) -> Reuse:
    """Each request against all before it; a last token is always computed anew."""
    n = len(trace)
    named, end = np.zeros(n, dtype=np.int64), np.full(n, NONE, dtype=np.int64)
    seen: set[int] = set()
    for row in np.flatnonzero(trace.shared).tolist():
        own = _names(trace, row)
        known = next((place for place, name in enumerate(own) if name not in seen), len(own))
        seen.update(own[known:])
        if known:
            chunk = trace.chunk_tokens if trace.chunk_tokens != NO_SHARING else int(trace.shared[row])
            named[row] = min(known * chunk, int(trace.shared[row]), int(trace.prompt[row]) - 1)
            end[row] = own[known - 1]
    tokens = named.copy()
    if trace.turns is not None:
        later = np.flatnonzero(~opening(trace))
        before = trace.turns.previous[later]
        said = np.minimum(trace.prompt[before] + trace.output[before], trace.prompt[later]) - 1
        tokens[later] = np.maximum(named[later], said)
    return Reuse(named, tokens, end)


def with_conversations(trace: Trace) -> Trace:
    """A trace of chunks with the conversations that they tell; any other as it is.

    A request goes on where another ended if the last chunk of it that is known was brought by that one as its last
    whole chunk, and its prompt has room for that one's answer. How long the answer took such a trace does not say: the
    time between two turns counts as thinking.
    """
    if trace.turns is not None or trace.chunk_tokens == NO_SHARING:
        return trace
    previous = np.full(len(trace), NONE, dtype=np.int64)
    ends: dict[int, int] = {}
    seen: set[int] = set()
    for row in range(len(trace)):
        own = _names(trace, row)
        known = next((place for place, name in enumerate(own) if name not in seen), len(own))
        before = ends.get(own[known - 1], NONE) if known else NONE
        if before != NONE and trace.prompt[before] + trace.output[before] < trace.prompt[row]:
            previous[row] = before
            del ends[own[known - 1]]
        seen.update(own[known:])
        whole = int(trace.prompt[row]) // trace.chunk_tokens
        if known < whole <= len(own):
            ends[own[whole - 1]] = row
    if (previous == NONE).all():
        return trace
    waited = np.where(previous == NONE, 0.0, trace.arrival_s - trace.arrival_s[previous])
    return replace(trace, turns=Turns(previous, waited))


def _names(trace: Trace, row: int) -> list[int]:
    """The names of a request's shared chunks, in order."""
    shared = int(trace.shared[row])
    count = min(shared, 1) if trace.chunk_tokens == NO_SHARING else -(-shared // trace.chunk_tokens)
    first = int(trace.first_chunk[row])
    names: list[int] = trace.chunks[first : first + count].tolist()
    return names
