"""The CSV of GuideLLM as the objects of its JSON: three header lines (group, field, statistic), or one in old files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow
from perfdb.errors import FileError
from perfdb.importers.documents import at
from perfdb.importers.loadgen import csv_rows
from perfdb.importers.table.cells import number

_THREE, _ONE = b"Run Info,Run Info,", b"Type,Run Id,Id,Name,"
_METRICS = {
    ("Request Latency", "Sec"): "request_latency",
    ("Time to First Token", "ms"): "time_to_first_token_ms",
    ("Time per Output Token", "ms"): "time_per_output_token_ms",
    ("Inter Token Latency", "ms"): "inter_token_latency_ms",
    ("Server Throughput", "Requests/Sec"): "requests_per_second",
    ("Token Metrics", "Input Tokens"): "prompt_token_count",
    ("Token Metrics", "Output Tokens"): "output_token_count",
    ("Token Throughput", "Input Tokens/Sec"): "prompt_tokens_per_second",
    ("Token Throughput", "Output Tokens/Sec"): "output_tokens_per_second",
    ("Token Throughput", "Total Tokens/Sec"): "tokens_per_second",
}
_STATISTICS = {"mean": "mean", "median": "median", "std dev": "std_dev"}
_LIST = ("min", "p001", "p01", "p05", "p10", "p25", "p75", "p90", "p95", "p99", "max")
_TOTALS = ("successful", "incomplete", "errored", "total")

Row = Mapping[tuple[str, ...], str]
"""Header of a column, from the top line to the last -> cell."""


def is_csv(head: bytes) -> bool:
    """Whether a file begins as a CSV of GuideLLM does."""
    return head.removeprefix(b"\xef\xbb\xbf").startswith((_THREE, _ONE))


def benchmarks_of(path: Path) -> Iterator[dict[str, Any] | BadRow]:
    """Each line as an object with the fields of the JSON report and of its benchmark.

    A line with more or fewer cells than the header is set aside: GuideLLM writes the header of the first benchmark
    only, and gives others columns of their own.

    Raises:
        FileError: it cannot be read, or its header lines are not complete.
    """
    rows = csv_rows(path)
    lines = 3 if rows and rows[0][:2] == ["Run Info", "Run Info"] else 1
    header, width = rows[:lines], len(rows[0]) if rows else 0
    if len(header) < lines or any(len(line) != width for line in header):
        raise FileError(f"{path}: the header lines are not complete; expected {lines} of equal width")
    names = list(zip(*header, strict=True))
    for cells in rows[lines:]:
        if len(cells) == width:
            row = dict(zip(names, cells, strict=True))
            yield _now(row) if lines > 1 else _once(row)
        else:
            reason = f"the line has {len(cells)} cells, the header {width}"
            yield BadRow(0, "", ",".join(cells)[:200], reason)


def _now(row: Row) -> dict[str, Any]:
    """A line below three header lines."""
    place = row.get(("Run Info", "Run Index", ""), "")
    profile = _json(row.get(("Run Info", "Profile", "")))
    strategy = at(profile, f"completed_strategies.{place}") or {
        "type_": row.get(("Benchmark", "Strategy", "")),
        "streams": at(profile, f"streams.{place}"),
        "rate": at(profile, f"rate.{place}"),
    }
    arguments = _json(row.get(("Runtime Info", "Arguments", "")))
    metrics: dict[str, Any] = {
        name: {"successful": _spread(row, (group, f"Successful {unit}"), ("Mean", "Median", "Std Dev"), "Percentiles")}
        for (group, unit), name in _METRICS.items()
    }
    metrics["request_totals"] = {each: _value(row.get(("Request Counts", each.capitalize(), ""))) for each in _TOTALS}
    return {
        "metadata": _json(row.get(("Runtime Info", "Metadata", ""))),
        "args": arguments,
        "config": {
            "spec": at(arguments, "spec"),
            "strategy": strategy,
            "profile": profile,
            "backend": _json(row.get(("Run Info", "Backend", ""))),
        },
        "start_time": row.get(("Timings", "Start Time", "")),
        "duration": _value(row.get(("Timings", "Duration", "Sec"))),
        "metrics": metrics,
    }


def _once(row: Row) -> dict[str, Any]:
    """A line below the one header line of old versions."""
    cell = {name[0]: text for name, text in row.items()}
    listed = "[min, 0.1, 1, 5, 10, 25, 75, 90, 95, 99, max]"
    metrics: dict[str, Any] = {}
    for name in _METRICS.values():
        shown = f"Successful {name.replace('_', ' ').capitalize()} "
        columns: dict[tuple[str, ...], str] = {
            (title.removeprefix(shown),): text for title, text in cell.items() if title.startswith(shown)
        }
        metrics[name] = {"successful": _spread(columns, (), ("mean", "median", "std dev"), listed)}
    metrics["request_totals"] = {each: _value(cell.get(f"{each.capitalize()} Requests")) for each in _TOTALS}
    arguments = _json(cell.get("Args"))
    return {
        "args": arguments,
        "scheduler": {"strategy": None if arguments else _strategy(cell.get("Name", ""))},
        "worker": _json(cell.get("Worker")),
        "benchmarker": {"backend": _json(cell.get("Backend"))},
        "request_loader": _json(cell.get("Request Loader")),
        "start_time": cell.get("Start Time"),
        "duration": _value(cell.get("Duration")),
        "metrics": metrics,
    }


def _strategy(shown: str) -> dict[str, Any]:
    """ "concurrent@16" and "constant@2.50" as the strategies that they are."""
    kind, _, load = shown.partition("@")
    return {"type_": kind, "streams": _value(load), "rate": _value(load)}


def _spread(row: Row, above: tuple[str, ...], single: Sequence[str], listed: str) -> dict[str, Any]:
    told: dict[str, Any] = {_STATISTICS[name.lower()]: _value(row.get((*above, name))) for name in single}
    cells = row.get((*above, listed), "").strip("[] ").split(",")
    if len(cells) == len(_LIST):
        told |= {name: _value(cell) for name, cell in zip(_LIST, cells, strict=True)}
    return told


def _value(text: str | None) -> float | str | None:
    """A cell as a number, as the text that it is, or None where it is blank."""
    if text is None or not text.strip():
        return None
    value = number(text)
    return text if value is None else value


def _json(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
