"""Which way a trace is served: all requests together, or block by block where blocks can be found again."""

from __future__ import annotations

import numpy as np

from model.simulate.clock import serve
from model.simulate.costs import StepCosts
from model.simulate.run import simulate
from model.simulate.state import EngineSettings, compiled, new_state
from model.simulate.trace import unshared

KNOTS = np.array([0.0, 1.0, 4096.0])
COSTS = StepCosts(1e-3 + 1e-5 * np.arange(2049), np.zeros(65), KNOTS, KNOTS, KNOTS, KNOTS, np.zeros((3, 3, 3, 3)), 0.0)
TRACE = unshared(np.linspace(0.0, 0.2, 40), np.full(40, 200), np.full(40, 150))


def settings(blocks: int, caches: bool) -> EngineSettings:
    return EngineSettings(2048, 64, 16, blocks, 4096, caches)


def test_a_preempted_request_finds_its_own_blocks_again() -> None:
    """Though nothing is shared between requests: what a preempted one had computed may still be in the cache."""
    few = settings(120, caches=True)
    found = simulate(TRACE, few, COSTS)
    assert found.served.preemptions > 0
    exact = serve(compiled(few), TRACE.requests(), COSTS, TRACE.arrivals(), True, new_state(few, len(TRACE)))
    np.testing.assert_array_equal(found.served.last_s, exact.last_s)
    without = simulate(TRACE, settings(120, caches=False), COSTS)
    assert found.served.last_s.mean() < without.served.last_s.mean()


def test_where_nobody_is_preempted_caching_changes_nothing() -> None:
    with_, without = (simulate(TRACE, settings(2000, caches), COSTS) for caches in (True, False))
    assert with_.served.preemptions == without.served.preemptions == 0
    np.testing.assert_array_equal(with_.served.last_s, without.served.last_s)
