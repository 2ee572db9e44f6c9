"""Cases for simulated SGLang servers: traces that share prefixes or talk, and settings drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from simulated import costs, traffic

from model.simulate.log import Served
from model.simulate.run import simulate
from model.simulate.sglang.server import SglangSettings
from model.simulate.trace import Trace

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
    plain, rng = draw(traffic())
    n = len(plain)
    shared = np.where(rng.random(n) < 0.5, np.minimum(plain.prompt, 30), 0)
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
    trace = replace(plain, shared=shared, first_chunk=np.arange(n), chunks=rng.integers(0, 3, n))
    return Case(trace, engine)
