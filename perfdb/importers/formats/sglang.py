"""The `sglang` importer: results of `sglang.bench_serving`, one JSON object per line and run, old schema and new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.importers.documents import Record, at, has_keys, json_format
from perfdb.importers.loadgen import figure

_KEYS = (b'"total_output_tokens_retokenized"', b'"completed"', b'"request_rate"')
_ENGINES = {"sglang": "sglang", "vllm": "vllm", "lmdeploy": "lmdeploy", "trt": "trtllm"}
_MEASURED = frozenset({
    "duration", "completed", "total_input_tokens", "total_output_tokens", "request_throughput", "input_throughput",
    "output_throughput", "total_throughput",
})  # fmt: skip
_LOAD = frozenset({
    "backend", "request_rate", "max_concurrency", "concurrency", "random_input_len", "random_output_len",
    "random_range_ratio", "sharegpt_output_len",
})  # fmt: skip
_SERVER = (
    "tp_size", "pp_size", "dp_size", "ep_size", "enable_dp_attention", "mem_fraction_static", "max_running_requests",
    "max_total_tokens", "chunked_prefill_size", "max_prefill_tokens", "schedule_policy", "schedule_conservativeness",
    "page_size", "dtype", "quantization", "kv_cache_dtype", "context_length", "attention_backend",
    "moe_runner_backend", "moe_a2a_backend", "disable_radix_cache", "disable_overlap_schedule",
    "disable_cuda_graph", "cuda_graph_max_bs", "enable_mixed_chunk", "enable_torch_compile",
    "num_continuous_decode_steps", "speculative_algorithm", "speculative_num_steps", "speculative_eagle_topk",
    "speculative_num_draft_tokens",
)  # fmt: skip
"""The server's arguments that change its speed. It tells some three hundred, keys and addresses among them."""
_INFINITE = 1e6


def sniff(head: bytes, path: Path) -> float:
    """0.9 for JSON with the keys that only `sglang.bench_serving` writes together, else 0."""
    return 0.9 if has_keys(head, _KEYS) else 0.0


def records(document: Mapping[str, Any], path: Path) -> Iterator[Record]:
    """One record per run; the lists of --output-details are counted and left out."""
    run = {name: value for name, value in document.items() if not isinstance(value, Mapping | list)}
    measured = {name: value for name, value in run.items() if name in _MEASURED or name.endswith("_ms")}
    others = {f"extra.{name}": run[name] for name in run if name not in measured and name not in _LOAD}
    errors = document.get("errors")
    yield {
        "client": "sglang.bench_serving",
        "requests": len(errors) if isinstance(errors, list) else None,
        # the mean of what was in flight, not a cap
        "extra.measured_concurrency": run.get("concurrency"),
        **_engine(run.get("backend")),
        **_load(run),
        **_lengths(run),
        **_server(document.get("server_info")),
        **measured,
        **others,
    }


def _engine(backend: Any) -> dict[str, Any]:
    """ "sglang-oai-chat" is SGLang over another protocol; the backends that name no engine are protocols only."""
    engine = _ENGINES.get(str(backend).split("-")[0])
    return {"engine": engine, "extra.backend": None if backend == engine else backend}


def _load(run: Mapping[str, Any]) -> dict[str, Any]:
    rate, cap = run.get("request_rate"), run.get("max_concurrency")
    if rate == "trace" or run.get("dataset_name") == "mooncake":
        return {"extra.arrival": "trace", "extra.max_concurrency": cap}
    is_burst = rate == "inf" or (isinstance(rate, int | float) and rate >= _INFINITE)
    if is_burst and cap is None:
        # all at once and no cap: those that completed were all in flight (how many were sent is not told)
        return {"request_rate": rate, "concurrency": run.get("completed") or None}
    return {"request_rate": rate, "concurrency": cap}


def _lengths(run: Mapping[str, Any]) -> dict[str, Any]:
    """Nominal lengths: only of the datasets that use them, for the options are written down for every dataset."""
    dataset = str(run.get("dataset_name", "random"))
    if dataset == "sharegpt":
        return {"osl": run.get("sharegpt_output_len")}
    isl, osl, ratio = (figure(run.get(f"random_{name}")) for name in ("input_len", "output_len", "range_ratio"))
    if not dataset.startswith("random") or not isl or not osl or ratio is None or not 0 <= ratio <= 1:
        return {}
    asked = {f"extra.{name}": run[name] for name in ("random_input_len", "random_output_len", "random_range_ratio")}
    least = [max(int(length * ratio), 1) for length in (isl, osl)]
    if least == [isl, osl]:
        return {"lengths": f"D({isl:.12g},{osl:.12g})", **asked}
    return {"lengths": f"U({least[0]},{isl:.12g})/({least[1]},{osl:.12g})", **asked}


def _server(info: Any) -> dict[str, Any]:
    """The model, the version and the arguments of the server; of a disaggregated one those of its decoders."""
    decoder = at(info, "decode.0")
    server = info if decoder is None else decoder
    told = {name: at(server, name, f"server_args.{name}") for name in _SERVER}
    return {
        "model": at(server, "model_path", "served_model_name", "server_args.model_path"),
        "engine_version": at(server, "version"),
        "devices": _devices(told) if decoder is None else None,
        **{f"config.{name}": value for name, value in told.items() if decoder is None},
    }


def _devices(told: Mapping[str, Any]) -> float | None:
    tp, pp, dp = (figure(told[f"{role}_size"]) for role in ("tp", "pp", "dp"))
    if tp is None:
        return None
    # with DP attention the replicas share the tensor-parallel devices
    return tp * (pp or 1) * (1 if told["enable_dp_attention"] else dp or 1)


IMPORTER = json_format("sglang", 1, "JSON lines of `sglang.bench_serving`", sniff, records, lines=True)
