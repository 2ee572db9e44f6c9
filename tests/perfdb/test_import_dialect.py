"""Column names of public benchmark files, and what each means."""

from __future__ import annotations

import pytest

from perfdb.errors import UnknownNameError
from perfdb.importers.table.dialect import meaning
from perfdb.importers.table.fields import Kind, field_meaning, parameter_of
from perfdb.metrics import METRICS, Statistic


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Hardware", "platform"),
        ("gpu_type", "platform"),
        ("Num of Hardware", "devices"),
        ("nrGPUs", "devices"),
        ("a#", "devices"),
        ("Framework", "engine"),
        ("UsedModel", "model"),
        ("model_id", "model"),
        ("Batch Size", "batch_size"),
        ("batchSize", "batch_size"),
        ("max_concurrency", "concurrency"),
        ("num_users", "concurrency"),
        ("request_rate", "request_rate"),
        ("prompt_size", "isl"),
        ("CTX", "isl"),
        ("token_size", "osl"),
        ("random_output_len", "osl"),
        ("num_prompts", "requests"),
        ("date", "measured_at"),
    ],
)
def test_context_columns(header: str, name: str) -> None:
    found = meaning(header)
    assert found is not None
    assert (found.kind, found.name) == (Kind.CONTEXT, name)


@pytest.mark.parametrize(
    ("header", "metric", "statistic", "unit"),
    [
        ("Mean TTFT (ms)", "ttft_s", "mean", "ms"),
        ("median_ttft", "ttft_s", "p50", ""),
        ("prompt_time", "ttft_s", "value", "ms"),
        ("token_time", "tpot_s", "value", "ms"),
        ("stats.ttft.p50", "ttft_s", "p50", ""),
        ("Mean First Token latency (ns)", "ttft_s", "mean", "ns"),
        ("Mean Time to Output Token (ns)", "tpot_s", "mean", "ns"),
        ("p99_tpot_ms", "tpot_s", "p99", "ms"),
        ("mean_itl_ms", "itl_s", "mean", "ms"),
        ("inter_token_latency", "itl_s", "value", ""),
        ("mean_e2e_latency_ms", "e2e_s", "mean", "ms"),
        ("p90_e2el_ms", "e2e_s", "p90", "ms"),
        ("Latency", "e2e_s", "value", ""),
        ("elapsed_time", "e2e_s", "value", ""),
        ("output_throughput", "output_tps", "value", ""),
        ("Output token throughput (tok/s)", "output_tps", "value", "tok/s"),
        ("Total Token throughput (tok/s)", "total_tps", "value", "tok/s"),
        ("total_throughput", "total_tps", "value", ""),
        ("requests_per_minute", "request_tps", "value", "req/min"),
        ("mean_output_throughput_tokens_per_s", "output_tps", "mean", "tok/s"),
        ("std_ttft_ms", "ttft_s", "std", "ms"),
        ("power_mw", "power_w", "value", "mW"),
        ("ttftMs", "ttft_s", "value", "ms"),
    ],
)
def test_metric_columns(header: str, metric: str, statistic: str, unit: str) -> None:
    found = meaning(header)
    assert found is not None
    assert (found.kind, found.name, str(found.statistic), found.unit) == (Kind.METRIC, metric, statistic, unit)


def test_the_four_loads_and_n_batch_stay_apart() -> None:
    """Static batch, client concurrency, request rate, server cap: four fields; n_batch is none of them."""
    names = ["Batch Size", "max_concurrency", "request_rate", "max_num_seqs", "n_batch"]
    found = [meaning(name) for name in names]
    assert len({each.name for each in found if each}) == 5
    assert [each.kind for each in found if each][3:] == [Kind.CONFIG, Kind.CONFIG]


@pytest.mark.parametrize("header", ["Throughput", "tokens_per_second", "throughput_tok_s"])
def test_a_plain_throughput_stays_undecided(header: str) -> None:
    found = meaning(header)
    assert found is not None
    assert (found.kind, found.name) == (Kind.HELPER, "throughput")


@pytest.mark.parametrize(
    "header", ["p50", "usd_per_hr", "tok_per_usd", "filename", "seed", "tokens_per_hr", "time_us", ""]
)
def test_unknown_names_are_not_guessed(header: str) -> None:
    assert meaning(header) is None


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_our_own_names_can_be_read_again(metric: str) -> None:
    found = meaning(f"{metric}:p99")
    assert found is not None
    assert (found.name, found.statistic) == (metric, Statistic.P99)
    # a rate or a count has one unit only, so that it may go unsaid
    assert found.unit in (
        {"", METRICS[metric].unit} if METRICS[metric].unit not in {"s", "B", "W"} else {METRICS[metric].unit}
    )


def test_fields_by_name() -> None:
    assert field_meaning("hardware", "x").name == "platform"
    assert field_meaning("tp", "x").kind is Kind.CONFIG
    assert field_meaning("config.rope", "x").name == "rope"
    assert field_meaning("p99_ttft_s", "x").statistic is Statistic.P99


def test_a_bad_field_lists_the_right_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean concurrency") as caught:
        field_meaning("concurency", "field of --set")
    assert "tensor_parallel_size" in str(caught.value)


def test_parameters_take_the_engines_own_name() -> None:
    assert parameter_of("vllm", "tp") == "tensor_parallel_size"
    assert parameter_of("sglang", "max_num_seqs") == "max_running_requests"
    assert parameter_of(None, "tp") == "tp"
    assert parameter_of("vllm", "n_batch") == "max_num_batched_tokens"
