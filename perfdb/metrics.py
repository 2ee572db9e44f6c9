"""Every metric the product speaks of: its name, unit and better direction. Seconds, bytes and tokens inside."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from perfdb.errors import UnknownNameError


class Direction(StrEnum):
    """Which way is better."""

    MAX = "max"
    MIN = "min"
    NONE = "none"


class Statistic(StrEnum):
    """Which statistic of a distribution a value is. `VALUE` is for metrics that have no distribution (a throughput)."""

    VALUE = "value"
    MEAN = "mean"
    MEDIAN = "p50"
    P75 = "p75"
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"
    MIN = "min"
    MAX = "max"
    STD = "std"


@dataclass(frozen=True, slots=True)
class Metric:
    """One measurable quantity. `name` ends in its unit where it has one of time, memory or power."""

    name: str
    unit: str
    better: Direction
    meaning: str


_ALL = (
    Metric("ttft_s", "s", Direction.MIN, "request sent to first token"),
    Metric("tpot_s", "s", Direction.MIN, "(e2e - ttft) / (output tokens - 1), per request"),
    Metric("itl_s", "s", Direction.MIN, "time between two tokens of one request"),
    Metric("e2e_s", "s", Direction.MIN, "request sent to last token"),
    Metric("e2e_per_token_s", "s", Direction.MIN, "e2e / output tokens, which some tools call TPOT"),
    Metric("output_tps", "tok/s", Direction.MAX, "output tokens per second of the whole deployment"),
    Metric("total_tps", "tok/s", Direction.MAX, "input and output tokens per second of the whole deployment"),
    Metric("input_tps", "tok/s", Direction.MAX, "input tokens per second of the whole deployment"),
    Metric("request_tps", "req/s", Direction.MAX, "completed requests per second"),
    Metric("output_tps_per_gpu", "tok/s/gpu", Direction.MAX, "output tokens per second and device"),
    Metric("total_tps_per_gpu", "tok/s/gpu", Direction.MAX, "input and output tokens per second and device"),
    Metric("input_tps_per_gpu", "tok/s/gpu", Direction.MAX, "input tokens per second and device"),
    Metric("output_tps_per_user", "tok/s/user", Direction.MAX, "1 / tpot"),
    Metric("success_rate", "fraction", Direction.MAX, "completed requests / requests sent"),
    Metric("input_tokens", "tok", Direction.NONE, "real prompt tokens per request"),
    Metric("output_tokens", "tok", Direction.NONE, "real generated tokens per request"),
    Metric("duration_s", "s", Direction.NONE, "length of the measured window"),
    Metric("server_cpu_s", "s", Direction.MIN, "CPU seconds of the server's processes in the measured window"),
    Metric("load_avg", "procs", Direction.NONE, "one-minute load average when the window ended"),
    Metric("power_w", "W", Direction.MIN, "mean electrical power of the devices"),
    Metric("memory_bytes", "B", Direction.MIN, "peak device memory; of a CPU server, resident when the window ended"),
    Metric("quality_loss", "fraction", Direction.MIN, "relative error that quantisation adds to the weights"),
    Metric("cost_per_mtok", "$/Mtok", Direction.MIN, "dollars per million output tokens"),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def metric(name: str) -> Metric:
    """Look a metric up by name.

    Raises:
        UnknownNameError: no metric has that name.
    """
    try:
        return METRICS[name]
    except KeyError:
        raise UnknownNameError.of("metric", name, METRICS) from None
