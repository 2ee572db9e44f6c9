"""`servecast capacity --mode disagg`: the largest load under an SLO of units of two pools."""

from __future__ import annotations

from typing import Any

import pytest

from model.disagg.units import Sharing
from model.simulate.traffic import sampled
from perfdb.store import Store
from servecast.loads.asked_load import asked_traffic, workload_of
from servecast.predicting.capacity import TOLERANCE, capacity, question_of
from servecast.predicting.disagg import DisaggAsked, disagg
from servecast.predicting.modes import mode_of
from servecast.predicting.whatif import WhatIf
from servecast.simulation.pool_server import pool_server
from servecast.slo import parse_slos

MODEL, PLATFORM = "meta-llama/Llama-3.1-8B", "h100_sxm"
SLO = "ttft_s<0.5,tpot_s<0.02"
ONE_EACH = {"prefill.replicas": (1,), "decode.replicas": (1,)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("capacity") / "none.duckdb")


def ask(
    store: Store, slo: str = SLO, by: str = "rate", sets: Any = None, requests: int | None = None,
    link: float | None = None, decode: str | None = None, isl: int = 2000, **more: Any,
) -> Any:  # fmt: skip
    load, traffic = asked_traffic(isl, 200, None, by == "rate", requests is not None)
    asked = WhatIf(MODEL, PLATFORM, "vllm", load.workload, sets or {})
    mode = mode_of("disagg", None, {"link": link}, decode, None)
    return capacity(question_of(asked, traffic, by, parse_slos(slo), requests=requests, mode=mode, **more), store)


def predicted(store: Store, row: Any, rate: float | None, concurrency: int | None, decode: str | None = None) -> Any:
    sets = {f"{pool}.replicas": (row[pool]["workers"],) for pool in ("prefill", "decode")}
    sets |= {f"{pool}.{k}": (v,) for pool in ("prefill", "decode") for k, v in row[pool]["config"].items()}
    workload = workload_of(2000, 200, concurrency, rate, None)
    [found] = disagg(DisaggAsked(WhatIf(MODEL, PLATFORM, "vllm", workload, sets), decode, Sharing()), store)["rows"]
    return found


@pytest.mark.parametrize("by", ["rate", "concurrency"])
def test_the_slo_holds_at_the_capacity_of_a_unit_and_not_above_it(store: Store, by: str) -> None:
    answer = ask(store, by=by, sets={"tp": (1, 2), "decode.max_num_seqs": (64, 256)}, decode="h200_sxm")
    assert (answer["mode"], answer["configs"], answer["by"]) == ("disagg", 8, by)
    for row in answer["rows"]:
        load = row["capacity"]
        above = load * (1 + TOLERANCE) * 1.001
        loads = (
            [(load, None), (above, None)]
            if by == "rate"
            else [(None, int(load)), (None, max(int(above), int(load) + 1))]
        )
        good, bad = (predicted(store, row, *each, decode="h200_sxm") for each in loads)
        assert good["ttft_s"]["mean"] == pytest.approx(row["at"]["ttft_s"], rel=1e-6)
        assert good["ttft_s"]["mean"] <= 0.5
        assert good["tpot_s"]["mean"] <= 0.02
        assert (row["limits"], row["devices"]) == (good["limits"], good["gpus"])
        over = {"ttft_s<0.5": bad["ttft_s"]["mean"] / 0.5, "tpot_s<0.02": bad["tpot_s"]["mean"] / 0.02}
        over["throughput"] = 0.98 * loads[1][0] / bad["request_tps"]["mean"] if by == "rate" else 0.0
        assert max(over.values()) > 1
        assert over[row["binds"]] == pytest.approx(max(over.values()), rel=1e-3)
        assert row["decode"]["platform"] == "h200_sxm" != row["prefill"]["platform"]
    goodput = [row["request_tps_per_device"] for row in answer["rows"]]
    assert goodput == sorted(goodput, reverse=True)


def test_workers_that_are_given_stay_and_others_are_matched_to_a_full_unit(store: Store) -> None:
    [given] = ask(store, sets={"prefill.replicas": (3,), "decode.replicas": (2,)})["rows"]
    assert [given[pool]["workers"] for pool in ("prefill", "decode")] == [3, 2]
    [twice] = ask(store, sets={"prefill.replicas": (6,), "decode.replicas": (4,)})["rows"]
    assert twice["capacity"] > 2 * given["capacity"] * (1 - TOLERANCE)
    [matched] = ask(store, sets={"prefill.replicas": (4,)})["rows"]
    endless = predicted(store, matched, 1e6, None)
    assert matched["decode"]["workers"] > 1
    assert endless["utilisation"]["decode"] > 0.7


def test_a_slower_link_or_a_tighter_bound_never_raises_the_capacity(store: Store) -> None:
    found = [ask(store, sets=ONE_EACH, link=link)["rows"][0]["capacity"] for link in (0.5, 5.0, 50.0)]
    assert found == sorted(found)
    assert found[0] < 0.5 * found[-1]
    assert ask(store, sets=ONE_EACH, link=0.5)["rows"][0]["limits"] == "transfer"
    loose = [ask(store, f"ttft_s<{bound}", sets=ONE_EACH)["rows"][0]["capacity"] for bound in (0.1, 0.2, 2.0)]
    assert loose == sorted(loose)


def test_units_share_devices_and_each_pool_has_its_price(store: Store) -> None:
    [row] = ask(store, sets=ONE_EACH, decode="a100_sxm_80gb")["rows"]
    [same] = ask(store, sets=ONE_EACH, decode="a100_sxm_80gb", usd_per_hour=3.6)["rows"]
    rate = row["capacity"]
    assert same["cost_per_mtok"] == pytest.approx(2 * 3.6 / 3600 / (rate * 200) * 1e6)
    [at_rate] = ask(store, sets=ONE_EACH, decode="a100_sxm_80gb", total_rate=2.5 * rate, efficiency=0.9)["rows"]
    hourly = at_rate["total"]["usd_per_hour"] / at_rate["total"]["replicas"]
    assert row["cost_per_mtok"] == pytest.approx(hourly / 3600 / (rate * 200) * 1e6)
    assert hourly != pytest.approx(2 * same["cost_per_mtok"])
    assert (at_rate["total"]["replicas"], at_rate["total"]["devices"]) == (3, 6)
    [all_of] = ask(store, devices=9)["rows"]
    size = sum(all_of[pool]["workers"] for pool in ("prefill", "decode"))
    assert all_of["devices"] == size <= 9
    assert all_of["total"]["replicas"] == 9 // size
    assert all_of["total"]["request_tps"] == pytest.approx(9 // size * all_of["capacity"])


def test_a_pool_that_does_not_fit_says_which_and_why(store: Store) -> None:
    load, traffic = asked_traffic(2000, 200, None, True, False)
    sets = {**ONE_EACH, "prefill.tp": (4,), "decode.tp": (1, 4)}
    asked = WhatIf("meta-llama/Llama-3.1-70B", PLATFORM, "vllm", load.workload, sets)
    for requests in (None, 100):
        mode = mode_of("disagg", None, {}, None, None)
        question = question_of(asked, traffic, "rate", parse_slos("ttft_s<2"), requests=requests, mode=mode)
        fits, not_so = capacity(question, store)["rows"]
        assert (fits["feasible"], fits["decode"]["config"]) == (True, {"tensor_parallel_size": 4})
        assert (not_so["feasible"], not_so["capacity"], not_so["binds"]) == (False, 0.0, None)
        assert not_so["reason"].startswith("decode: needs ")


def test_a_simulated_unit_carries_about_as_much_and_percentiles_less(store: Store) -> None:
    slo, rest = "ttft_s<2,tpot_s<0.02", {"sets": ONE_EACH, "isl": 12000}
    [by_model] = ask(store, slo, **rest)["rows"]
    [mean] = ask(store, slo, requests=100, **rest)["rows"]
    assert mean["provenance"] == "simulated"
    assert "limits" not in mean
    assert mean["capacity"] == pytest.approx(by_model["capacity"], rel=0.25)
    [tail] = ask(store, "ttft_s_p99<2,tpot_s_p99<0.02", requests=100, **rest)["rows"]
    assert 0 < tail["capacity"] <= mean["capacity"]
    assert tail["at"]["ttft_s_p99"] <= 2
    load, traffic = asked_traffic(12000, 200, None, True, True)
    pools = DisaggAsked(WhatIf(MODEL, PLATFORM, "vllm", load.workload, ONE_EACH), None, Sharing())
    trace = sampled(traffic.under(rate=mean["capacity"]), max(100, round(60 * mean["capacity"])), 0)
    assert pool_server(pools, trace, store).serve(trace)["ttft_s"]["mean"] == pytest.approx(mean["at"]["ttft_s"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--mode", "both"], "--mode both: capacity is of one way to serve; expected agg or disagg"),
        (["--link", "10"], "--link: beside --mode agg"),
        (["--decode", "h200_sxm"], "--decode: beside --mode agg"),
        (["--mode", "disagg", "--set", "prefil.tp=2"], "unknown pool 'prefil'"),
        (["--mode", "disagg", "--slo", "success_rate>0.9"], "metric success_rate: not predicted of two pools"),
        (["--mode", "disagg", "--osl", "1"], "osl: 1: nothing is left to the decode pool"),
        (["--mode", "disagg", "--engine", "llamacpp"], "llama.cpp prefills and decodes in one server"),
        (["--mode", "disagg", "--set", "decode.replicas=0"], "whole numbers of workers"),
    ],
)
def test_what_cannot_be_is_one_sentence(cli: Any, arguments: list[str], sentence: str) -> None:
    done = cli.run(*_command("ttft_s<1"), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command(cli: Any) -> None:
    asked = [*_command(SLO), "--mode", "disagg", "--set", "tp=1", "--set", "prefill.replicas=2", "--decode", "h200_sxm"]
    answer = cli.json(*asked)
    assert answer["link_bytes_s"] == 50e9
    done = cli.run(*asked, "--total-rate", "50")
    [line] = [line for line in done.stdout.splitlines() if "tp=1" in line]
    workers = answer["rows"][0]["decode"]["workers"]
    assert line.endswith(f"1 x (2 h100_sxm tp=1 > {workers} h200_sxm tp=1)")
    assert "limit" in done.stdout.splitlines()[0]
    assert "KV caches move at 50 GB/s" in done.stderr


def test_parameters_that_change_nothing_are_said(store: Store, cli: Any) -> None:
    text = "scheduling_policy: not seen by the closed form"
    assert any(text in each for each in ask(store, sets={**ONE_EACH, "scheduling_policy": ("fcfs",)})["warnings"])
    for mode in ("agg", "disagg"):
        assert text in cli.run(*_command(SLO), "--mode", mode, "--set", "scheduling_policy=fcfs").stderr


def _command(slo: str) -> list[str]:
    return ["capacity", "--model", MODEL, "--platform", PLATFORM, "--engine", "vllm", "--slo", slo,
            "--isl", "2000", "--osl", "200"]  # fmt: skip
