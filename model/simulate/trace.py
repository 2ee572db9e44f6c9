"""Requests to serve: when each may arrive, how long it is, and which of its tokens others share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.simulate.arrivals import Arrivals, alone, in_turn
from model.simulate.blocks import NONE, Ints
from model.simulate.costs import Floats
from model.simulate.state import NO_SHARING, Requests, requests_of


@dataclass(frozen=True)
class Turns:
    """Which of n requests go on with a conversation: `previous` is the turn before, an earlier row, or NONE; n each.

    Such a request comes `think_s` seconds after the answer before it, but not before its `arrival_s`; its prompt begins
    with the prompt and the answer of the turn before.
    """

    previous: Ints
    think_s: Floats

    def owners(self) -> Ints:
        """The first turn of each request's conversation, n."""
        rows = np.arange(len(self.previous))
        owner, before = rows, np.where(self.previous == NONE, rows, self.previous)
        while (owner != before).any():
            # who was so many turns before, and then twice as many
            owner, before = before, before[before]
        return owner


@dataclass(frozen=True)
class Trace:
    """n requests: `arrival_s`, when each may arrive at the earliest, `prompt` and `output` tokens, all `n`; without
    `turns` in the order of their arrival.

    The first `shared[r]` tokens of a request are known to others as well: they fall into chunks of `chunk_tokens`, and
    chunk c is named `chunks[first_chunk[r] + c]` (a name stands for its chunk and all before it). `cap` is the most
    requests in flight, 0 for none; with `turns`, conversations that are open. A scheduler by priority serves the least
    `priority` first, `n`; None where nobody told any.
    """

    arrival_s: Floats
    prompt: Ints
    output: Ints
    shared: Ints
    first_chunk: Ints
    chunks: Ints
    chunk_tokens: int = NO_SHARING
    cap: int = 0
    turns: Turns | None = None
    priority: Ints | None = None

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def shares(self) -> bool:
        """Whether any two requests may have tokens in common."""
        return self.turns is not None or bool(self.shared.any())

    def first(self) -> Trace:
        """Its first request alone."""
        nobody = None if self.turns is None else Turns(np.array([NONE]), np.zeros(1))
        one = {name: getattr(self, name)[:1] for name in ("arrival_s", "prompt", "output", "shared", "first_chunk")}
        priority = None if self.priority is None else self.priority[:1]
        return replace(self, turns=nobody, priority=priority, **one)

    def requests(self) -> Requests:
        """As the scheduler takes them."""
        columns = {
            "prompt": self.prompt,
            "limit": self.output,
            "priority": 0 if self.priority is None else self.priority,
            "shared": self.shared,
            "first_chunk": self.first_chunk,
            "owner": np.arange(len(self)) if self.turns is None else self.turns.owners(),
        }
        return requests_of(columns, self.chunks, self.chunk_tokens)

    def arrivals(self) -> Arrivals:
        """The requests before the first of them arrives."""
        if self.turns is not None:
            return in_turn(self.arrival_s, self.turns.previous, self.turns.think_s, self.cap)
        return alone(self.arrival_s, self.cap)


def unshared(arrival_s: Floats, prompt: Ints, output: Ints, cap: int = 0) -> Trace:
    """Requests that have nothing in common."""
    nothing = np.zeros(len(prompt), dtype=np.int64)
    return Trace(arrival_s, prompt, output, nothing, nothing, nothing[:1], cap=cap)
