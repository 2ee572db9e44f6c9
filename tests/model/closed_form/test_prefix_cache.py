"""Prefixes that a cache has no room for: what is left of their use, beside the event simulator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.prefix_cache import SharedPrefixes
from model.memory import memory
from model.points import Points
from model.question import Question, analyse
from model.simulate.engine import engine_settings
from model.simulate.run import simulate, summary
from model.simulate.traffic import Prefixes, Traffic, reused_tokens, sampled
from model.steps.config import step_costs
from perfdb.facts.platforms import platform
from perfdb.lengths import Lengths
from perfdb.records import Grid, Target

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
PLACE = platform("h100_sxm")
PREFIXES = Prefixes(1.0, 40, (1400.0, 1400.0))
TRAFFIC = Traffic(Lengths.parse("D(2000,200)"), concurrency=100, prefixes=PREFIXES)


def question(*tokens: int, prefixes: SharedPrefixes | None = PREFIXES.shared) -> Question:
    target = Target(LLAMA.name, PLACE.name, "sglang", 1, "0.5.9")
    grid = Grid.of([{"max_total_tokens": count} for count in tokens])
    return Question(target, LLAMA, PLACE, TRAFFIC.plain()[0], grid, reused=reused_tokens(TRAFFIC), prefixes=prefixes)


def resolved(*tokens: int) -> Points:
    return analyse(question(*tokens)).points


def test_the_less_room_the_fewer_prefixes_are_found_again() -> None:
    found = resolved(10_000, 60_000, 100_000, 1_000_000)
    assert (np.diff(found.reused) > 0).all()
    assert found.reused[-1] == pytest.approx(reused_tokens(TRAFFIC), rel=0.01)
    assert found.reused[0] < 0.3 * found.reused[-1]
    assert found.shared is not None
    assert (found.shared <= 40 * 1400).all()
    assert (np.diff(memory(found).sequences) > 0).all()


def test_one_prefix_is_held_by_all() -> None:
    one = question(60_000, prefixes=SharedPrefixes.by_rank(1.0, 1, 1400.0))
    endless = question(60_000, prefixes=None)
    for name in ("ttft_s", "output_tps"):
        found, plain = (analyse(each).serving.metrics[name].item() for each in (one, endless))
        assert found == pytest.approx(plain, rel=0.01)


def test_popular_prefixes_stay_longer() -> None:
    even, skewed = (
        Prefixes(1.0, 40, (1400.0, 1400.0), skew).shared.bounded(analyse(question(60_000, prefixes=None)).points)
        for skew in (0.0, 1.5)
    )
    assert skewed.reused.item() > even.reused.item()


@pytest.mark.parametrize("tokens", [60_000, 100_000, 400_000])
def test_a_cache_too_small_for_its_prefixes_comes_near_to_what_is_simulated(tokens: int) -> None:
    found, trace = analyse(question(tokens)), sampled(TRAFFIC, 800)
    tables = found.points.tables
    assert tables is not None
    settings = engine_settings(found.points, {"max_total_tokens": tokens}, trace)
    told = summary(simulate(trace, settings, step_costs(found.points, tables)), 0.0, 0.0)
    assert isinstance(told["output_tps"], float)
    assert found.serving.metrics["output_tps"].item() == pytest.approx(told["output_tps"], rel=0.2)


def exact(share: float, count: int, tokens: float, skew: float, room: float, own: float) -> tuple[float, float]:
    """Prefixes that are held, by their chances and one by one: by halves, each prefix by itself."""
    weights = np.arange(1.0, count + 1.0) ** -skew
    chances, low, high = share * weights / weights.sum(), 0.0, room / own
    for _ in range(60):
        middle = (low + high) / 2.0
        fits = middle * own - tokens * np.expm1(-chances * middle).sum() < room
        low, high = (middle, high) if fits else (low, middle)
    held = -np.expm1(-chances * low)
    return float((chances * held).sum()), float(held.sum())


@given(
    st.floats(0.05, 1), st.integers(1, 5000), st.floats(1, 4000), st.sampled_from([0.0, 0.5, 1.0, 1.7]),
    st.lists(st.floats(1e3, 1e8), min_size=1, max_size=4), st.floats(10, 4000),
)  # fmt: skip
@settings(deadline=None, max_examples=50)
def test_groups_of_prefixes_are_held_as_each_by_itself(
    share: float, count: int, tokens: float, skew: float, rooms: list[float], own: float
) -> None:
    prefixes, n = SharedPrefixes.by_rank(share, count, tokens, skew), len(rooms)
    plenty = np.full(n, np.inf)
    found = np.stack([prefixes.held(np.array(rooms), np.full(n, own), plenty, evenly) for evenly in (False, True)])
    expected = np.array([exact(share, count, tokens, skew, room, own) for room in rooms]).T
    np.testing.assert_allclose(found, expected, rtol=2e-3)


@pytest.mark.parametrize("skew", [0.0, 1.0, 2.5])
def test_millions_of_prefixes_are_a_few_groups(skew: float) -> None:
    many = SharedPrefixes.by_rank(0.5, 10_000_000, 100.0, skew)
    assert len(many.chances) <= 100
    assert sum(many.counts) == 10_000_000
    assert np.dot(many.chances, many.counts) == pytest.approx(0.5)
