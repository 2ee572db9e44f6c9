"""METHOD.md: what a reader needs to trust a table, and nothing that was not so."""

from __future__ import annotations

from typing import Any

import pytest

from runner.collect.journal import Timed
from runner.collect.method import method

ABOUT = {
    "platform": "local", "device": "EPYC", "library": "torch", "version": "2.13", "build": "AVX512", "python": "3.12.1",
    "threads": 4, "how": "Products are  those\nof a linear layer.",
}  # fmt: skip


def timed(at: float = 1.8e9, load: float = 0.5, outliers: int = 0, spread: float = 0.02, **answer: Any) -> Timed:
    sound = {"latency_s": 1e-3, "spread": spread, "outliers": outliers}
    return Timed({"op": "gemm"}, answer or sound, at, load)


def test_it_says_where_with_what_and_when() -> None:
    page = method(ABOUT, [timed(), timed(1.8e9 + 600)], "servecast collect ops --device cpu")
    for line in (
        "- device: EPYC (platform `local`)",
        "- kernels: torch 2.13 (AVX512) in Python 3.12.1",
        "- threads of the host: 4",
        "- command: `servecast collect ops --device cpu`",
        "- when: 2027-01-15 08:00 to 2027-01-15 08:10 (UTC)",
    ):
        assert line in page.splitlines()
    assert page.startswith("# How these times were measured\n")
    assert page.replace("\n", " ").rstrip().endswith("Products are those of a linear layer.")
    assert max(map(len, page.splitlines())) <= 120


def test_it_says_how_steady_the_times_are() -> None:
    spreads = [0.01, 0.02, 0.03, 0.04, 0.5]
    page = method(ABOUT, [timed(spread=s, load=s * 10, outliers=int(s > 0.1)) for s in spreads], "")
    assert "- measured: 5 cases; spread of the repeats: median 3.0%, 90 % of the cases below 31.6%" in page
    assert "- load average of the machine: median 0.3, at most 5.0" in page
    assert "- cases with a repeat of 1.5 medians or more: 1" in page


def test_it_says_what_was_refused_the_most_frequent_first() -> None:
    page = method(ABOUT, [timed(error="odd"), *[timed(error="no memory")] * 3, timed()], "")
    lines = [line for line in page.splitlines() if line.startswith("- refused")]
    assert lines == ["- refused, 3 cases: no memory", "- refused, 1 case: odd"]
    assert "- measured: 1 case;" in page


def test_nothing_measured_is_no_time() -> None:
    page = method(ABOUT, [timed(error="odd")], "")
    assert "when:" not in page
    assert "measured:" not in page


@pytest.mark.parametrize(("more", "said"), [({}, "the host's clock"), ({"clocks": "sm 1980 MHz"}, "CUDA graph")])
def test_it_says_whose_clock_it_was(more: dict[str, str], said: str) -> None:
    page = method({**ABOUT, **more}, [timed()], "")
    assert said in " ".join(page.split())
    assert ("clocks and power when it began: sm 1980 MHz" in page) == bool(more)
