"""Summaries of MLPerf Inference's LoadGen."""

from __future__ import annotations

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
BAR = "=" * 48
TTFT = """\
Min First Token latency (ns)                : 46040396
Mean First Token latency (ns)               : 963332124
50.00 percentile first token latency (ns)   : 950532291
97.00 percentile first token latency (ns)   : 1623620561
99.00 percentile first token latency (ns)   : 1760966679
99.90 percentile first token latency (ns)   : 2226588311
"""
TPOT = """\
Mean Time {to} Output Token (ns)               : 126269215
99.00 percentile time to output token (ns)   : 164964162
"""
SERVER = "Completed samples per second    : 99.86\nCompleted tokens per second: 29522.56\n"


def summary(
    scenario: str = "Server", rates: str = SERVER, result: str = "VALID", mode: str = "PerformanceOnly",
    tokens: str = TTFT + TPOT.format(to="to"), samples: int = 1, end: str = "No errors encountered during test.\n",
) -> str:  # fmt: skip
    return f"""{BAR}
MLPerf Results Summary
{BAR}
SUT name : PySUT
Scenario : {scenario}
Mode     : {mode}
{rates}Result is : {result}
  Performance constraints satisfied : Yes
  Min duration satisfied : Yes
Recommendations:
 * TTFT constrain not met: Reduce target QPS to improve latency.

{BAR}
Additional Stats
{BAR}
Scheduled samples per second : 104.15
Min latency (ns)                : 756127764
Max latency (ns)                : 150606473583
Mean latency (ns)               : 37756807070
90.00 percentile latency (ns)   : 68033586928

{tokens}
{BAR}
Test Parameters Used
{BAR}
samples_per_query : {samples}
target_qps : 104
target_latency (ns): 0
ttft_latency (ns): 2000000000
tpot_latency (ns): 200000000
min_duration (ms): 600000

No warnings encountered during test.

{end}"""


def read_summary(read_as: Read, text: str) -> Batch:
    return read_as("mlperf", text, file="mlperf_log_summary.txt")


def test_a_server_run_is_poisson_and_its_times_are_nanoseconds(read_as: Read, facts: Facts) -> None:
    """T6."""
    found = facts(read_summary(read_as, summary()))
    assert (found["request_tps:value"], found["output_tps:value"]) == (99.86, 29522.56)
    assert [found[f"ttft_s:{name}"] for name in ("min", "mean", "p50", "p99")] == pytest.approx(
        [0.046040396, 0.963332124, 0.950532291, 1.760966679]
    )
    assert (found["tpot_s:mean"], found["tpot_s:p99"]) == pytest.approx((0.126269215, 0.164964162))
    assert (found["e2e_s:mean"], found["e2e_s:p90"]) == pytest.approx((37.75680707, 68.033586928))
    assert (found["arrival"], found["request_rate"], found["client"]) == ("poisson", 104, "MLPerf LoadGen")


def test_percentiles_without_a_name_of_ours_and_targets_stay_in_extra(read_as: Read, facts: Facts) -> None:
    found = facts(read_summary(read_as, summary()))
    assert found["extra"]["97_00_percentile_first_token_latency_ns"] == 1623620561
    assert found["extra"]["99_90_percentile_first_token_latency_ns"] == 2226588311
    assert found["extra"]["ttft_latency_ns"] == 2000000000
    assert found["extra"]["scheduled_samples_per_second"] == 104.15
    assert {name for name in found if name.startswith("ttft_s")} == {
        f"ttft_s:{n}" for n in ("min", "mean", "p50", "p99")
    }


def test_offline_sends_all_samples_at_once(read_as: Read, facts: Facts) -> None:
    rates = "Samples per second: 17.0963\nTokens per second: 4880.5\n"
    found = facts(read_summary(read_as, summary("Offline", rates, tokens="", samples=24576)))
    assert (found["request_tps:value"], found["output_tps:value"]) == (17.0963, 4880.5)
    assert (found["arrival"], found["requests"], found["concurrency"]) == ("closed", 24576, 24576)
    assert "request_rate" not in found


def test_offline_with_permuted_samples_does_not_say_how_many_there_were(read_as: Read, facts: Facts) -> None:
    warning = "WARNING: sample_concatenate_permutation was set to true. \nNo errors encountered during test.\n"
    found = facts(read_summary(read_as, summary("Offline", "Samples per second: 2\n", samples=9, end=warning)))
    assert found["arrival"] == "closed"
    assert not {"requests", "concurrency"} & set(found)


def test_inferred_tokens_are_a_formula_and_no_measurement(read_as: Read, facts: Facts) -> None:
    """T23."""
    rates = "Samples per second: 12.1491\nTokens per second (inferred): 838.288\n"
    found = facts(read_summary(read_as, summary("Offline", rates, tokens="")))
    assert "output_tps:value" not in found
    assert found["extra"]["tokens_per_second_inferred"] == 838.288


def test_a_single_stream_is_one_request_at_a_time(read_as: Read, facts: Facts) -> None:
    rates = "90th percentile latency (ns) : 68033586928\n"
    overhead = "QPS w/ loadgen overhead         : 3.25\nQPS w/o loadgen overhead        : 3.5\n"
    found = facts(read_summary(read_as, summary("SingleStream", rates, tokens=overhead)))
    assert (found["request_tps:value"], found["concurrency"], found["arrival"]) == (3.25, 1, "closed")
    assert "request_rate" not in found
    assert found["extra"]["qps_w_o_loadgen_overhead"] == 3.5


def test_a_newer_name_of_the_time_per_token(read_as: Read, facts: Facts) -> None:
    found = facts(read_summary(read_as, summary(tokens=TPOT.format(to="per"))))
    assert found["tpot_s:mean"] == pytest.approx(0.126269215)


def test_an_invalid_run_keeps_no_values(read_as: Read, facts: Facts) -> None:
    found = facts(read_summary(read_as, summary(result="INVALID")))
    assert found["outcome"] == "invalid"
    assert not [name for name in found if name.endswith((":value", ":mean", ":p99"))]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (summary(mode="AccuracyOnly"), "no run for performance: its speed was not measured"),
        (summary(end=""), "the summary is cut: it does not end with its errors"),
        (summary()[:500], "the summary is cut: it does not end with its errors"),
    ],
)
def test_what_is_no_complete_measurement_is_set_aside(read_as: Read, text: str, reason: str) -> None:
    batch = read_summary(read_as, text)
    assert (len(batch.rows), [row.reason for row in batch.bad]) == (0, [reason])


def test_several_summaries_in_one_file(read_as: Read, facts: Facts) -> None:
    batch = read_summary(read_as, summary() + summary("Offline", "Samples per second: 2.5\n", tokens=""))
    assert batch.rows.tolist() == [1, 2]
    assert (facts(batch, 0)["request_tps:value"], facts(batch, 1)["request_tps:value"]) == (99.86, 2.5)


def test_prose_that_quotes_a_summary_is_not_one(tmp_path: Path) -> None:
    text = f"# How to run\n\n```\n{summary()}```\n"
    assert importer("mlperf").sniff(text.encode(), tmp_path / "README.md") == 0
    path = tmp_path / "log.txt"
    path.write_text("nothing of this kind")
    with pytest.raises(FileError, match="no summary of LoadGen"):
        list(importer("mlperf").read(path, ReadSettings()))


def test_the_path_of_a_submission_tells_model_and_hardware(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "8xH200" / "llama2-70b-99.9" / "Server" / "performance" / "run_1"
    folder.mkdir(parents=True)
    (folder / "mlperf_log_summary.txt").write_text(summary())
    store = Store(tmp_path / "db.duckdb")
    pattern = "results/{platform}/{model}/{_}/performance/{_}/mlperf_log_summary.txt"
    assert import_paths(store, [tmp_path / "results"], ImportOptions(from_path=pattern)).stored == 1
    row = store.sql("SELECT model, platform, devices FROM operating_points").rows[0]
    assert list(row) == ["llama2-70b-99.9", "h200_sxm", 8]
