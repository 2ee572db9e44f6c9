"""`servecast whatif --mode disagg` and `--mode both` (FEATURES S1.31 to S1.34): pools from flags, what is printed, what
is refused."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from servecast.cli import app
from servecast.predicting.disagg_text import say_disagg

ASKED = ["whatif", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--engine", "vllm", "--isl", "2000"]
ASKED += ["--osl", "200"]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def ask(*words: str) -> Result:
        return CliRunner().invoke(app, [*ASKED, "--db", str(tmp_path / "none.duckdb"), *words])

    return ask


@pytest.fixture
def document(run: Any) -> Any:
    def ask(*words: str) -> Any:
        done = run(*words, "--json")
        assert done.exit_code == 0, done.exception
        return json.loads(done.stdout)

    return ask


UNIT = ["--set", "prefill.replicas=4", "--set", "decode.replicas=1", "--set", "decode.tp=4"]


def test_units_share_the_devices(document: Any) -> None:
    """32 devices: units of four prefill workers and a decode worker of four, four of them."""
    answer = document("--mode", "disagg", "--devices", "34", "--concurrency", "512", *UNIT, "--efficiency", "0.9")
    [row] = answer["rows"]
    assert (answer["mode"], answer["configs"], answer["validated"]) == ("disagg", 1, False)
    assert (row["replicas"], row["gpus"], row["left_over"]) == (4, 32, 2)
    assert row["prefill"] == {"config": {}, "workers": 4, "platform": "h100_sxm"}
    assert row["decode"] == {"config": {"tensor_parallel_size": 4}, "workers": 1, "platform": "h100_sxm"}
    assert row["limits"] == max(row["utilisation"], key=row["utilisation"].get)
    assert (row["feasible"], row["reason"], row["provenance"]) == (True, None, "roofline")
    assert row["output_tps_per_gpu"]["mean"] == pytest.approx(row["output_tps"]["mean"] / 32)
    assert row["ttft_s"]["lo"] < row["ttft_s"]["mean"] < row["ttft_s"]["hi"]
    assert answer["efficiency"] == 0.9
    assert answer["link_bytes_s"] == 50e9
    whole = document("--mode", "disagg", "--devices", "32", "--concurrency", "512", *UNIT)["rows"][0]
    assert row["output_tps"]["mean"] == pytest.approx(0.9 * whole["output_tps"]["mean"])


def test_the_product_of_both_pools(document: Any) -> None:
    sets = ["--set", "tp=1,2", "--set", "prefill.max_num_batched_tokens=2048,8192", "--set", "decode.replicas=1,2"]
    answer = document("--mode", "disagg", "--concurrency", "64", *sets)
    assert answer["configs"] == len(answer["rows"]) == 2 * 2 * 2 * 2
    sides = [(row["prefill"]["config"], row["decode"]["config"], row["decode"]["workers"]) for row in answer["rows"]]
    assert len({str(side) for side in sides}) == 16
    assert {config["max_num_batched_tokens"] for config, _, _ in sides} == {2048, 8192}
    assert all("max_num_batched_tokens" not in config for _, config, _ in sides)
    few = document("--mode", "disagg", "--concurrency", "64", *sets, "--top", "3")
    assert [row["output_tps_per_gpu"]["mean"] for row in few["rows"]] == sorted(
        (row["output_tps_per_gpu"]["mean"] for row in answer["rows"]), reverse=True
    )[:3]


def test_one_pools_own_value_comes_first(document: Any) -> None:
    [row] = document("--mode", "disagg", "--rate", "2", "--set", "tp=2", "--set", "decode.tensor-parallel-size=4")[
        "rows"
    ]
    assert row["prefill"]["config"] == {"tensor_parallel_size": 2}
    assert row["decode"]["config"] == {"tensor_parallel_size": 4}


def test_the_decode_pool_on_other_hardware(document: Any) -> None:
    row = document("--mode", "disagg", "--decode", "h200", "--concurrency", "32")["rows"][0]
    assert (row["prefill"]["platform"], row["decode"]["platform"]) == ("h100_sxm", "h200_sxm")
    assert "cost_per_mtok" in row
    slow = document("--mode", "disagg", "--decode", "h200", "--concurrency", "32", "--link", "1")
    assert slow["link_bytes_s"] == 1e9
    assert slow["rows"][0]["ttft_s"]["mean"] > row["ttft_s"]["mean"]


def test_where_the_time_goes(document: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answer = document("--mode", "disagg", "--concurrency", "64", "--explain")
    found = answer["explain"]
    assert list(found["stages"]) == ["prefill", "transfer", "wait", "decode"]
    assert found["limits"] in {"prefill", "transfer", "decode"}
    assert {share["name"] for share in found["steps"]["prefill"]} >= {"engine"}
    say_disagg(answer)
    text = capsys.readouterr().out
    assert f"limited by {found['limits']}" in text
    assert "decode step of" in text


def test_the_table(run: Any) -> None:
    done = run("--mode", "disagg", "--concurrency", "64", "--devices", "8", "--set", "tp=1,8")
    lines = done.stdout.splitlines()
    columns = "ttft_s [90 %] tpot_s [90 %] output_tps [90 %] per GPU GPUs limit fits units of"
    assert " ".join(lines[0].split()) == columns
    assert "x (" in lines[1]
    assert "take 9 devices, there are 8" in done.stdout
    assert "KV caches move at 50 GB/s" in done.stderr
    assert "wide priors" in done.stderr


def test_both_ways_on_the_same_devices(document: Any, run: Any) -> None:
    words = (
        "--mode",
        "both",
        "--devices",
        "8",
        "--concurrency",
        "256",
        "--set",
        "tp=1,2",
        "--set",
        "decode.replicas=1",
    )
    answer = document(*words)
    by_mode = {mode: [row for row in answer["rows"] if row["mode"] == mode] for mode in ("agg", "disagg")}
    assert {mode: len(rows) for mode, rows in by_mode.items()} == {"agg": 2, "disagg": 4}
    assert [row["replicas"] for row in sorted(by_mode["agg"], key=lambda row: row["gpus"] / row["replicas"])] == [8, 4]
    best = {mode: max(row["output_tps"]["mean"] for row in rows) / 8 for mode, rows in by_mode.items()}
    assert answer["best"]["agg"] == pytest.approx(best["agg"])
    assert answer["best"]["ratio"] == pytest.approx(best["disagg"] / best["agg"])
    throughput = [row["output_tps"]["mean"] for row in answer["rows"]]
    assert throughput == sorted(throughput, reverse=True)
    assert answer["slo"] == []
    done = run(*words)
    assert f"{answer['best']['ratio']:.2f} x the throughput per GPU" in done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == {"agg", "disagg"}


def test_a_rate_that_both_carry_is_compared_by_devices_and_latency(document: Any, run: Any) -> None:
    words = ["--mode", "both", "--devices", "8", "--rate", "10", "--set", "tp=1,2"]
    answer = document(*words)
    best = answer["best"]
    assert best["ratio"] is None
    assert best["agg"] == pytest.approx(best["disagg"]) == pytest.approx(10 * 200 / 8)
    for mode in ("agg", "disagg"):
        rows = [row for row in answer["rows"] if row["mode"] == mode and row["feasible"]]
        least = min(row["gpus_needed"] for row in rows)
        assert best["carried"][mode]["gpus_needed"] == least < 8
        assert best["carried"][mode]["shortest_e2e_s"] == min(row["e2e_s"]["mean"] for row in rows)
        assert all(row["gpus_needed"] % (row["gpus"] // row["replicas"]) == 0 for row in rows)
    done = run(*words)
    assert "both ways carry the whole rate, so their throughput is the same" in done.stderr
    assert f"disagg takes {best['carried']['disagg']['gpus_needed']} GPUs" in done.stderr


def test_a_rate_beyond_one_way_is_compared_by_throughput(document: Any) -> None:
    answer = document("--mode", "both", "--devices", "8", "--rate", "1000", "--set", "tp=1")
    assert answer["best"]["ratio"] > 0
    assert "carried" not in answer["best"]
    assert all(row["gpus_needed"] == row["gpus"] for row in answer["rows"])


def test_a_given_rate_takes_the_smallest_unit(document: Any) -> None:
    few, many = (document("--mode", "disagg", "--rate", str(rate))["rows"][0] for rate in (1, 60))
    assert (few["prefill"]["workers"], few["decode"]["workers"], few["gpus"]) == (1, 1, 2)
    assert many["gpus"] > 2
    assert max(many["utilisation"].values()) <= 0.9


@pytest.mark.parametrize("words", [(), ("--mode", "disagg"), ("--mode", "both", "--devices", "32")])
def test_every_mode_says_once_that_messages_pass_a_network(run: Any, words: tuple[str, ...]) -> None:
    done = run("--concurrency", "8", "--set", "tp=8,16", *words)
    assert done.stderr.count("messages between hosts are timed by a formula") == 1
    assert "messages between hosts" not in run("--concurrency", "8", "--set", "tp=8", *words).stderr


def test_bounds_decide_who_is_compared(document: Any, run: Any) -> None:
    words = ["--mode", "both", "--devices", "8", "--concurrency", "256", "--set", "tp=1,2"]
    middle = sorted(row["ttft_s"]["mean"] for row in document(*words)["rows"])[2]
    answer = document(*words, "--slo", f"ttft_s<{middle}")
    kept = [row for row in answer["rows"] if row["meets_slo"]]
    assert all((row["ttft_s"]["mean"] <= middle) == row["meets_slo"] for row in answer["rows"])
    assert answer["rows"][: len(kept)] == kept
    assert 0 < len(kept) < len(answer["rows"])
    for mode in ("agg", "disagg"):
        best = max((row["output_tps"]["mean"] / 8 for row in kept if row["mode"] == mode), default=None)
        assert answer["best"][mode] == pytest.approx(best)
    assert "SLO" in run(*words, "--slo", f"ttft_s<{middle}").stdout
    nobody = run(*words, "--slo", "tpot_s<1e-6")
    assert "no deployment of agg or disagg that keeps tpot_s<1e-06" in nobody.stderr


def test_aggregated_replicas_are_what_whatif_says_of_one(document: Any) -> None:
    [_, one] = sorted(
        document("--mode", "both", "--devices", "4", "--concurrency", "64", "--efficiency", "0.8")["rows"],
        key=lambda row: row["mode"] == "agg",
    )
    [alone] = document("--concurrency", "16")["rows"]
    assert one["replicas"] == 4
    assert one["ttft_s"]["mean"] == pytest.approx(alone["ttft_s"]["mean"])
    assert one["output_tps"]["mean"] == pytest.approx(4 * 0.8 * alone["output_tps"]["mean"])
    assert one["output_tps_per_gpu"]["mean"] == pytest.approx(0.8 * alone["output_tps"]["mean"])
    large = document("--mode", "both", "--devices", "2", "--rate", "3", "--set", "tp=4", "--set", "prefill.tp=1")[
        "rows"
    ]
    assert {row["reason"] for row in large} >= {"takes 4 devices, there are 2"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mode", "split"], "unknown mode 'split'"),
        (["--decode", "h200"], "--decode: beside --mode agg"),
        (["--mode", "disagg", "--decode", ""], "unknown platform ''"),
        (["--mode", "disagg", "--set", "prefill.tp=1", "--set", "prefill.tensor_parallel_size=2"], "stands twice"),
        (["--mode", "both", "--devices", "4", "--slo", ""], "not a bound"),
        (["--efficiency", "0.9"], "--efficiency: beside --mode agg"),
        (["--mode", "disagg", "--efficiency", "1.2"], "--efficiency: 1.2"),
        (["--mode", "disagg", "--link", "0"], "--link: 0"),
        (["--mode", "disagg", "--router-limit", "-1"], "--router-limit: -1"),
        (["--mode", "disagg", "--set", "prefil.tp=2"], "unknown pool 'prefil'"),
        (["--mode", "disagg", "--set", "decode.tq=2"], "unknown parameter of vllm 'tq'"),
        (["--mode", "disagg", "--set", "replicas=2"], "of which pool"),
        (["--mode", "disagg", "--set", "prefill.replicas=0.5"], "--set prefill.replicas: 0.5"),
        (["--mode", "disagg", "--set", "prefill.replicas=0"], "--set prefill.replicas: 0"),
        (["--mode", "disagg", "--engine", "llamacpp"], "llama.cpp prefills and decodes in one server"),
        (["--mode", "both"], "no number of devices"),
        (["--mode", "both", "--devices", "4", "--router-limit", "9"], "--router-limit: --mode both"),
        (["--mode", "disagg", "--slo", "success_rate>0.9"], "success_rate: not predicted of two pools"),
        (["--mode", "both", "--devices", "4", "--slo", "input_tps>1"], "input_tps: not predicted of two pools"),
        (["--mode", "both", "--devices", "4", "--explain"], "--explain: --mode both"),
    ],
)
def test_what_cannot_be_is_refused(run: Any, words: list[str], said: str) -> None:
    assert said in str(run("--concurrency", "8", *words).exception)


def test_a_batch_and_too_many_combinations(run: Any) -> None:
    assert "static batch" in str(run("--batch", "8", "--mode", "disagg").exception)
    many = ",".join(str(size) for size in range(1, 1501))
    sets = ["--set", f"max_num_seqs={many}", "--set", "prefill.replicas=1,2,3"]
    assert "combinations" in str(run("--concurrency", "8", "--mode", "disagg", *sets).exception)


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    """Numbers there follow the model's constants; the commands, the columns and the deployments are these."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "disaggregation.md").read_text()
    shown = re.findall(r"```console\n\$ servecast ([^\n]*)\n(.*?)```", page, re.DOTALL)
    assert [command.split()[0] for command, _ in shown] == ["whatif", "capacity"]
    for command, output in shown:
        done = CliRunner().invoke(app, [*shlex.split(command), "--db", str(tmp_path / "none.duckdb")])
        printed, lines = done.stdout.splitlines(), output.splitlines()
        [header] = [place for place, line in enumerate(lines) if line.split() == printed[0].split()]
        assert len(printed) == len(lines) - header


def test_prefixed_parameters_belong_to_pools(run: Any) -> None:
    assert "prefill.tp" in str(run("--concurrency", "8", "--set", "prefill.tp=2").exception)


def test_rows_hold_percentiles_as_those_of_whole_servers(document: Any) -> None:
    """FEATURES S1.34: the same log-normal over requests around the mean of a run."""
    [two] = document("--mode", "disagg", "--concurrency", "16", *UNIT)["rows"]
    [one] = document("--concurrency", "16")["rows"]
    for name in ("ttft_s_p50", "ttft_s_p90", "ttft_s_p99", "tpot_s_p90", "tpot_s_p99", "e2e_s_p90"):
        mean = name.rpartition("_")[0]
        assert two[name]["mean"] / two[mean]["mean"] == pytest.approx(one[name]["mean"] / one[mean]["mean"]), name
        assert two[name]["lo"] < two[name]["mean"] < two[name]["hi"]
    busy = [document("--mode", "disagg", "--rate", rate, *UNIT)["rows"][0] for rate in ("1", "20")]
    apart = [row["e2e_s_p90"]["mean"] / row["e2e_s"]["mean"] for row in busy]
    assert 1.12 < apart[0] < apart[1] <= 1.62


@pytest.mark.parametrize("mode", [["disagg"], ["both", "--devices", "8"]])
def test_percentiles_can_be_bounded(document: Any, mode: list[str]) -> None:
    asked = ["--mode", *mode, "--concurrency", "16", *UNIT]
    rows = document(*asked, "--slo", "itl_s_p95<10,ttft_s_p99<10")["rows"]
    assert all(row["meets_slo"] and row["itl_s_p95"]["mean"] > row["itl_s"]["mean"] for row in rows)
    limit = max(row["ttft_s_p99"]["mean"] for row in rows) * 0.999
    assert not all(row["meets_slo"] for row in document(*asked, "--slo", f"ttft_s_p99<{limit:.17g}")["rows"])
