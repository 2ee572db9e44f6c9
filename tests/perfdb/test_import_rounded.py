"""Rates that were printed with two digits, and labels that become one platform."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perfdb.batch import Batch
from perfdb.metrics import Statistic

Read = Callable[..., Batch]
VALUE = Statistic.VALUE
HEAD = (
    "completed,duration_s,total_input_tokens,total_output_tokens,request_throughput (req/s),output_throughput (tok/s)\n"
)


def said(batch: Batch, *words: str) -> bool:
    return any(all(word in text for word in words) for text in batch.warnings)


def test_a_rate_rounded_to_two_digits_is_counted_again(read: Read) -> None:
    """0.01 was 0.0136, and 0.00 was 0.0013: neither is a measurement of that size, nor missing."""
    batch = read(HEAD + "1,73.37,32000,92,0.01,1.25\n1,748.82,128000,150,0.00,0.20\n4,5.42,320,288,0.74,53.18\n")
    rates = batch.values[("request_tps", VALUE)]
    assert rates.tolist() == pytest.approx([1 / 73.37, 1 / 748.82, 0.74])
    assert batch.values[("output_tps", VALUE)].tolist() == [1.25, 0.2, 53.18]
    assert said(batch, "request_throughput", "rounded to 2 digits", "in 2 rows")
    assert not said(batch, "zeros")


def test_a_rate_that_is_no_rounding_stays(read: Read) -> None:
    """More digits, or farther off than rounding goes: the file means it."""
    batch = read(HEAD + "1,73.37,32000,92,0.0123,1.25\n1,73.37,32000,92,0.05,1.25\n")
    assert batch.values[("request_tps", VALUE)].tolist() == [0.0123, 0.05]
    assert not said(batch, "rounded")


def test_without_a_window_nothing_is_counted(read: Read) -> None:
    batch = read("completed,request_throughput (req/s),mean_ttft_ms\n1,0.01,5\n")
    assert batch.values[("request_tps", VALUE)].tolist() == [0.01]


def test_requests_per_minute_are_not_compared_with_seconds(read: Read) -> None:
    batch = read("completed,duration_s,requests_per_minute\n1,120,0.5\n")
    assert batch.values[("request_tps", VALUE)].tolist() == pytest.approx([0.5 / 60])


def test_labels_that_become_one_platform_are_kept(read: Read) -> None:
    """T15: they may mean two things after all, such as one of a card's two tiles."""
    text = "gpu,mean_ttft_ms\nIntel Max 1550,5\nIntel PVC GPU,50\nA10,7\nnvidia a10,8\n"
    batch = read("model,engine," + text.replace("\n", "\nm,vllm,")[: -len("m,vllm,")], bare=True)
    assert batch.context["platform"].tolist() == ["max_1550", "max_1550", "a10", "a10"]
    assert ["hardware_label" in (extra or "") for extra in batch.context["extra"]][:2] == [True, True]
    assert said(batch, "several labels are one platform", "Intel Max 1550", "Intel PVC GPU")


def test_one_label_in_two_spellings_is_one(read: Read) -> None:
    batch = read("model,engine,gpu,mean_ttft_ms\nm,vllm,RTX 4090,5\nm,vllm,rtx-4090,6\n", bare=True)
    assert batch.context["platform"].tolist() == ["rtx_4090", "rtx_4090"]
    assert not said(batch, "several labels")
