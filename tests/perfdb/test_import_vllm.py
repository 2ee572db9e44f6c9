"""Results of `vllm bench serve`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from perfdb.batch import Batch
from perfdb.metrics import Statistic

Read = Callable[..., Batch]
VALUE, MEAN, P50 = Statistic.VALUE, Statistic.MEAN, Statistic.MEDIAN


def said(batch: Batch, *words: str) -> bool:
    return any(all(word in text for word in words) for text in batch.warnings)


RUN = {
    "date": "20260216-144038", "backend": "vllm", "model_id": "Qwen/Qwen3-8B", "tokenizer_id": "Qwen/Qwen3-8B",
    "num_prompts": 160, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 16, "duration": 202.5,
    "completed": 160, "total_input_tokens": 163840, "total_output_tokens": 20480, "request_throughput": 0.79,
    "output_throughput": 101.1, "total_token_throughput": 910.2, "mean_ttft_ms": 748.0, "median_ttft_ms": 700.0,
    "p99_ttft_ms": 2787.0, "mean_tpot_ms": 60.2, "ttfts": [0.1, 0.2], "generated_texts": ["hf_abcdefgh12345678"],
}  # fmt: skip


def test_vllm_json(read_json: Read) -> None:
    batch = read_json(RUN)
    context = {name: column[0] for name, column in batch.context.items()}
    assert (context["model"], context["engine"], context["client"]) == ("Qwen/Qwen3-8B", "vllm", "vllm bench serve")
    assert (context["arrival"], context["concurrency"], context["requests"]) == ("closed", 16, 160)
    assert context["measured_at"] == "2026-02-16T14:40:38"
    assert batch.values[("ttft_s", P50)][0] == pytest.approx(0.7)
    assert batch.values[("output_tps", VALUE)][0] == 101.1
    assert batch.values[("total_tps", VALUE)][0] == 910.2
    assert batch.values[("input_tokens", MEAN)][0] == 1024
    assert "hf_abc" not in context["extra"]


def test_vllm_json_in_seconds_without_suffix(read_json: Read) -> None:
    """The InferenceX flavour: median_ttft is in seconds."""
    run = {name: value for name, value in RUN.items() if not name.endswith("_ms") and name != "backend"}
    run |= {"median_ttft": 7.48, "median_e2el": 19.16, "median_tpot": 0.0602}
    batch = read_json(run, engine="vllm", tp="8")
    assert batch.values[("ttft_s", P50)][0] == 7.48
    assert batch.values[("e2e_s", P50)][0] == 19.16
    assert batch.context["devices"][0] == 8


def test_vllm_json_list_and_appended(read_json: Read) -> None:
    assert read_json([RUN, RUN]).rows.tolist() == [1, 2]
    assert read_json(json.dumps(RUN) + "\n" + json.dumps(RUN)).rows.tolist() == [1, 2]


def test_vllm_json_with_another_backend_says_that_the_engine_is_unknown(read_json: Read) -> None:
    batch = read_json(RUN | {"backend": "openai-chat"})
    assert "engine" not in batch.context
    assert said(batch, "engine is not said")
    assert json.loads(batch.context["extra"][0])["client_backend"] == "openai-chat"


def test_vllm_json_with_nan_of_a_failed_run(read_json: Read) -> None:
    """T9: the means of nothing are NaN."""
    batch = read_json(
        RUN | {"completed": 0, "mean_ttft_ms": float("nan"), "median_ttft_ms": 0.0, "output_throughput": 0.0}
    )
    assert batch.context["outcome"].tolist() == ["invalid"]
    assert not batch.bad


def test_poisson_and_bursty_arrivals(read_json: Read) -> None:
    batch = read_json([RUN | {"request_rate": 4.0}, RUN | {"request_rate": 4.0, "burstiness": 0.5}])
    assert batch.context["arrival"].tolist() == ["poisson", None]
    assert batch.context["request_rate"].tolist() == [4, 4]
