"""Traps T13 to T23, rows that cannot be true, and where parameters go."""

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


def test_t13_nominal_and_real_lengths_stand_side_by_side(read: Read) -> None:
    batch = read("isl,osl,completed,total_input_tokens,total_output_tokens,mean_ttft_ms\n1024,128,10,5060,610,50\n")
    assert (batch.context["isl"][0], batch.context["osl"][0]) == (1024, 128)
    assert batch.values[("input_tokens", MEAN)][0] == 506
    assert batch.values[("output_tokens", MEAN)][0] == 61


def test_t15_a_hidden_factor_is_said(read: Read) -> None:
    rows = "".join(f"{c},{t * f},{host}\n" for c, t in ((1, 50), (2, 60)) for f, host in ((1, "a"), (3.4, "b")))
    batch = read("concurrency,mean_ttft_ms,host\n" + rows)
    assert said(batch, "hidden factor", "3.4x", "host")
    assert len(batch.rows) == 4


def test_t15_repeats_close_together_are_no_conflict(read: Read) -> None:
    assert not said(read("concurrency,mean_ttft_ms\n1,50\n1,51\n1,52\n"), "hidden factor")


def test_t16_what_the_user_says_wins_over_a_lying_column(read: Read) -> None:
    batch = read("model_id,mean_ttft_ms\nllama-7b,50\nllama-7b,60\n", model="Qwen/Qwen3-8B")
    assert set(batch.context["model"]) == {"Qwen/Qwen3-8B"}
    assert said(batch, "model_id", "2 rows", "--set was taken")


def test_t18_trailing_blanks_and_packed_hardware(read: Read) -> None:
    batch = read("gpu,mean_ttft_ms\n8xMi300x 1FP8-amd ,50\n8xMi300x 1FP8-amd,60\n", bare=True)
    assert set(batch.context["platform"]) == {"mi300x"}
    assert extra(batch, 0)["hardware_label"] == extra(batch, 1)["hardware_label"] == "8xMi300x 1FP8-amd"


def test_t18_unknown_names_are_stored_and_said_once(read: Read) -> None:
    batch = read("model,gpu,mean_ttft_ms\nacme/x,Abacus,50\nacme/x,Abacus,60\n", bare=True)
    assert set(batch.context["model"]) == {"acme/x"}
    assert set(batch.context["platform"]) == {"Abacus"}
    assert sum("acme/x" in text for text in batch.warnings) == 1
    assert said(batch, "'acme/x' (2 rows)")


def test_t18_ambiguous_hardware_is_said(read: Read) -> None:
    assert said(read("gpu,mean_ttft_ms\nNvidia A100 GPU,50\n", bare=True), "a100_sxm_80gb", "a100_sxm_40gb")


def test_t19_a_typo_is_flagged(read: Read) -> None:
    rows = "".join(f"{b},50\n" for b in (64, 128, 256, 512, 1028))
    batch = read("batch_size,mean_ttft_ms\n" + rows)
    assert said(batch, "1028", "typo of 1024")
    assert batch.context["batch_size"][-1] == 1028


def test_t20_byte_order_mark_index_and_slipped_header(read: Read) -> None:
    text = "\ufeff,tp,,median_ttft_ms,note,mean_ttft_ms\n0,1,60,50,a,\n1,2,70,55,b,\n"
    batch = read(text)
    assert batch.values[("ttft_s", MEAN)].tolist() == [0.06, 0.07]
    assert batch.values[("ttft_s", P50)].tolist() == [0.05, 0.055]
    assert set(extra(batch)) == {"note"}
    assert said(batch, "column 3 has no name", "mean_ttft_ms")


def test_t20_a_nameless_column_is_kept_under_its_number(read: Read) -> None:
    batch = read("tp,mean_ttft_ms,\n1,50,x\n2,60,y\n")
    assert extra(batch)["column 3"] == "x"


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_other_delimiters_under_the_name_csv(read: Read, delimiter: str) -> None:
    text = "tp,mean_ttft_ms\n1,50\n2,60\n".replace(",", delimiter)
    assert read(text).values[("ttft_s", MEAN)].tolist() == [0.05, 0.06]


def test_thousands_commas(read: Read) -> None:
    assert read('tp,output_throughput\n1,"1,234.5"\n').values[("output_tps", VALUE)][0] == 1234.5


def test_t22_secrets_are_redacted_everywhere(read: Read) -> None:
    text = (
        "cmd,api_key,host,client,mean_ttft_ms\n"
        "bench --api_key abcdef123456 --model m,zzzsecretzzz,https://joe:hunter22@h/x,run sk-abcdefgh12345678,50\n"
        "bench --api-key=abcdef123456,zzzsecretzzz,Bearer abcdef123456,hf_abcdefgh12345678,hf_abcdefgh12345678\n"
    )
    batch = read(text)
    everything = repr([column.tolist() for column in batch.context.values()]) + repr(batch.bad) + repr(batch.warnings)
    for secret in ("abcdef123456", "zzzsecretzzz", "hunter22", "sk-abcdefgh", "hf_abcdefgh"):
        assert secret not in everything
    assert "[redacted]" in everything
    assert "--model m" in everything


def test_t23_the_origin_can_be_said(read: Read) -> None:
    batch = read("tp,mean_ttft_ms\n1,50\n", origin="simulated")
    assert batch.context["origin"].tolist() == ["simulated"]


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
