"""What SGLang's scheduler knows: its flags, and where each request stands.

Notation: tokens of a request are its prompt and what it has generated; its cache is in pages of which the first `kept`
belong to the radix tree and the rest to it alone. Who decodes does so in every decode step, so nothing is kept per step
and request: g steps after it `entered`, a request has g tokens more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.simulate.blocks import NONE, Ints
from model.simulate.records import Records, of_ints
from model.simulate.sglang.radix import Tree, new_trees
from model.simulate.speculation import NO_DRAFTS, Drafts, Speculation
from model.simulate.state import EngineSettings, Requests

FCFS, LPM, LOF = range(3)
POLICIES = ("fcfs", "lpm", "lof")
_FIRST_RATIO = 0.7
_LEAST_RATIO = 0.14
"""The least new token ratio, as a share of the first."""
_DECAY_STEPS = 600
_SHORTER = 5
"""By how many tokens a prompt must stay below the longest sequence."""


@dataclass(frozen=True, slots=True)
class SglangSettings:
    """The flags of SGLang's scheduler. `num_blocks` pages of `block_size` tokens; `chunked_prefill_size` 0: whole.

    With `overlaps` a step is decided on when the one before begins, so that who comes later waits for another one.
    `schedule_policy`: fcfs, lpm (longest prefix in the cache first) or lof (longest answer first). `speculation`: what
    is drafted, if anything is; steps do not overlap then, and prompts are not mixed with decodes.
    """

    max_num_seqs: int
    num_blocks: int
    block_size: int
    context_length: int
    max_prefill_tokens: int = 16384
    chunked_prefill_size: int = 8192
    schedule_policy: str = "fcfs"
    schedule_conservativeness: float = 1.0
    enable_prefix_caching: bool = True
    enable_mixed_chunk: bool = False
    overlaps: bool = True
    speculation: Speculation | None = None

    @property
    def max_model_len(self) -> int:
        """Most tokens of a prompt and its answer: two less than the context, and than the cache."""
        return min(self.context_length, self.num_blocks * self.block_size) - 2

    @property
    def longest_prompt(self) -> int:
        """Longer prompts are refused."""
        return self.max_model_len - _SHORTER


AnySettings = EngineSettings | SglangSettings


class Flags(NamedTuple):
    """`SglangSettings` as compiled code takes them; `chunk` is 0 for none."""

    seqs: int
    size: int
    model_len: int
    prefill: int
    chunk: int
    policy: int
    first_ratio: float
    least_ratio: float
    decay: float
    caches: bool
    mixes: bool
    ahead: bool
    drafts: Drafts


_SEAT = of_ints("outputs", "computed", "entered", "goal", "rank", "kept", "node", "before", "after", "sooner", "later")
_STATUS = np.dtype(
    [
        ("free", np.int64), ("ratio", np.float64), ("is_full", np.int64), ("partial", np.int64), ("steps", np.int64),
        ("running", np.int64), ("cached", np.int64), ("gone", np.int64), ("low", np.int64), ("high", np.int64),
        ("head", np.int64), ("tail", np.int64), ("sorted", np.int64), ("prefills", np.int64), ("retracted", np.int64),
        ("finished", np.int64), ("rem_input", np.int64), ("rem_chunk", np.int64), ("taken", np.int64),
        ("promised", np.float64), ("planned", np.int64), ("fresh", np.int64),
    ]
)  # fmt: skip
_LISTS = of_ints("prefill", "tokens", "hit", "retracted", "fresh")
_PLANNED = of_ints("left", "held")


class Server(NamedTuple):
    """n requests, of which at most m run at once. What the last step decided stands in the last two arrays.

    `seats`, n + 1: tokens generated and computed when the request `entered` decoding (NONE: it does not decode), its
    `goal` of tokens to generate, `rank` among the running, pages `kept` in the tree and its `node` there; `before` and
    `after` form a ring of the running in order, with seat n as its anchor, `sooner` and `later` the chain of one
    bucket. `bucket[g mod w]`: who is done after g decode steps. `classes[q]`: how many of the running need a page in
    the steps with (q + g) mod page = 0. `waiting[head:tail]`: who waits, in order, the first `sorted` of them by the
    policy. `plan`: tokens `left` to come and tokens `held` of who decodes, by the former.

    `status[0]`: `free` pages; the new token `ratio`; whether the batch `is_full`; the request whose prompt is computed
    in parts, `partial`; decode `steps` so far; how many are `running`, with so many tokens `cached`; how many are
    `gone` since the last decode step but still counted; the `low`est and `high`est rank; lengths of the arrays;
    what is left to a prefill batch in tokens (`rem_input`, `rem_chunk`), its tokens so far (`taken`) and those that it
    and the running are promised (`promised`).

    `lists`: of the prefill batch each request, `prefill`, its `tokens`, and those that were a `hit` in the cache; who
    is `retracted`, and `fresh` (who began to decode and has not yet done so). `finished`: who is done.
    """

    seats: Records
    status: Records
    bucket: Ints
    classes: Ints
    waiting: Ints
    plan: Records
    lists: Records
    finished: Ints


Engine = tuple[Server, Tree]


def compiled_flags(settings: SglangSettings) -> Flags:
    """The settings as compiled code takes them."""
    first = min(_FIRST_RATIO * settings.schedule_conservativeness, 1.0)
    least = min(first * _LEAST_RATIO, 1.0)
    policy = POLICIES.index(settings.schedule_policy)
    return Flags(
        settings.max_num_seqs,
        settings.block_size,
        settings.max_model_len,
        settings.max_prefill_tokens,
        settings.chunked_prefill_size,
        FCFS if policy == LPM and not settings.enable_prefix_caching else policy,
        first,
        least,
        (first - least) / _DECAY_STEPS,
        settings.enable_prefix_caching,
        settings.enable_mixed_chunk and settings.chunked_prefill_size > 0,
        settings.overlaps,
        settings.speculation.drafts if settings.speculation else NO_DRAFTS,
    )


def new_engine(settings: SglangSettings, requests: Requests) -> Engine:
    """All pages free, nobody there yet."""
    return new_server(settings, requests), Tree._make(array[0] for array in trees_of(settings, requests, 1))


def new_server(settings: SglangSettings, requests: Requests) -> Server:
    """A scheduler that has seen nobody yet."""
    n, most = len(requests.asked), settings.max_num_seqs + 1
    seats = np.zeros(n + 1, dtype=_SEAT)
    seats["entered"] = NONE
    seats["before"][n] = seats["after"][n] = n
    status = np.zeros(1, dtype=_STATUS)
    status["free"] = settings.num_blocks
    status["ratio"] = compiled_flags(settings).first_ratio
    status["partial"] = NONE
    buckets = 1 << (int(requests.asked["limit"].max(initial=1)) + 1).bit_length()
    return Server(
        seats, status, np.full(buckets, NONE, dtype=np.int64), np.zeros(settings.block_size, dtype=np.int64),
        np.zeros(2 * n + 2, dtype=np.int64), np.zeros(2 * most, dtype=_PLANNED), np.zeros(most, dtype=_LISTS),
        np.zeros(most, dtype=np.int64),
    )  # fmt: skip


def trees_of(settings: SglangSettings, requests: Requests, count: int) -> Tree:
    """`count` empty trees, with room for what they can ever hold of requests that come to them in turn."""
    most = -(len(requests.asked) // -count)
    longest = np.sort(requests.asked["prompt"] + requests.asked["limit"])[::-1][:most]
    pages = int(min(settings.num_blocks, (longest // settings.block_size).sum()))
    return new_trees(pages if settings.enable_prefix_caching else 0, count)
