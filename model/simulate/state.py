"""What a scheduler knows: the engine's settings, the requests, and where each of them stands. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.simulate.blocks import NONE, Blocks, Ints, Ints32, new_blocks
from model.simulate.speculation import NO_DRAFTS, Drafts, Speculation

NO_SHARING = 1 << 40
"""Tokens per shared chunk where each chunk is a whole prefix."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The flags of vLLM's V1 scheduler. `num_blocks` are usable ones; a threshold of 0 is none. With `async_scheduling`
    a step is decided when the one before begins: who comes later than that waits for another. `speculation`: what is
    drafted, if anything is."""

    max_num_batched_tokens: int
    max_num_seqs: int
    block_size: int
    num_blocks: int
    max_model_len: int
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    is_priority: bool = False
    reserve_full_isl: bool = True
    async_scheduling: bool = False
    speculation: Speculation | None = None


class Settings(NamedTuple):
    """`EngineSettings` as compiled code takes them."""

    batched_tokens: int
    seqs: int
    block_size: int
    model_len: int
    caches: bool
    chunks: bool
    threshold: int
    is_priority: bool
    reserves: bool
    ahead: bool
    drafts: Drafts


class Requests(NamedTuple):
    """n requests, `n` each: prompt tokens, most tokens to generate, priority (least first).

    The first `shared[r]` tokens of a prompt are also those of others: chunk c of them is named by
    `chunks[first_chunk[r] + c]`, which stands for its own `chunk_tokens` tokens and all before them. What follows them,
    answers included, it has in common with the requests of the same `owner` (the first turn of its conversation).
    """

    prompt: Ints
    limit: Ints
    priority: Ints
    shared: Ints
    first_chunk: Ints
    chunks: Ints
    chunk_tokens: int
    owner: Ints


class State(NamedTuple):
    """Where n requests stand; what the last step decided is in the last six columns.

    `computed`, `outputs`, `drafted` (tokens for the next step), `brought` (tokens computed elsewhere, to whom a waiting
    request's first blocks will belong), `held` (blocks), `filled` (blocks that can be found), `row` (of `table`, the
    blocks held by a running request): n each. `running[:RUNNING]` in order; waiting is a chain
    of `next_waiting` from HEAD to TAIL, or a heap `heap[:WAITING]` under the priority policy. `scheduled[:SCHEDULED]`
    with so many `tokens`, `preempted[:PREEMPTED]`, `admitted[:ADMITTED]` with `hits` in tokens,
    `finished[:FINISHED]`. The lengths stand in `counts`, `free_rows[:ROWS]` are rows of the table that nobody has.
    """

    computed: Ints
    outputs: Ints
    drafted: Ints
    brought: Ints
    held: Ints
    filled: Ints
    row: Ints32
    next_waiting: Ints32
    heap: Ints32
    running: Ints32
    free_rows: Ints32
    table: Ints32
    counts: Ints
    scheduled: Ints32
    tokens: Ints
    preempted: Ints32
    admitted: Ints32
    hits: Ints
    finished: Ints32


RUNNING, WAITING, HEAD, TAIL, SCHEDULED, PREEMPTED, ADMITTED, FINISHED, ROWS = range(9)
"""Places in `State.counts`."""


def compiled(settings: EngineSettings) -> Settings:
    """The settings as compiled code takes them."""
    return Settings(
        settings.max_num_batched_tokens,
        settings.max_num_seqs,
        settings.block_size,
        settings.max_model_len,
        settings.enable_prefix_caching,
        settings.enable_chunked_prefill,
        settings.long_prefill_token_threshold,
        settings.is_priority,
        settings.reserve_full_isl,
        settings.async_scheduling,
        settings.speculation.drafts if settings.speculation else NO_DRAFTS,
    )


def new_state(settings: EngineSettings, count: int) -> tuple[State, Blocks]:
    """Nothing arrived yet, all blocks free. `count` requests will come."""
    rows = min(settings.max_num_seqs, max(count, 1))
    longest = -(-settings.max_model_len // settings.block_size) if settings.enable_prefix_caching else 1
    counts = ints(9)
    counts[HEAD] = counts[TAIL] = NONE
    counts[ROWS] = rows
    state = State(
        ints(count), ints(count), ints(count), ints(count), ints(count), ints(count),
        np.full(count, NONE, dtype=np.int32), np.full(count, NONE, dtype=np.int32), ints32(count + 1), ints32(rows + 1),
        np.arange(rows, dtype=np.int32)[::-1].copy(), np.full((rows, longest), NONE, dtype=np.int32), counts,
        ints32(rows + 1), ints(rows + 1), ints32(rows + 1), ints32(rows + 1), ints(rows + 1), ints32(rows + 1),
    )  # fmt: skip
    return state, new_blocks(settings.num_blocks)


def ints(n: int) -> Ints:
    """n zeros."""
    return np.zeros(n, dtype=np.int64)


def ints32(n: int) -> Ints32:
    """n zeros."""
    return np.zeros(n, dtype=np.int32)
