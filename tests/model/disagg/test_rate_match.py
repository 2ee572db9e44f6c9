"""How many workers of both pools go together (FEATURES S1.34)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.disagg.flow import Units
from model.disagg.rate_match import FILLED, MOST_WORKERS, matched


def units(prefill: float, decode: float, link: float = 1e9) -> Units:
    """Workers that serve so many requests a second: of prefill, of decode, and of the link of either."""
    plain = {
        "prompt_engines": 1.0, "alone": 1.0 / prefill, "full": 1.0 / prefill, "most": 1.0, "once": 0.0, "sends": link,
        "takes": link, "decode_engines": 1.0, "top": 10.0, "steps": 1.0, "think": 0.0, "varied": 0.0, "limit": np.inf,
    }  # fmt: skip
    columns = {name: np.array([value]) for name, value in plain.items()}
    # a step takes as long for ten sequences as for one
    return Units(curves=np.full((1, 3), 10.0 / decode), place=np.zeros(1, np.int64), **columns)


def match(
    prefill: float, decode: float, devices: tuple[int, int] = (1, 1), there: int = 0, amount: float = np.inf,
    fixed: tuple[int, int] = (0, 0), link: float = 1e9, wanted: float = np.inf,
) -> tuple[int, int]:  # fmt: skip
    found = matched.taking(1e-9)(
        units(prefill, decode, link), np.array([devices]), there, np.array([amount]), np.array([wanted]),
        np.array([fixed]),
    )  # fmt: skip
    return int(found[0, 0]), int(found[0, 1])


@pytest.mark.parametrize(
    ("rates", "workers"),
    [((1.0, 1.0), (1, 1)), ((1.0, 4.0), (4, 1)), ((3.0, 2.0), (2, 3)), ((1.0, 3.96), (4, 1)), ((5.0, 1.0), (1, 5))],
)
def test_capacities_meet(rates: tuple[float, float], workers: tuple[int, int]) -> None:
    assert match(*rates) == workers


def test_dear_workers_are_kept_busy() -> None:
    """A decode worker of four devices waits for nobody: cheap prefill workers are rounded up."""
    assert match(1.0, 3.5, devices=(1, 8)) == (7, 2)


def test_what_is_given_stays() -> None:
    assert match(1.0, 4.0, fixed=(8, 0)) == (8, 2)
    assert match(1.0, 4.0, fixed=(0, 2)) == (8, 2)
    assert match(1.0, 4.0, fixed=(40, 0)) == (40, 10)
    assert match(1.0, 4.0, fixed=(1, 1)) == (1, 1)


def test_a_slow_link_counts() -> None:
    """Four prefill workers for one decode worker, were it not that this can take half a request a second."""
    assert match(1.0, 4.0, link=0.5) == (1, 1)


@given(st.floats(0.2, 5.0), st.floats(0.2, 5.0), st.integers(1, 4), st.integers(1, 4), st.integers(8, 64))
@settings(deadline=None, max_examples=40)
def test_units_fill_the_devices_as_well_as_any(prefill: float, decode: float, one: int, other: int, there: int) -> None:
    x, y = match(prefill, decode, (one, other), there)

    def served(a: int, b: int) -> float:
        return there // (a * one + b * other) * min(a * prefill, b * decode)

    best = max(served(a, b) for a in range(1, MOST_WORKERS + 1) for b in range(1, MOST_WORKERS + 1))
    assert served(x, y) >= 0.98 * best > 0


def test_a_few_requests_in_flight_need_few_workers() -> None:
    """Ten in flight fill one decode engine; a second one would stand idle."""
    assert match(100.0, 10.0, amount=10.0) == (1, 1)


def test_where_nothing_fits_the_smallest_unit_is_told() -> None:
    assert match(1.0, 4.0, devices=(4, 4), there=6) == (1, 1)


def test_a_rate_takes_the_fewest_devices_that_carry_it() -> None:
    """Four prefill workers fill one decode worker; 1.5 requests/s need two of them."""
    assert match(1.0, 4.0, wanted=0.5) == (1, 1)
    assert match(1.0, 4.0, wanted=1.5) == (2, 1)
    assert match(1.0, 4.0, wanted=9.0 * FILLED) == (9, 3)
    assert match(1.0, 4.0, wanted=1.5, fixed=(0, 3)) == (2, 3)


def test_a_rate_that_nothing_carries_takes_the_best_per_device() -> None:
    assert match(1.0, 4.0, wanted=1000.0) == match(1.0, 4.0) == (4, 1)


def test_all_units_carry_the_rate_together() -> None:
    """Ten devices are five units of one and one, which serve one request a second each."""
    assert match(1.0, 4.0, there=10, wanted=4.0) == (1, 1)
    assert match(1.0, 4.0, there=10, wanted=6.0) != (1, 1)


@given(st.floats(0.2, 5.0), st.floats(0.2, 5.0), st.integers(1, 4), st.integers(1, 4), st.floats(0.1, 20.0))
@settings(deadline=None, max_examples=40)
def test_no_smaller_unit_carries_it(prefill: float, decode: float, one: int, other: int, wanted: float) -> None:
    x, y = match(prefill, decode, (one, other), wanted=wanted)
    counts = range(1, MOST_WORKERS + 1)
    carry = [(a, b) for a in counts for b in counts if FILLED * min(a * prefill, b * decode) >= wanted]
    sizes = [a * one + b * other for a, b in carry]
    assert not sizes or (x * one + y * other == min(sizes) and (x, y) in carry)
