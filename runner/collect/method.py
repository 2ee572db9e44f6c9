"""How a table was measured, in words, beside it."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from perfdb.quality import counted
from runner.collect.journal import Timed
from runner.collect.worker.main import LEAST_S, REPEATS, STRAYING

_MOST_REASONS = 20
_WIDTH = 120


def method(about: Mapping[str, Any], timed: Sequence[Timed], command: str) -> str:
    """A page of Markdown."""
    rules = textwrap.fill(" ".join(_rules(about).split()), _WIDTH)
    return "\n".join(["# How these times were measured", "", *_facts(about, timed, command), "", rules, ""])


def _facts(about: Mapping[str, Any], timed: Sequence[Timed], command: str) -> Iterator[str]:
    sound = [each for each in timed if each.error is None and not each.is_busy]
    yield f"- device: {about['device']} (platform `{about['platform']}`)"
    yield f"- kernels: {about['library']} {about['version']} ({about['build']}) in Python {about['python']}"
    yield f"- threads of the host: {about['threads']}"
    if about.get("clocks"):
        yield f"- clocks and power when it began: {about['clocks']}"
    yield f"- command: `{command}`"
    if sound:
        times = [each.measured_at for each in sound]
        yield f"- when: {_utc(min(times))} to {_utc(max(times))} (UTC)"
        loads = [each.load for each in sound]
        yield f"- load average of the machine: median {np.median(loads):.1f}, at most {max(loads):.1f}"
        yield f"- measured: {counted(len(sound), 'case')}; {spread_text([each.spread for each in sound])}"
        outliers = sum(bool(each.answer["outliers"]) for each in sound)
        yield f"- cases with a repeat of 1.5 medians or more: {outliers}"
    busy = sum(each.is_busy for each in timed)
    if busy:
        yield f"- left out, as the machine had other work: {counted(busy, 'case')}"
    refused = Counter(each.error for each in timed if each.error is not None)
    for reason, count in refused.most_common(_MOST_REASONS):
        yield f"- refused, {counted(count, 'case')}: {reason}"


def spread_text(spreads: Sequence[float]) -> str:
    """The spread of the repeats over all cases."""
    low, high = np.quantile(spreads, [0.5, 0.9])
    return f"spread of the repeats: median {low:.1%}, 90 % of the cases below {high:.1%}"


def _rules(about: Mapping[str, Any]) -> str:
    by = "CUDA events around replays of a CUDA graph" if "clocks" in about else "the host's clock"
    return f"""
        A time is the median of {REPEATS} repeats, or of twice as many where they stray by more than {STRAYING:.0%}.
        Such a case, and one whose threads waited for a core for more than {STRAYING:.0%} of the time, is measured once
        more at the end; the steadier times are kept, and those that waited are left out of the table. A repeat is as
        many executions as take {LEAST_S * 1e3:.0f} ms, after the first one and those that find how many that are; it is
        timed by {by}.
        `spread` is standard deviation over mean of the repeats. Operands are copied until the copies are twice as large
        as the last cache, 129 at most, and used in turn, so that weights and cached keys come from memory.
        {about["how"]}"""


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
