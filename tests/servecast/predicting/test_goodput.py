"""Goodput under bounds: counted in a simulated run, predicted from distributions, and told in every mode."""

from __future__ import annotations

import json
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from questions import POINT, WHATIF

from model.derived import spread_of
from perfdb.records import Arrival, Workload
from servecast.predicting.goodput import predicted, request_bounds
from servecast.simulation.counted_goodput import counted
from servecast.slo import parse_slos

ASK = ["simulate", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm"]
MADE_UP = [*ASK, "--scenario", "D(512,128)", "--rate", "20", "--requests", "200"]
LOOP = Workload(512, 128, Arrival.CLOSED, 8)


def ends(mean: float, factor: float = 1.2) -> dict[str, float]:
    return {"mean": mean, "lo": mean / factor, "hi": mean * factor}


ROW = {"ttft_s": ends(0.2), "tpot_s": ends(0.01), "e2e_s": ends(1.5), "e2e_s_p90": ends(1.8), "request_tps": ends(7.0)}


def test_the_least_limit_of_a_latency_counts():
    slos = parse_slos("ttft_s<0.5,ttft_s_p99<0.4,output_tps_per_user>50,output_tps>100")
    assert request_bounds(slos) == {"ttft_s": 0.4, "tpot_s": 0.02}


def test_who_keeps_all_bounds_is_counted():
    latencies = {"ttft_s": np.array([1.0, 2.0, 3.0, 4.0]), "tpot_s": np.array([9.0, 1.0, np.nan, 1.0])}
    found = counted(latencies, parse_slos("ttft_s<3,tpot_s<2"), window_s=4.0)
    assert found == {"slo_share": 0.5, "goodput_rps": 0.5}
    assert counted(latencies, parse_slos("output_tps>1"), 4.0) == {"slo_share": None, "goodput_rps": None}


def test_a_simulated_run_says_who_kept_the_bounds(cli):
    plain = cli.json(*MADE_UP)
    assert "goodput_rps" not in plain
    middle = plain["ttft_s"]["p50"]
    half = cli.json(*MADE_UP, "--slo", f"ttft_s_p99<{middle:.17g}")
    assert half["slo_share"] == pytest.approx(0.5, abs=0.01)
    assert half["goodput_rps"] == pytest.approx(half["slo_share"] * half["request_tps"])
    assert half["meets_slo"] is False
    easy = cli.json(*MADE_UP, "--slo", "ttft_s<9,e2e_s<99,cost_per_mtok<999")
    assert (easy["slo_share"], easy["meets_slo"]) == (1.0, True)
    assert easy["goodput_rps"] == pytest.approx(easy["request_tps"])
    assert "goodput" in cli.run(*MADE_UP, "--slo", "ttft_s<9").stdout
    pools = cli.json(*MADE_UP, "--mode", "disagg", "--slo", f"tpot_s<{plain['tpot_s']['p50']}")
    assert 0 < pools["slo_share"] <= 1


def test_what_a_run_does_not_have_is_refused(cli):
    one = [*ASK, "--scenario", "D(512,1)", "--rate", "9", "--requests", "5"]
    assert "no time between tokens" in cli.run(*one, "--slo", "tpot_s<1").stderr
    assert "not simulated" in cli.run(*one, "--slo", "success_rate>0.9").stderr


def test_a_run_is_told_per_device_and_dollar(cli):
    one = cli.json(*MADE_UP, "--set", "dp=2")
    assert one["gpus"] == 2
    assert one["output_tps_per_gpu"] == pytest.approx(one["output_tps"] / 2)
    assert one["output_tps_per_user"] == pytest.approx(1 / one["tpot_s"]["mean"])
    pools = cli.json(*MADE_UP, "--mode", "disagg", "--set", "decode.replicas=3", "--set", "prefill.replicas=1")
    assert pools["gpus"] == 4
    per_device = [answer["cost_per_mtok"] * answer["output_tps_per_gpu"] for answer in (one, pools)]
    assert per_device[0] == pytest.approx(per_device[1])


@given(limit=st.floats(0.01, 9.0), name=st.sampled_from(["ttft_s", "tpot_s", "e2e_s"]))
def test_predicted_shares_are_those_of_a_log_normal(limit: float, name: str) -> None:
    found = predicted(ROW, parse_slos(f"{name}<{limit}"), LOOP)
    share, rate = found["slo_share"], found["goodput_rps"]
    assert share is not None
    assert rate is not None
    assert 0 <= share["lo"] <= share["mean"] <= share["hi"] <= 1
    assert rate["mean"] == pytest.approx(7.0 * share["mean"])
    if name != "e2e_s":
        spread = spread_of(name)
        median = ROW[name]["mean"] / math.exp(spread**2 / 2)
        assert share["mean"] == pytest.approx(NormalDist(math.log(median), spread).cdf(math.log(limit)))


def test_whole_requests_lie_as_far_apart_as_is_known() -> None:
    slos = parse_slos("e2e_s<1.8")
    shares = [
        predicted(ROW, slos, Workload(512, 128, Arrival.CLOSED, 8, lengths=text))["slo_share"]
        for text in (None, "D(512,128)", "N(512,100)/(128,64)")
    ]
    means = [share["mean"] for share in shares if share is not None]
    assert means[0] == pytest.approx(0.9)  # the limit is the predicted p90
    assert means[1] > means[0] > means[2]


def test_those_that_break_one_bound_break_the_others() -> None:
    both, alone = (predicted(ROW, parse_slos(text), LOOP) for text in ("ttft_s<0.2,tpot_s<1", "ttft_s<0.2"))
    assert both == alone
    assert predicted({**ROW, "tpot_s": None}, parse_slos("tpot_s<1"), LOOP) == {"slo_share": None, "goodput_rps": None}


def test_rows_that_break_bounds_come_last_and_say_so(cli):
    grid = [*WHATIF, *POINT, "--set", "tp=1,2,4"]
    plain = cli.json(*grid)["rows"]
    limit = sorted(row["tpot_s"]["mean"] for row in plain)[1]
    asked = [*grid, "--slo", f"tpot_s<{limit:.17g},output_tps>1"]
    answer = cli.json(*asked)
    assert answer["slo"] == [f"tpot_s<{limit:g}", "output_tps>1"]
    assert [row["meets_slo"] for row in answer["rows"]] == [row["tpot_s"]["mean"] <= limit for row in plain]
    for row in answer["rows"]:
        assert row["goodput_rps"]["mean"] == pytest.approx(row["slo_share"]["mean"] * row["request_tps"]["mean"])
    lines = cli.run(*asked).stdout.splitlines()
    assert "goodput [90 %]" in lines[0]
    kept = [row for row in answer["rows"] if row["meets_slo"]]
    assert cli.json(*asked, "--top", "2")["rows"] == sorted(kept, key=lambda row: -row["output_tps"]["mean"])
    few = [*grid, "--slo", f"tpot_s>{limit}"]
    assert "better side" in cli.run(*few).stderr


def test_a_bound_that_the_fastest_break_leaves_the_best_of_the_others(cli):
    grid = [*WHATIF, *POINT, "--set", "max-num-seqs=1,8"]
    slow, fast = sorted(cli.json(*grid)["rows"], key=lambda row: row["output_tps"]["mean"])
    limit = (slow["tpot_s"]["mean"] + fast["tpot_s"]["mean"]) / 2
    [best] = cli.json(*grid, "--slo", f"tpot_s<{limit}", "--top", "1")["rows"]
    assert best["config"] == slow["config"]
    assert best["meets_slo"] is True


@pytest.mark.parametrize("words", [("--mode", "disagg"), ("--mode", "both", "--devices", "4")])
def test_pools_are_judged_too(cli, words):
    answer: Any = cli.json(*WHATIF, *POINT, *words, "--slo", "ttft_s<0.2,e2e_s<9")
    for row in answer["rows"]:
        assert 0 <= row["slo_share"]["mean"] <= 1
        assert row["meets_slo"] == (row["ttft_s"]["mean"] <= 0.2 and row["e2e_s"]["mean"] <= 9)
    assert "goodput [90 %]" in cli.run(*WHATIF, *POINT, *words, "--slo", "ttft_s<0.2").stdout


def test_rows_hold_what_they_are_worth(cli):
    for words in ((), ("--mode", "both", "--devices", "4")):
        answer = cli.json(*WHATIF, *POINT, *words)
        [row, *_] = [row for row in answer["rows"] if row.get("mode", "agg") == "agg"]
        tps, osl = row["output_tps"]["mean"], row["output_tps"]["mean"] / row["request_tps"]["mean"]
        assert row["total_tps"]["mean"] > tps
        assert row["output_tps_per_user"]["mean"] == pytest.approx(1 / row["tpot_s"]["mean"])
        assert row["e2e_s"]["mean"] < row["e2e_s_p90"]["mean"]
        assert row["ttft_s_p50"]["mean"] < row["ttft_s"]["mean"] < row["ttft_s_p90"]["mean"] < row["ttft_s_p99"]["mean"]
        per_device = row["cost_per_mtok"]["mean"] * row["output_tps_per_gpu"]["mean"]
        assert per_device == pytest.approx(cli.json(*WHATIF, *POINT)["rows"][0]["cost_per_mtok"]["mean"]
                                           * cli.json(*WHATIF, *POINT)["rows"][0]["output_tps"]["mean"])  # fmt: skip
        assert osl == pytest.approx(row["total_tps"]["mean"] / row["request_tps"]["mean"] - _isl())
    assert "$/Mtok" in cli.run(*WHATIF, *POINT).stdout


def _isl() -> float:
    return float(POINT[POINT.index("--isl") + 1])


def test_given_devices_are_shared_by_as_many_servers(cli):
    answer = cli.json(*WHATIF, *POINT, "--devices", "8", "--set", "tp=2,8")
    small, large = answer["rows"]
    assert [row["replicas"] for row in (small, large)] == [4, 1]
    assert [row["gpus"] for row in (small, large)] == [8, 8]
    load = [*POINT[:-1], str(int(POINT[-1]) // 4)]
    [one] = cli.json(*WHATIF, *load, "--set", "tp=2")["rows"]
    assert small["tpot_s"]["mean"] == pytest.approx(one["tpot_s"]["mean"])
    assert small["output_tps"]["mean"] == pytest.approx(4 * one["output_tps"]["mean"])
    assert small["total_tps"]["mean"] == pytest.approx(4 * one["total_tps"]["mean"])
    for name in ("output_tps_per_gpu", "cost_per_mtok"):
        assert small[name]["mean"] == pytest.approx(one[name]["mean"])
    assert "4 x (" in cli.run(*WHATIF, *POINT, "--devices", "8", "--set", "tp=2").stdout
    [left] = cli.json(*WHATIF, *POINT, "--devices", "9", "--set", "tp=2", "--plot", "page.html")["rows"]
    assert left["left_over"] == 1
    shown = cli.run(*WHATIF, *POINT, "--devices", "3", "--set", "tp=1,2").stdout.splitlines()
    assert {line.strip().split("  ")[-1] for line in shown[1:]} == {
        "3 x (tensor_parallel_size=1)",
        "1 x (tensor_parallel_size=2) + 1 device left",
    }
    [silent] = cli.json(*WHATIF, *POINT, "--devices", "8")["rows"]
    assert silent["replicas"] == 1
    assert silent["tpot_s"]["mean"] == pytest.approx(large["tpot_s"]["mean"])


def test_servers_that_share_a_rate_serve_no_more_than_comes(cli):
    words = ["--isl", "512", "--osl", "64", "--rate", "2", "--slo", "e2e_s<60"]
    for devices in ([], ["--devices", "2"]):
        [row] = cli.json(*WHATIF, *words, *devices)["rows"]
        assert row["request_tps"]["hi"] <= 2.0 * (1 + 1e-9)
        assert row["output_tps"]["hi"] <= 128.0 * (1 + 1e-9)
        assert row["goodput_rps"]["hi"] <= 2.0 * (1 + 1e-9)


def test_a_router_that_passes_too_little_on_is_the_limit(cli):
    words = ["--isl", "512", "--osl", "64", "--rate", "200", "--mode", "disagg", "--devices", "8"]
    [row] = cli.json(*WHATIF, *words, "--router-limit", "10")["rows"]
    assert row["limits"] == "router"
    assert row["utilisation"]["router"] == pytest.approx(1.0)
    assert row["request_tps"]["mean"] == pytest.approx(10.0)
    [free] = cli.json(*WHATIF, *words)["rows"]
    assert free["limits"] != "router"
    assert "router" not in free["utilisation"]


def test_the_page_of_a_run(cli):
    cli.json(*MADE_UP, "--slo", "ttft_s<9", "--plot", "run.html")
    text = (cli.folder / "run.html").read_text()
    assert "share of the KV cache" in text
    assert "goodput" in text
    assert "200 simulated requests" in text
    assert "page cannot be written" in cli.run(*MADE_UP, "--plot", "no/folder/run.html").stderr
    assert "beside --scenarios" in cli.run("simulate", "--scenarios", "s.jsonl", "--plot", "a.html").stderr


def test_a_run_over_time(cli):
    requests = [{"arrival_s": t, "input_tokens": 1600, "output_tokens": 100} for t in (0, 1, 9)]
    (cli.folder / "t.jsonl").write_text("\n".join(map(json.dumps, requests)))
    answer = cli.json(*ASK, "--trace", "t.jsonl")
    series = answer["over_time"]
    assert {len(values) for values in series.values()} == {200}
    assert series["time_s"][-1] == pytest.approx(answer["duration_s"])
    assert max(series["kv_share"]) <= answer["kv_peak"]
    busy = [share > 0 for share in series["kv_share"]]
    at_work = [sum(counts) > 0 for counts in zip(series["prompting"], series["answering"], strict=True)]
    assert sum(one and not other for one, other in zip(busy, at_work, strict=True)) == 0
    assert not busy[len(busy) // 2]
    assert max(series["answering"]) == 1


@pytest.mark.parametrize("load", [("--concurrency", "512"), ("--rate", "20")])
def test_it_is_explained_what_a_first_token_waits_for(cli, load):
    point = ["--isl", "512", "--osl", "64", *load]
    answer = cli.json(*WHATIF, *point, "--set", "max-num-seqs=64", "--explain")
    parts = answer["explain"]["first_token"]
    assert sum(parts.values()) == pytest.approx(answer["rows"][0]["ttft_s"]["mean"])
    assert min(parts["waiting"], parts["prompt steps"], parts["front end"]) > 0
    assert (parts["waiting"] > parts["prompt steps"]) == (load[0] == "--concurrency")
    assert parts["learned or measured"] == pytest.approx(0.0, abs=1e-9)
    assert "first token: " in cli.run(*WHATIF, *point, "--explain").stdout
