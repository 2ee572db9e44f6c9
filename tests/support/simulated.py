"""Cases for simulated servers: traces and settings drawn at random, costs that grow with everything, and equality."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from model.simulate.blocks import NONE
from model.simulate.costs import StepCosts
from model.simulate.log import Served
from model.simulate.state import EngineSettings
from model.simulate.trace import Trace, Turns, unshared

KNOTS = np.array([0.0, 8.0, 32.0, 128.0, 512.0])


def costs(most_tokens: int, most_seqs: int, base: float = 1e-3) -> StepCosts:
    pc, kp, nd, kd = np.meshgrid(KNOTS, KNOTS, KNOTS, KNOTS, indexing="ij")
    attention = 1e-7 * pc * (pc / 2 + kp) + 1e-6 * nd * kd + 1e-5 * nd * np.sin(kd)
    tokens = base + 1e-5 * np.arange(most_tokens + 1)
    return StepCosts(tokens, 1e-6 * np.arange(most_seqs + 1), KNOTS, KNOTS, KNOTS, KNOTS, attention, 1e-4)


@dataclass(frozen=True)
class Case:
    trace: Trace
    settings: EngineSettings


@st.composite
def traffic(draw: st.DrawFn) -> tuple[Trace, np.random.Generator]:
    """Requests at random, which may come in a closed loop or talk, and what else about them may be drawn from."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    prompt, output = rng.integers(1, 60, n), rng.integers(1, 60, n)
    cap = draw(st.sampled_from([0, 0, 1, 5]))
    rate = draw(st.sampled_from([5.0, 50.0, 5000.0]))
    arrival = np.zeros(n) if cap else np.cumsum(rng.exponential(1 / rate, n))
    previous = np.where(rng.random(n) < draw(st.sampled_from([0.0, 0.5])), np.arange(n) - 1, NONE)
    previous[0] = NONE
    turns = Turns(previous, rng.exponential(0.01, n)) if (previous != NONE).any() else None
    return replace(unshared(arrival, prompt, output, cap), turns=turns), rng


@st.composite
def cases(draw: st.DrawFn) -> Case:
    trace, _ = draw(traffic())
    size = draw(st.sampled_from([1, 4, 16]))
    engine = EngineSettings(
        max_num_batched_tokens=draw(st.integers(60, 120)),
        max_num_seqs=draw(st.integers(1, 20)),
        block_size=size,
        num_blocks=-(-120 // size) + draw(st.integers(0, 60)),
        max_model_len=draw(st.sampled_from([70, 200])),
        enable_prefix_caching=False,
        enable_chunked_prefill=draw(st.booleans()),
        reserve_full_isl=draw(st.booleans()),
        async_scheduling=draw(st.booleans()),
    )
    return Case(trace, engine)


def same(left: Served, right: Served) -> None:
    for name in ("arrived", "first_s", "last_s"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), rtol=1e-9, atol=1e-12)
    assert (left.preemptions, left.peak, left.steps.sum()) == (right.preemptions, right.peak, right.steps.sum())
    assert (left.steps * left.emitted).sum() == (right.steps * right.emitted).sum()
    np.testing.assert_allclose(np.sort(left.late), np.sort(right.late), rtol=1e-6, atol=1e-9)


def all_answered_in_order(served: Served, case: Case) -> None:
    """Everyone has a first token after coming and a last one then, and every token is counted once."""
    assert (served.first_s > served.arrived).all()
    assert (served.last_s >= served.first_s).all()
    assert served.peak <= case.settings.num_blocks
    emitted = np.minimum(case.trace.output, np.maximum(case.settings.max_model_len - case.trace.prompt, 1))
    assert (served.steps * served.emitted).sum() + len(served.late) == (emitted - 1).sum()
    assert (np.diff(served.end_s) >= 0).all()


def keeps_the_load(trace: Trace, served: Served) -> None:
    """Later turns come after the answers before them, and a closed loop keeps no more in flight than it may."""
    if trace.turns is not None:
        later = np.flatnonzero(trace.turns.previous != NONE)
        answered = served.last_s[trace.turns.previous[later]] + trace.turns.think_s[later]
        np.testing.assert_array_equal(served.arrived[later], np.maximum(answered, trace.arrival_s[later]))
    elif trace.cap:
        starts, ends = np.sort(served.arrived), np.sort(served.last_s)
        assert max((starts <= t).sum() - (ends <= t).sum() for t in starts) <= trace.cap
