"""Cases for simulated SGLang servers: traces that share prefixes or talk, and settings drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from simulated import costs

from model.simulate.blocks import NONE
from model.simulate.log import Served
from model.simulate.run import simulate
from model.simulate.sglang.server import SglangSettings
from model.simulate.trace import Trace, Turns

COSTS = costs(128, 80)
PLAIN = SglangSettings(8, 2000, 1, 1000, chunked_prefill_size=64, overlaps=False)


@dataclass(frozen=True)
class Case:
    trace: Trace
    settings: SglangSettings

    def served(self, skips: bool) -> Served:
        return simulate(self.trace, self.settings, COSTS, skips).served


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    prompt, output = rng.integers(1, 60, n), rng.integers(1, 60, n)
    cap = draw(st.sampled_from([0, 0, 1, 5]))
    rate = draw(st.sampled_from([5.0, 50.0, 5000.0]))
    arrival = np.zeros(n) if cap else np.cumsum(rng.exponential(1 / rate, n))
    previous = np.where(rng.random(n) < draw(st.sampled_from([0.0, 0.5])), np.arange(n) - 1, NONE)
    previous[0] = NONE
    turns = Turns(previous, rng.exponential(0.01, n)) if (previous != NONE).any() else None
    shared = np.where(rng.random(n) < 0.5, np.minimum(prompt, 30), 0)
    size = draw(st.sampled_from([1, 4]))
    engine = SglangSettings(
        max_num_seqs=draw(st.integers(1, 20)),
        num_blocks=-(-130 // size) + draw(st.integers(0, 60)),
        block_size=size,
        context_length=draw(st.sampled_from([120, 200])),
        max_prefill_tokens=draw(st.sampled_from([40, 200])),
        chunked_prefill_size=draw(st.sampled_from([0, 24, 64])),
        schedule_policy=draw(st.sampled_from(["fcfs", "lpm", "lof"])),
        schedule_conservativeness=draw(st.sampled_from([0.05, 1.0])),
        enable_prefix_caching=draw(st.booleans()),
        enable_mixed_chunk=draw(st.booleans()),
        overlaps=draw(st.booleans()),
    )
    trace = Trace(arrival, prompt, output, shared, np.arange(n), rng.integers(0, 3, n), cap=cap, turns=turns)
    return Case(trace, engine)
