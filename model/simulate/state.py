"""What a scheduler knows: the engine's settings, the requests, and where each of them stands. Arrays only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.simulate.blocks import NONE, Blocks, Ints, new_blocks
from model.simulate.records import Records, of_ints
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


_ASKED = of_ints("prompt", "limit", "priority", "shared", "first_chunk", "owner")


class Requests(NamedTuple):
    """n requests. `asked`, n: tokens of the `prompt`, most tokens to generate (`limit`), `priority` (least first).

    The first `shared` tokens of a prompt are also those of others: chunk c of them is named by
    `chunks[first_chunk + c]`, which stands for its own `chunk_tokens` tokens and all before them. What follows them,
    answers included, it has in common with the requests of the same `owner` (the first turn of its conversation).
    """

    asked: Records
    chunks: Ints
    chunk_tokens: int


_SEAT = of_ints("computed", "outputs", "drafted", "brought", "held", "filled", "row", "next")
_LISTS = of_ints("running", "scheduled", "tokens", "preempted", "admitted", "hits", "free_rows")
_STATUS = of_ints("running", "waiting", "head", "tail", "scheduled", "preempted", "admitted", "finished", "free_rows")


class State(NamedTuple):
    """Where n requests stand, and what the last step decided.

    `seats`, n: tokens `computed`, `outputs`, `drafted` (for the next step), and `brought` (computed elsewhere, to whom
    a waiting request's first blocks will belong); blocks `held`, and `filled` (that can be found); the `row` of
    `table`, which are the blocks that a running request holds; who waits `next` behind it. `status[0]`: how many are
    `running` and `waiting`, the `head` and `tail` of the chain of who waits (under the priority policy a heap instead,
    `heap[:waiting]`), and lengths of lists.

    A field of `lists` is a list as long as the field of that name in `status[0]`: who is `running`, in order; who was
    `scheduled`, with so many `tokens`; `preempted`; `admitted`, with `hits` in tokens; and rows of the table that
    nobody has, `free_rows`. `finished`: who is done.
    """

    seats: Records
    status: Records
    lists: Records
    finished: Ints
    heap: Ints
    table: npt.NDArray[np.int32]


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
    seats, status, lists = np.zeros(count, dtype=_SEAT), np.zeros(1, dtype=_STATUS), np.zeros(rows + 1, dtype=_LISTS)
    seats["row"] = seats["next"] = status["head"] = status["tail"] = NONE
    status["free_rows"], lists["free_rows"][:rows] = rows, np.arange(rows)[::-1]
    finished, heap = np.zeros(rows + 1, dtype=np.int64), np.zeros(count + 1, dtype=np.int64)
    table = np.full((rows, longest), NONE, dtype=np.int32)
    return State(seats, status, lists, finished, heap, table), new_blocks(settings.num_blocks)


def requests_of(columns: Mapping[str, Any], chunks: Ints, chunk_tokens: int) -> Requests:
    """Requests whose fields are given by name, n each; those that are not are 0."""
    asked = np.zeros(len(columns["prompt"]), dtype=_ASKED)
    for name, column in columns.items():
        asked[name] = column
    return Requests(asked, chunks, chunk_tokens)
