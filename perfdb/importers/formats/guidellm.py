"""The `guidellm` importer: reports of GuideLLM, as JSON (versions 1 and 2 and those before) or as CSV.

Its numbers are those of the successful requests. Its `inter_token_latency` is an average over each request, weighted by
the request's tokens: its mean is the mean time between two tokens, its percentiles are those of TPOT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow, Batch
from perfdb.importers.content import HEAD_BYTES
from perfdb.importers.documents import Record, at, has_keys, read_json, table_of
from perfdb.importers.formats.guidellm_csv import benchmarks_of, is_csv
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.loadgen import figure, normal_lengths, rate, refuse_twin, spread
from perfdb.importers.table.assemble import assemble

_RATES = {
    "request_tps": ("requests_per_second", None),
    "output_tps": ("output_tokens_per_second", ("output",)),
    "input_tps": ("prompt_tokens_per_second", ("prompt",)),
    "total_tps": ("tokens_per_second", ("prompt", "output")),
}
_SIGMAS = 3.0


def sniff(head: bytes, path: Path) -> float:
    """0.9 for a report of generative benchmarks, 0 for others."""
    if has_keys(head, (b'"guidellm_version"',)) or has_keys(head, (b'"benchmarks"', b'"generative_benchmark"')):
        return 0.9
    return 0.9 if is_csv(head) else 0.0


def records(document: Mapping[str, Any], path: Path) -> Iterator[Record | BadRow]:
    """One record per benchmark of a report; its lists of requests are left out."""
    benchmarks = document.get("benchmarks")
    if not isinstance(benchmarks, list) or not benchmarks:
        yield BadRow(0, "benchmarks", str(benchmarks)[:200], "no benchmark in the report")
        return
    for benchmark in benchmarks:
        if at(benchmark, "type_") in (None, "generative_benchmark") and isinstance(at(benchmark, "metrics"), Mapping):
            yield record(benchmark, document)
        else:
            yield BadRow(0, "type_", str(at(benchmark, "type_")), "not a generative benchmark with metrics")


def record(benchmark: Any, report: Any) -> Record:
    """The columns of one benchmark; `report` says what is common to all of them."""
    version = at(report, "metadata.guidellm_version")
    totals = at(benchmark, "metrics.request_totals", "request_totals")
    return {
        "client": f"guidellm {version}" if version else "guidellm",
        "model": at(benchmark, "config.backend.model", "benchmarker.backend.model", "worker.backend_model")
        or at(report, "config.spec.backend.model", "args.model"),
        "measured_at": at(benchmark, "start_time"),
        **_load(benchmark, figure(at(totals, "total"))),
        **_warmup(benchmark),
        **_lengths(_data(benchmark, report)),
        **_counts(totals),
        "duration_s": _seconds(benchmark),
        **_rates(benchmark, figure(at(totals, "successful"))),
        **_times(benchmark),
    }


def _load(benchmark: Any, requests: float | None) -> dict[str, Any]:
    strategy = at(benchmark, "config.strategy", "args.strategy", "scheduler.strategy")
    kind = at(strategy, "type_") or strategy
    if kind == "synchronous":
        return {"arrival": "closed", "concurrency": 1}
    if kind == "concurrent":
        return {"arrival": "closed", "concurrency": at(strategy, "streams")}
    if kind == "throughput":
        # everything at once, up to a cap that may be larger than the run
        cap = figure(at(strategy, "max_concurrency"))
        return {"arrival": "closed", "concurrency": min(cap, requests) if cap and requests else cap}
    cap = at(benchmark, "config.profile.max_concurrency", "args.profile.max_concurrency")
    if kind in ("constant", "poisson"):
        return {"arrival": kind, "request_rate": at(strategy, "rate"), "concurrency": cap}
    return {"extra.strategy": str(kind), "extra.max_concurrency": cap}


def _warmup(benchmark: Any) -> dict[str, Any]:
    """How many requests came first and do not count; where that was told as a time or a share, as it was told."""
    told = at(benchmark, "config.warmup")
    if not isinstance(told, Mapping):
        return {"warmup_requests": at(benchmark, "args.warmup_number")}
    if told.get("percent") is None and told.get("value") is None:
        return {"warmup_requests": 0}
    if told.get("mode") == "requests" and told.get("percent") is None:
        return {"warmup_requests": told.get("value")}
    return {f"extra.warmup_{name}": told.get(name) for name in ("percent", "value", "mode")}


def _data(benchmark: Any, report: Any) -> Mapping[str, Any]:
    """What the synthetic prompts were asked to be: an object, JSON, or "prompt_tokens=256,output_tokens=128"."""
    told = at(report, "config.spec.data.0", "args.data.0") or at(benchmark, "request_loader.data")
    if isinstance(told, str):
        try:
            told = json.loads(told)
        except (ValueError, RecursionError):
            pairs = (pair.split("=", 1) for pair in told.split(",") if "=" in pair)
            told = {name.strip(): _digits(text.strip()) for name, text in pairs}
    return told if isinstance(told, Mapping) else {}


def _digits(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 10 else text


def _lengths(data: Mapping[str, Any]) -> dict[str, Any]:
    prompt, answer = ([data.get(f"{kind}_tokens{part}") for part in _PARTS] for kind in ("prompt", "output"))
    told: dict[str, Any] = {"isl": prompt[0], "osl": answer[0]}
    if not _is_cut(*prompt) and not _is_cut(*answer):
        told["lengths"] = normal_lengths(prompt[0], prompt[1], answer[0], answer[1])
    scalars = {name: value for name, value in data.items() if isinstance(value, str | int | float)}
    others = {name: value for name, value in scalars.items() if name not in ("prompt_tokens", "output_tokens", "kind")}
    return {**told, **{f"extra.data.{name}": value for name, value in others.items()}}


_PARTS = ("", "_stdev", "_min", "_max")


def _is_cut(mean: Any, deviation: Any, least: Any, most: Any) -> bool:
    """Whether the limits change the distribution: without a deviation they make it another one."""
    middle, width = figure(mean), _SIGMAS * (figure(deviation) or 0.0)
    low, high = figure(least), figure(most)
    if middle is None or (low is None and high is None):
        return False
    return not width or (low is not None and low > middle - width) or (high is not None and high < middle + width)


def _counts(totals: Any) -> dict[str, Any]:
    """A request that the end of the window cut off did not fail: it counts as sent, and stands by itself."""
    completed, failed = figure(at(totals, "successful")), figure(at(totals, "errored"))
    ended = (completed or 0) + (failed or 0)
    return {
        "requests": at(totals, "total"),
        "completed": at(totals, "successful"),
        "success_rate": None if completed is None else completed / ended if ended else 0.0,
        "extra.incomplete_requests": at(totals, "incomplete"),
        "extra.errored_requests": at(totals, "errored"),
    }


def _seconds(benchmark: Any) -> float | None:
    start, end = figure(at(benchmark, "start_time")), figure(at(benchmark, "end_time"))
    window = end - start if start is not None and end is not None else None
    return figure(at(benchmark, "duration")) or window


def _rates(benchmark: Any, completed: float | None) -> dict[str, Any]:
    told: dict[str, Any] = {}
    seconds = _seconds(benchmark)
    for metric, (name, kinds) in _RATES.items():
        means = [figure(at(benchmark, f"metrics.{kind}_token_count.successful.mean")) for kind in kinds or ()]
        each = 1.0 if kinds is None else sum(mean for mean in means if mean is not None)
        count = completed * each if completed is not None and None not in means else None
        told |= rate(metric, name, at(benchmark, f"metrics.{name}.successful.mean"), count, seconds)
    return told


def _times(benchmark: Any) -> dict[str, Any]:
    ttft, itl, tpot, e2e, prompt, answer = (
        _statistics(at(benchmark, f"metrics.{name}.successful"))
        for name in (
            "time_to_first_token_ms",
            "inter_token_latency_ms",
            "time_per_output_token_ms",
            "request_latency",
            "prompt_token_count",
            "output_token_count",
        )
    )
    return {
        **spread("ttft", "ms", ttft),
        **spread("e2e", "s", e2e),
        **spread("input_tokens", "", prompt),
        **spread("output_tokens", "", answer),
        **spread("itl", "ms", {"mean": itl.pop("mean", None)}),
        **spread("tpot", "ms", itl),
        **_per_token(tpot, answer.get("mean"), e2e.get("mean"), ttft.get("mean")),
    }


def _statistics(told: Any) -> dict[str, Any]:
    percentiles = at(told, "percentiles")
    return {**(told if isinstance(told, Mapping) else {}), **(percentiles if isinstance(percentiles, Mapping) else {})}


def _per_token(tpot: Mapping[str, Any], tokens: Any, e2e_s: Any, ttft_ms: Any) -> dict[str, Any]:
    """What GuideLLM calls TPOT is e2e / n; its first versions left the TTFT out and still divided by n: a third thing.

    Which of both it is, the means tell: the times of all tokens together are those of the requests.
    """
    mean, count, whole, first = (figure(value) for value in (tpot.get("mean"), tokens, e2e_s, ttft_ms))
    if mean is None or count is None or whole is None or first is None:
        return {"extra.time_per_output_token_ms": tpot.get("mean")}
    spent = mean * count / 1e3
    if abs(spent - whole) > abs(spent - (whole - first / 1e3)):
        return {"extra.time_per_output_token_ms": mean}
    seconds = {name: value / 1e3 for name in tpot if (value := figure(tpot[name])) is not None}
    return {name.replace(" ", "_") + "_s": value for name, value in spread("e2e_per_token", "", seconds).items()}


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with all benchmarks of the report.

    Raises:
        FileError: it is not complete, holds no benchmark, or is a CSV with the JSON of the same report beside it.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not is_csv(head):
        yield from read_json(path, settings, records)
        return
    refuse_twin(path, sniff)
    found = (each if isinstance(each, BadRow) else record(each, each) for each in benchmarks_of(path))
    yield assemble(table_of(found, path), settings)


IMPORTER = Importer("guidellm", 1, sniff, read, "report of GuideLLM, JSON or CSV")
