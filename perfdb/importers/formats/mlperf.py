"""The `mlperf` importer: summaries of MLPerf Inference's LoadGen (mlperf_log_summary.txt), one record per summary.

Times are nanoseconds. Neither model nor hardware stands in the file: the path of a submission tells both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow, Batch
from perfdb.errors import FileError
from perfdb.importers.content import whole_text
from perfdb.importers.documents import Record, table_of
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.shape import aside, renamed
from perfdb.importers.table.assemble import assemble

_BANNER = "MLPerf Results Summary"
_LINE = re.compile(r"^\s*([A-Za-z0-9][^:]{0,80}?)\s*:\s*(.*)$")
_COMPLETE = re.compile(r"\berrors? encountered", re.IGNORECASE)
_LATENCY = re.compile(
    r"(?:(min|max|mean)|(50|90|95|99)\.00 percentile)"
    r"(?: (first token)| (time (?:to|per) output token))?(?: latency)? \(ns\)"
)
_SPEED_MODES = ("Performance", "Submission", "FindPeak", "Find Peak")
_RATES = {
    "Samples per second": "request_tps", "Tokens per second": "output_tps",
    "Completed samples per second": "request_tps", "Completed tokens per second": "output_tps",
    "QPS w/ loadgen overhead": "request_tps", "TPS w/ loadgen overhead": "output_tps",
}  # fmt: skip
_PERMUTED = "sample_concatenate_permutation was set to true"


def sniff(head: bytes, path: Path) -> float:
    """0.9 for a text that starts with the banner of a LoadGen summary, else 0."""
    lead = head.lstrip()[:200]
    return 0.9 if lead.startswith(b"=====") and _BANNER.encode() in lead else 0.0


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with a record per summary.

    Raises:
        FileError: there is no summary in it.
    """
    _, *summaries = whole_text(path).split(_BANNER)
    if not summaries:
        what = "it is empty" if not path.stat().st_size else "no summary of LoadGen in it"
        raise FileError(f"{path}: {what}; expected the banner {_BANNER!r}")
    yield assemble(table_of([_record(text) for text in summaries], path), settings)


def _record(text: str) -> Record | BadRow:
    said = {found[1]: found[2] for found in map(_LINE.match, map(str.rstrip, text.splitlines())) if found}
    if "Result is" not in said or not _COMPLETE.search(text):
        return BadRow(0, "Result is", said.get("Result is", ""), "the summary is cut: it does not end with its errors")
    mode = said.get("Mode", "")
    if not mode.startswith(_SPEED_MODES):
        return BadRow(0, "Mode", mode, "no run for performance: its speed was not measured")
    times = {name: column for name in said if (column := _time(name))}
    known = {**_RATES, **times}
    extra = {_plain(name): value for name, value in said.items() if name not in known}
    return {
        "client": "MLPerf LoadGen",
        "outcome": "ok" if said["Result is"] == "VALID" else "invalid",
        **_load(said, is_permuted=_PERMUTED in text),
        **renamed(said, known),
        **aside(extra, {"result_is"}),
    }


def _time(name: str) -> str | None:
    """The column of a latency: "99.00 percentile first token latency (ns)" is "p99 ttft (ns)"."""
    found = _LATENCY.fullmatch(name.lower())
    if found is None:
        return None
    metric = "ttft" if found[3] else "tpot" if found[4] else "e2e"
    return f"{found[1] or 'p' + found[2]} {metric} (ns)"


def _load(said: Mapping[str, str], is_permuted: bool) -> dict[str, Any]:
    """Offline sends all samples at once, Server as a Poisson process, the streams one query after the other."""
    scenario, samples = said.get("Scenario", "").replace(" ", ""), said.get("samples_per_query")
    if scenario == "Offline":
        # with the permutation the file does not say how many were really sent
        return {"arrival": "closed", "request_rate": "inf", "requests": None if is_permuted else samples}
    if scenario in {"Server", "Interactive"}:
        return {"arrival": "poisson", "request_rate": said.get("target_qps")}
    if scenario == "SingleStream":
        return {"arrival": "closed", "concurrency": 1}
    return {"arrival": "batch", "batch_size": samples} if scenario == "MultiStream" else {}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


IMPORTER = Importer("mlperf", 1, sniff, read, "mlperf_log_summary.txt of MLPerf Inference")
