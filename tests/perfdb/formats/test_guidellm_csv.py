"""The CSV of GuideLLM: three header lines (group, field, statistic), or one in its first versions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.importers.importer import ReadSettings
from perfdb.importers.options import ImportOptions
from perfdb.importers.sniff import importer
from perfdb.store.store import Store

Read, Facts = Callable[..., Batch], Callable[..., dict[str, Any]]
METRICS = {
    "request_latency": ("Request Latency", "Sec", 4.0),
    "time_to_first_token_ms": ("Time to First Token", "ms", 200.0),
    "time_per_output_token_ms": ("Time per Output Token", "ms", 40.0),
    "inter_token_latency_ms": ("Inter Token Latency", "ms", 38.4),
    "requests_per_second": ("Server Throughput", "Requests/Sec", 0.5),
    "prompt_token_count": ("Token Metrics", "Input Tokens", 256.0),
    "output_token_count": ("Token Metrics", "Output Tokens", 100.0),
    "output_tokens_per_second": ("Token Throughput", "Output Tokens/Sec", 50.0),
}
SHARES = (0.5, 0.5, 0.5, 0.6, 0.7, 0.75, 1.25, 1.5, 1.75, 2.0, 2.0)
"""Least, percentiles 0.1, 1, 5, 10, 25, 75, 90, 95 and 99, and most, as parts of the mean."""
BACKEND = {"target": "http://localhost:8000", "model": "Qwen/Qwen3-8B", "api_key": "hush-hush"}
ARGS = {"strategy": {"type_": "constant", "rate": 2.0}, "profile": {"type_": "sweep"}, "warmup_number": 5}


def listed(mean: float) -> str:
    return str([mean * share for share in SHARES])


def written(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def three_lines(*streams: int, errored: int = 0, version: int = 1) -> str:
    """A line per number of streams; errors of the last one give it columns of its own, as GuideLLM does."""
    rows: list[list[Any]] = []
    for place, each in enumerate(streams):
        done = [{"type_": "concurrent", "streams": stream} for stream in streams]
        profile = {"completed_strategies": done} if version == 1 else {"kind": "concurrent", "streams": list(streams)}
        args = {"data": ["prompt_tokens=256,output_tokens=100"], "backend": "openai_http"}
        cells: list[tuple[str, str, str, Any]] = [
            ("Run Info", "Run ID", "", "r"), ("Run Info", "Run Index", "", place),
            ("Run Info", "Profile", "", json.dumps(profile)), ("Run Info", "Backend", "", json.dumps(BACKEND)),
            ("Benchmark", "Type", "", "generative_benchmark"), ("Benchmark", "Strategy", "", "concurrent"),
            ("Timings", "Start Time", "", "2026-03-02 16:58:20"), ("Timings", "Duration", "Sec", 20.0),
            ("Request Counts", "Successful", "", 10), ("Request Counts", "Errored", "", errored),
            ("Request Counts", "Incomplete", "", 0), ("Request Counts", "Total", "", 10 + errored),
        ]  # fmt: skip
        for group, unit, mean in METRICS.values():
            told = {"Mean": mean, "Median": mean, "Std Dev": mean / 4, "Percentiles": listed(mean)}
            cells += [(group, f"Successful {unit}", title, value) for title, value in told.items()]
            cells += [(group, f"Errored {unit}", title, 1e6) for title in told if errored and each == streams[-1]]
        cells += [
            ("Runtime Info", "Metadata", "", json.dumps({"guidellm_version": "0.6.0"})),
            ("Runtime Info", "Arguments", "", json.dumps(args)),
        ]
        header = [] if place else [[cell[line] for cell in cells] for line in range(3)]
        rows += [*header, [cell[3] for cell in cells]]
    return written(rows)


def one_line() -> str:
    cells: dict[str, Any] = {
        "Type": "generative_benchmark", "Run Id": "r", "Id": "b", "Name": "constant@2.00",
        "Start Time": "2025-06-02 16:58:20", "End Time": "2025-06-02 16:58:40", "Duration": 20.0,
        "Successful Requests": 10,
    }  # fmt: skip
    for name, (_, _, mean) in METRICS.items():
        shown = f"Successful {name.replace('_', ' ').capitalize()}"
        cells |= {f"{shown} mean": mean, f"{shown} median": mean, f"{shown} std dev": mean / 4}
        cells |= {f"{shown} [min, 0.1, 1, 5, 10, 25, 75, 90, 95, 99, max]": listed(mean)}
    cells |= {"Incomplete Requests": 0, "Errored Requests": 0, "Total Requests": 10, "Args": json.dumps(ARGS)}
    cells |= {"Worker": json.dumps({"backend_model": "Qwen/Qwen3-8B"})}
    cells |= {"Request Loader": json.dumps({"data": "prompt_tokens=256,output_tokens=100"}), "Extras": "{}"}
    return written([list(cells), list(cells.values())])


@pytest.fixture
def one(read_as: Read, facts: Facts) -> Callable[[str], dict[str, Any]]:
    return lambda text: facts(read_as("guidellm", text, "benchmarks.csv"))


@pytest.mark.parametrize("version", [1, 2])
def test_three_header_lines(read_as: Read, facts: Facts, version: int) -> None:
    batch = read_as("guidellm", three_lines(2, 8, version=version), "benchmarks.csv")
    first, second = facts(batch, 0), facts(batch, 1)
    assert (first["concurrency"], second["concurrency"], first["arrival"]) == (2, 8, "closed")
    assert (first["model"], first["client"]) == ("Qwen/Qwen3-8B", "guidellm 0.6.0")
    assert (first["lengths"], first["measured_at"]) == ("D(256,100)", "2026-03-02T16:58:20")
    assert (first["ttft_s:mean"], first["ttft_s:p99"], first["e2e_s:p95"]) == pytest.approx((0.2, 0.4, 7.0))
    assert (first["e2e_per_token_s:mean"], first["itl_s:mean"]) == pytest.approx((0.04, 0.0384))
    assert (first["tpot_s:p90"], first["output_tps:value"]) == pytest.approx((0.0576, 50.0))
    assert (first["requests"], first["success_rate:value"], first["duration_s:value"]) == (10, 1, 20)


def test_a_line_with_columns_of_its_own_is_set_aside(read_as: Read) -> None:
    """GuideLLM writes the header of the first benchmark, and leaves out columns that hold nothing."""
    batch = read_as("guidellm", three_lines(2, 8, errored=5), "benchmarks.csv")
    (bad,) = batch.bad
    assert (batch.rows.tolist(), bad.row, bad.reason) == ([1], 2, "the line has 78 cells, the header 46")


def test_one_header_line(one: Facts) -> None:
    run = one(one_line())
    assert (run["model"], run["arrival"], run["request_rate"]) == ("Qwen/Qwen3-8B", "constant", 2)
    assert (run["ttft_s:mean"], run["ttft_s:p75"], run["e2e_s:max"]) == pytest.approx((0.2, 0.25, 8.0))
    assert (run["requests"], run["output_tps:value"], run["warmup_requests"]) == (10, 50, 5)


@pytest.mark.parametrize(
    ("name", "arrival", "rate", "concurrency"),
    [("constant@2.00", "constant", 2, None), ("concurrent@16", "closed", None, 16), ("synchronous", "closed", None, 1)],
)
def test_the_name_tells_the_strategy_where_nothing_else_does(
    one: Facts, name: str, arrival: str, rate: float | None, concurrency: float | None
) -> None:
    run = one(one_line().replace(",Args,", ",Profile,").replace("constant@2.00", name))
    assert (run["arrival"], run.get("request_rate"), run.get("concurrency")) == (arrival, rate, concurrency)


def test_secrets(read_as: Read) -> None:
    """T22."""
    assert "hush-hush" not in repr(read_as("guidellm", three_lines(2, 8, errored=1), "benchmarks.csv"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("".join(three_lines(2).splitlines(keepends=True)[:2]), "header lines are not complete"),
        (three_lines(2)[:-60], "every quote closed"),
        ("".join(three_lines(2).splitlines(keepends=True)[:3]), "no JSON object"),
    ],
)
def test_cut_off_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "benchmarks.csv"
    path.write_text(text)
    with pytest.raises(FileError, match=words):
        list(importer("guidellm").read(path, ReadSettings()))


def test_a_csv_beside_its_report_is_the_same_run(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "benchmarks.json").write_text('{"metadata": {"guidellm_version": "0.7.1"}, "benchmarks": [{}]}')
    (folder / "benchmarks.csv").write_text(three_lines(2, 4))
    (folder / "other.csv").write_text(three_lines(8))
    store = Store(tmp_path / "db.duckdb")
    document = import_paths(store, [folder], ImportOptions(set={"engine": "vllm", "platform": "l4"})).to_json()
    assert (document["rows_read"], document["stored"], document["quarantined"]) == (2, 1, 1)
    (skipped,) = document["skipped"]
    assert Path(skipped["file"]).name == "benchmarks.csv"
    assert "the same runs as in benchmarks.json beside it" in skipped["reason"]
