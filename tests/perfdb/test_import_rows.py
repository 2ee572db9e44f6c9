"""Rows that cannot be true, rows that are odd, and where parameters go."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.metrics import Statistic

Read = Callable[..., Batch]
VALUE, MEAN, P50 = Statistic.VALUE, Statistic.MEAN, Statistic.MEDIAN


def extra(batch: Batch, row: int = 0) -> dict[str, Any]:
    return json.loads(batch.context["extra"][row] or "{}")


def said(batch: Batch, *words: str) -> bool:
    return any(all(word in text for word in words) for text in batch.warnings)


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_other_delimiters_under_the_name_csv(read: Read, delimiter: str) -> None:
    text = "tp,mean_ttft_ms\n1,50\n2,60\n".replace(",", delimiter)
    assert read(text).values[("ttft_s", MEAN)].tolist() == [0.05, 0.06]


def test_thousands_commas(read: Read) -> None:
    assert read('tp,output_throughput\n1,"1,234.5"\n').values[("output_tps", VALUE)][0] == 1234.5


@pytest.mark.parametrize(
    ("header", "cells", "column", "reason"),
    [
        ("tp,mean_ttft_ms", "1,-5", "mean_ttft_ms", "negative"),
        ("tp,mean_ttft_ms", "1,nan", "mean_ttft_ms", "NaN"),
        ("tp,mean_ttft_ms", "1,inf", "mean_ttft_ms", "infinite"),
        ("tp,mean_ttft_ms", "1,fast", "mean_ttft_ms", "text where a number belongs"),
        ("tp,mean_ttft_ms", "1,=1+1", "mean_ttft_ms", "text where a number belongs"),
        ("tp,mean_ttft_ms", "1,1e300", "mean_ttft_ms", "above"),
        ("mean_ttft_ms,mean_e2el_ms", "900,800", "mean_ttft_ms", "TTFT above end-to-end"),
        ("median_ttft_ms,p99_ttft_ms", "90,80", "median_ttft_ms", "p50 above p99"),
        ("output_throughput,total_token_throughput", "90,80", "output_throughput", "above total"),
        ("mean_e2el_ms,duration", "9000,8", "mean_e2el_ms", "above the duration"),
        ("num_prompts,completed,mean_ttft_ms", "10,11,5", "completed", "more requests"),
        ("concurrency,mean_ttft_ms", "2.5,50", "concurrency", "not a whole number"),
        ("concurrency,mean_ttft_ms", "-2,50", "concurrency", "negative"),
        ("num_gpus,mean_ttft_ms", "0,50", "num_gpus", "zero devices"),
        ("isl,mean_ttft_ms", "-1,50", "isl", "negative"),
        ("min_ttft_ms,mean_ttft_ms,max_ttft_ms", "50,40,60", "mean_ttft_ms", "outside min and max"),
    ],
)
def test_what_cannot_be_true_is_set_aside(read: Read, header: str, cells: str, column: str, reason: str) -> None:
    batch = read(f"{header}\n{cells}\n")
    assert len(batch.rows) == 0
    assert batch.bad[0].row == 1
    assert batch.bad[0].column == column
    assert reason in batch.bad[0].reason
    assert batch.bad[0].value in cells.split(",")


def test_what_is_only_odd_is_said(read: Read) -> None:
    batch = read("concurrency,mean_tpot_ms,output_throughput\n4,10,900\n")
    assert len(batch.rows) == 1
    assert said(batch, "1.5 × concurrency / TPOT")


def test_parameters_go_to_the_config_and_the_rest_to_extra(read: Read) -> None:
    header = "tp,max-num-seqs,enable_chunked_prefill,kv_cache_dtype,seed,mean_ttft_ms"
    batch = read(f"{header}\n2,256,TRUE,fp8,7,50\n")
    assert json.loads(batch.context["config"][0]) == {
        "tensor_parallel_size": 2, "max_num_seqs": 256, "enable_chunked_prefill": True, "kv_cache_dtype": "fp8"
    }  # fmt: skip
    assert extra(batch) == {"seed": 7}
    assert batch.context["devices"][0] == 2


def test_row_a_throughput_of_unknown_kind_alone_is_no_result(read: Read) -> None:
    batch = read("concurrency,throughput,mean_ttft_ms\n4,950,\n8,1700,50\n")
    assert [(bad.row, bad.column, bad.value) for bad in batch.bad] == [(1, "throughput", "950")]
    assert "output, total or request" in batch.bad[0].reason


def flags(batch: Batch, row: int = 0) -> list[str]:
    return extra(batch, row).get("import", {}).get("flags", [])


def test_row_flags_stay_with_their_rows(read: Read) -> None:
    batch = read("concurrency,mean_tpot_ms,output_throughput\n4,10,900\n4,10,300\n")
    assert flags(batch, 0) == ["output throughput above 1.5 × concurrency / TPOT"]
    assert batch.context["extra"][1] is None
    assert said(batch, "1.5 × concurrency / TPOT in 1 row (first: row 1)")


def test_row_throughput_beyond_all_doubt_is_set_aside(read: Read) -> None:
    """At a closed loop, with tokens that were counted: the speed of each user bounds the whole."""
    header = "concurrency,completed,total_output_tokens,mean_tpot_ms,output_throughput\n"
    batch = read(header + "4,10,1000,10,1300\n4,10,1000,10,1100\n")
    assert [(bad.row, bad.column, bad.value) for bad in batch.bad] == [(1, "output_throughput", "1300")]
    assert "above 3 × concurrency / TPOT" in batch.bad[0].reason
    assert flags(batch) == ["output throughput above 1.5 × concurrency / TPOT"]


def test_row_nominal_tokens_leave_a_doubt(read: Read) -> None:
    batch = read("concurrency,mean_tpot_ms,output_throughput\n4,10,1300\n")
    assert not batch.bad
    assert flags(batch)


def test_row_end_to_end_is_the_first_token_and_the_others(read: Read) -> None:
    header = "osl,mean_ttft_ms,mean_tpot_ms,mean_e2el_ms\n"
    batch = read(header + "101,100,10,1100\n101,100,10,4000\n101,100,10,350\n")
    reason = ["end-to-end latency more than 3x off TTFT + (output tokens - 1) × TPOT"]
    assert [flags(batch, row) for row in range(3)] == [[], reason, reason]


def test_row_typos_are_flagged_where_they_are(read: Read) -> None:
    batch = read("batch_size,mean_ttft_ms\n" + "".join(f"{b},50\n" for b in (64, 128, 256, 512, 1028)))
    assert flags(batch, 4) == ["column 'batch_size': 1028 looks like a typo of 1024"]
    assert flags(batch, 0) == []


def test_row_a_latency_without_its_statistic_is_not_taken_for_another(read: Read) -> None:
    batch = read("TTFT (ms),Median TTFT (ms)\n60,50\n70,55\n")
    assert batch.values[("ttft_s", VALUE)].tolist() == [0.06, 0.07]
    assert ("ttft_s", MEAN) not in batch.values
    assert said(batch, "'TTFT (ms)' does not say its statistic", "'Median TTFT (ms)'", "--map")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("concurrency,ttft_ms\n8,60\n1,50\n", True),
        ("ttft_ms\n60\n", True),
        ("concurrency,mean_ttft_ms\n8,60\n", False),
        ("concurrency,ttft_ms,output_tps\n1,60,50\n8,,400\n", False),
        ("batch_size,latency_s\n1,3\n", False),
    ],
    ids=["of several requests", "of who knows how many", "a mean", "of one request", "of one batch of one"],
)
def test_row_a_latency_of_several_requests_without_its_statistic_is_told(read: Read, text: str, told: bool) -> None:
    batch = read(text)
    assert (
        said(batch, "does not say its statistic: stored as 'value', and read as the mean where there is none") == told
    )


def test_row_a_latency_that_repeats_another_is_that_one(read: Read) -> None:
    batch = read("TTFT (ms),Median TTFT (ms),P99 TTFT (ms)\n50,50,90\n55,55,95\n")
    assert set(batch.values) == {("ttft_s", P50), ("ttft_s", Statistic.P99)}
    assert not said(batch, "statistic")
