"""What one worker of a prefill pool and of a decode pool can do, for whole grids of each; and the link between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.closed_form.cycle import mixed_load
from model.feasibility import feasibility
from model.load import load_of
from model.memory import Memory, memory
from model.points import Points
from model.prediction import Bools, Floats
from model.question import Question
from model.steps.hosts import network_bytes_s
from model.steps.step import step_s
from perfdb.facts.platforms import PlatformFacts
from perfdb.records import Workload

Ints = npt.NDArray[np.int64]

LEVELS = 14
"""Numbers of decoding sequences, in equal ratios, at which the time of a step is asked for."""


@dataclass(frozen=True)
class Pool:
    """m kinds of worker: their points under the load that the pool sees, what fits, and the devices that each takes."""

    points: Points
    memory: Memory
    feasible: Bools
    reasons: Mapping[int, str]

    @classmethod
    def of(cls, question: Question, workload: Workload) -> Pool:
        """The workers of a grid.

        Raises:
            InputError: the workload or a parameter's value cannot be right.
        """
        points = question.resolve(question.grid, load_of(workload, len(question.grid)))
        found = memory(points)
        return cls(points, found, *feasibility(points, found))

    @cached_property
    def devices(self) -> Ints:
        """Devices of a worker, `m`."""
        return self.points.devices.astype(np.int64)

    @cached_property
    def engines(self) -> Floats:
        """Engines of a worker that serve requests of their own, `m`: replicas, each with the stages of its pipeline."""
        return self.points.dp * self.points.pp

    @cached_property
    def slots(self) -> Floats:
        """Sequences that an engine holds at once, `m`."""
        held = np.minimum(self.points.max_num_seqs, self.memory.room)
        return np.maximum(np.floor(held / self.points.pp), 1.0)


@dataclass(frozen=True)
class Prompts:
    """How long an engine takes for prompts, all `m`: `alone` seconds for one, `full` for `most` in one step."""

    alone: Floats
    full: Floats
    most: Floats


def prompts(pool: Pool) -> Prompts:
    """Steps of prompts only. Of prompts beyond the token budget, `full` is the time of their tokens in full steps."""
    points, isl = pool.points, pool.points.computed
    chunked = points.chunked_prefill > 0
    budget = np.where(chunked, points.max_num_batched_tokens, np.maximum(points.max_num_batched_tokens, isl))
    fitting = np.where(chunked, budget / isl, np.floor(budget / isl))
    most = np.clip(np.minimum(fitting, pool.slots), 1.0, None)
    own = np.maximum(np.ceil(isl / budget), 1.0)
    share = np.maximum(isl / budget, 1.0)
    one = np.ones(len(points))
    return Prompts(own * _prompt_step_s(points, one, own), share * _prompt_step_s(points, most, share), most)


def _prompt_step_s(points: Points, together: Floats, own: Floats) -> Floats:
    return step_s(points, mixed_load(points, together * points.computed / own, own, np.zeros(len(points))))


def link_bytes_s(prefill: PlatformFacts, decode: PlatformFacts) -> float:
    """What one device of a pool sends to one of the other in one direction: the least of both devices' links and the
    network between hosts."""
    return min(network_bytes_s(prefill), network_bytes_s(decode))


def moved_bytes(prefill: Pool, decode: Pool, prefill_rows: Ints, decode_rows: Ints) -> tuple[Floats, Floats]:
    """Bytes of one prompt's KV cache that a prefill device sends and that a decode device takes, both `n`.

    Every decode device takes what it will hold; of heads or latent vectors that several hold, each takes a copy.
    """
    there, here = prefill.points, decode.points
    tokens = (here.architecture.kv_elements(here.tp) * here.load.isl)[decode_rows] * there.kv_bytes[prefill_rows]
    return tokens * here.tp[decode_rows] / (there.tp * there.pp)[prefill_rows], tokens / here.pp[decode_rows]
