"""Moments of normal lengths that are rounded and cut are those of what is drawn."""

from __future__ import annotations

from itertools import pairwise
from statistics import NormalDist, fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.lengths import Lengths
from perfdb.normal import cut_normal


def added_up(mean: float, deviation: float, most: int) -> tuple[float, float]:
    """The same by the chance of each whole number."""
    normal = NormalDist(mean, deviation)
    ends = [0.0, *(normal.cdf(number + 0.5) for number in range(1, most)), 1.0]
    chances = [high - low for low, high in pairwise(ends)]
    first = sum(number * chance for number, chance in enumerate(chances, 1))
    return first, sum(number**2 * chance for number, chance in enumerate(chances, 1))


@given(st.floats(1, 400), st.floats(0.02, 300))
def test_moments_are_those_of_every_whole_number(mean: float, deviation: float) -> None:
    most = round(mean + 3 * deviation)
    found, exact = cut_normal(mean, deviation, most), added_up(mean, deviation, most)
    assert found[0] == pytest.approx(exact[0], abs=2e-3)
    assert found[1] == pytest.approx(exact[1], rel=1e-4, abs=1e-3 * deviation)


@given(st.floats(1, 3000), st.floats(0, 2), st.integers(0, 2**32))
def test_moments_are_those_of_a_sample(mean: float, share: float, seed: int) -> None:
    n, side = 1000, f"({mean:.12g},{share * mean:.12g})"
    lengths = Lengths.parse(f"N{side}/{side}")
    answers = [answer for _, answer in lengths.sample(n, seed)]
    assert lengths.drawn[0] == lengths.drawn[1]
    assert lengths.drawn[1] == pytest.approx(fmean(answers), abs=6 * lengths.deviation / n**0.5 + 1e-9)
    assert lengths.deviation == pytest.approx(pstdev(answers), rel=0.25, abs=0.3)


@pytest.mark.parametrize(("mean", "length"), [(480.0, 480), (480.5, 480), (481.5, 482), (0.2, 1)])
def test_a_length_without_deviation_is_rounded_as_it_is_drawn(mean: float, length: int) -> None:
    assert cut_normal(mean, 0.0, round(mean)) == (length, length**2)


def test_a_deviation_near_the_mean_lengthens_what_is_drawn() -> None:
    """Of N(300, 300) a sixth is below one token: what is drawn is 8 % longer, and varies by 13 % less."""
    wide = Lengths.parse("N(300,300)/(300,300)")
    assert wide.isl == 300
    assert wide.drawn[0] == pytest.approx(325.0, abs=0.1)
    assert wide.deviation == pytest.approx(259.8, abs=0.8)
    narrow = Lengths.parse("N(480,40)/(300,20)")
    assert narrow.drawn == pytest.approx((480, 300), abs=0.02)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [("U(1,9)/(2,8)", (5, 5)), ("D(7,3)", (7, 3)), ("Q(1,3,9)/(5,5)", (4, 5)), ("D(96.4,24)", (96, 24))],
)
def test_other_lengths_are_drawn_as_they_are_named(text: str, drawn: tuple[float, float]) -> None:
    assert Lengths.parse(text).drawn == drawn


@pytest.mark.parametrize(("text", "deviation"), [("U(1,9)", (80 / 12) ** 0.5), ("U(4,5)/(4,5)", 0.5), ("D(7,3)", 0.0)])
def test_uniform_lengths_vary_as_whole_numbers_do(text: str, deviation: float) -> None:
    assert Lengths.parse(text).deviation == pytest.approx(deviation)
