"""`servecast capacity` (FEATURES S1.33, S1.39): the largest load under an SLO, and what a given load takes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from perfdb.errors import InputError
from perfdb.store import Store
from servecast.cli import app
from servecast.loads.asked_load import asked_traffic, workload_of
from servecast.predicting.capacity import TOLERANCE, capacity, question_of
from servecast.predicting.whatif import WhatIf, whatif
from servecast.slo import parse_slos

MODEL, PLATFORM = "meta-llama/Llama-3.1-8B", "h100_sxm"
SLO = "ttft_s<0.5,tpot_s<0.02"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("capacity") / "none.duckdb")


def ask(
    store: Store,
    slo: str = SLO,
    by: str = "rate",
    sets: Any = None,
    simulated: bool = False,
    osl: int = 256,
    **more: Any,
) -> Any:
    load, traffic = asked_traffic(1024, osl, None, by == "rate", simulated)
    asked = WhatIf(MODEL, PLATFORM, "vllm", load.workload, sets or {})
    requests = {"requests": 400} if simulated else {}
    return capacity(question_of(asked, traffic, by, parse_slos(slo), **requests, **more), store)


def predicted(store: Store, rate: float | None, concurrency: int | None, sets: Any) -> Any:
    workload = workload_of(1024, 256, concurrency, rate, None)
    return whatif(WhatIf(MODEL, PLATFORM, "vllm", workload, sets), store)["rows"]


@pytest.mark.parametrize("by", ["rate", "concurrency"])
def test_the_slo_holds_at_the_capacity_and_not_above_it(store: Store, by: str) -> None:
    sets = {"max_num_seqs": (64, 256), "tensor_parallel_size": (1, 2)}
    answer = ask(store, by=by, sets=sets)
    assert answer["configs"] == 4
    assert answer["evaluations"] < 40
    for row in answer["rows"]:
        config = {name: (value,) for name, value in row["config"].items()}
        load, step = row["capacity"], 1 + TOLERANCE
        loads = [(load, None), (load * step * 1.001, None)] if by == "rate" else [(None, int(load)), (None, None)]
        if by == "concurrency":
            loads[1] = (None, max(int(load * step) + 1, int(load) + 1))
        at, above = (predicted(store, *each, config)[0] for each in loads)
        assert at["ttft_s"]["mean"] <= 0.5
        assert at["tpot_s"]["mean"] <= 0.02
        assert at["ttft_s"]["mean"] == pytest.approx(row["at"]["ttft_s"], rel=1e-6)
        over = {"ttft_s<0.5": above["ttft_s"]["mean"] / 0.5, "tpot_s<0.02": above["tpot_s"]["mean"] / 0.02}
        assert max(over.values()) > 1
        assert row["binds"] in over
        assert over[row["binds"]] == max(over.values())
    goodput = [row["request_tps_per_device"] for row in answer["rows"]]
    assert goodput == sorted(goodput, reverse=True)


def test_a_looser_slo_never_lowers_the_capacity(store: Store) -> None:
    found = [ask(store, slo=f"ttft_s<1,tpot_s<{bound}")["rows"][0]["capacity"] for bound in (0.008, 0.01, 0.02, 0.1)]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_without_a_bound_on_time_a_rate_ends_where_requests_pile_up(store: Store) -> None:
    [row] = ask(store, slo="tpot_s<10")["rows"]
    assert row["binds"] == "throughput"
    assert predicted(store, row["capacity"] * 1.5, None, {})[0]["request_tps"]["mean"] < row["capacity"] * 1.05


@pytest.mark.parametrize("osl", [100, 1500])
def test_without_a_bound_on_time_simulations_end_there_too(store: Store, osl: int) -> None:
    """Also where answers take longer than the first minute, in which they fill places that are still free."""
    slo, sets = "tpot_s<10", {"max_num_seqs": (32,)}
    [by_model], [simulated] = (
        ask(store, slo=slo, sets=sets, simulated=each, osl=osl)["rows"] for each in (False, True)
    )
    assert by_model["binds"] == simulated["binds"] == "throughput"
    assert simulated["capacity"] == pytest.approx(by_model["capacity"], rel=0.1)
    assert simulated["at"]["request_tps"] > 0.8 * simulated["capacity"]


def test_no_load_is_good_enough_and_none_is_too_much(store: Store) -> None:
    [row] = ask(store, slo="tpot_s<1e-5", total_rate=5.0)["rows"]
    assert (row["capacity"], row["at"], row["total"]) == (0.0, None, None)
    assert row["binds"] == "tpot_s<1e-05"
    [row] = ask(store, slo="tpot_s<1e5", by="concurrency")["rows"]
    assert (row["capacity"], row["binds"]) == (4096, None)


@pytest.mark.parametrize("by", ["rate", "concurrency"])
def test_a_bound_that_load_helps_to_keep_is_asked_at_the_most_load(store: Store, by: str) -> None:
    """One request in a thousand seconds yields few tokens, each of them dear; that excludes no larger load."""
    [plain] = ask(store, by=by)["rows"]
    tokens, dollars = plain["at"]["output_tps"], plain["cost_per_mtok"]
    enough = f"{SLO},output_tps>{0.9 * tokens},cost_per_mtok<{1.1 * dollars}"
    [kept] = ask(store, enough, by)["rows"]
    assert (kept["capacity"], kept["binds"]) == (plain["capacity"], plain["binds"])
    for slo in (f"output_tps>{1.2 * tokens}", f"cost_per_mtok<{0.8 * dollars}"):
        [none] = ask(store, f"{SLO},{slo}", by)["rows"]
        assert none["capacity"] == 0
        assert none["binds"].split("<")[0].split(">")[0] in slo


def test_a_config_that_does_not_fit_says_why(store: Store) -> None:
    load, traffic = asked_traffic(1024, 256, None, True, False)
    asked = WhatIf("meta-llama/Llama-3.1-70B", PLATFORM, "vllm", load.workload, {"tensor_parallel_size": (1, 4)})
    for requests in (None, 400):
        question = question_of(asked, traffic, "rate", parse_slos("ttft_s<2"), requests=requests)
        fits, not_so = capacity(question, store)["rows"]
        assert fits["config"] == {"tensor_parallel_size": 4}
        assert fits["capacity"] > 0
        assert (not_so["feasible"], not_so["capacity"], not_so["binds"]) == (False, 0.0, None)
        assert not_so["reason"]


def test_replicas_devices_and_dollars_of_a_rate(store: Store) -> None:
    [alone] = ask(store)["rows"]
    rate = alone["capacity"] * 2.5
    [row] = ask(store, total_rate=rate, usd_per_hour=3.6)["rows"]
    total = row["total"]
    assert (total["replicas"], total["devices"], total["fits"]) == (3, 3, True)
    assert total["usd_per_hour"] == pytest.approx(3 * 3.6)
    assert total["cost_per_mtok"] == pytest.approx(3 * 3.6 / 3600 / (rate * 256) * 1e6, rel=1e-6)
    assert row["cost_per_mtok"] == pytest.approx(3.6 / 3600 / (alone["capacity"] * 256) * 1e6, rel=1e-6)
    assert ask(store, total_rate=rate, efficiency=0.8)["rows"][0]["total"]["replicas"] == 4
    assert ask(store, total_rate=alone["capacity"] * 0.9, efficiency=0.5)["rows"][0]["total"]["replicas"] == 1
    assert not ask(store, total_rate=rate, devices=2)["rows"][0]["total"]["fits"]


def test_replicas_fill_the_devices_there_are(store: Store) -> None:
    rows = ask(store, sets={"tensor_parallel_size": (1, 2, 4)}, devices=7, efficiency=0.9)["rows"]
    totals = {row["config"]["tensor_parallel_size"]: row["total"] for row in rows}
    assert {tp: total["replicas"] for tp, total in totals.items()} == {1: 7, 2: 3, 4: 1}
    assert {tp: total["devices_left"] for tp, total in totals.items()} == {1: 0, 2: 1, 4: 3}
    one = {row["config"]["tensor_parallel_size"]: row["capacity"] for row in rows}
    assert totals[2]["request_tps"] == pytest.approx(3 * 0.9 * one[2])
    assert totals[4]["request_tps"] == pytest.approx(one[4])
    none = ask(store, sets={"tensor_parallel_size": (4,)}, devices=3)["rows"][0]["total"]
    assert (none["replicas"], none["devices_left"], none["fits"], none["request_tps"]) == (0, 3, False, 0.0)


def test_the_simulation_finds_about_the_same_and_keeps_percentiles(store: Store) -> None:
    by_model = ask(store)["rows"][0]["capacity"]
    [mean] = ask(store, simulated=True)["rows"]
    assert mean["capacity"] == pytest.approx(by_model, rel=0.2)
    assert mean["provenance"] == "simulated"
    [tail] = ask(store, slo="ttft_s_p99<0.5,tpot_s_p99<0.02", simulated=True)["rows"]
    assert tail["capacity"] < mean["capacity"]
    assert tail["at"]["ttft_s_p99"] <= 0.5
    [closed] = ask(store, by="concurrency", simulated=True)["rows"]
    assert closed["capacity"] == int(closed["capacity"]) > 1
    with pytest.raises(InputError, match="not simulated"):
        ask(store, slo="power_w<5", simulated=True)


def test_what_no_server_starts_with_is_a_row_that_says_so(store: Store) -> None:
    for simulated in (False, True):
        good, refused = ask(store, sets={"tensor_parallel_size": (1, 3)}, simulated=simulated)["rows"]
        assert good["capacity"] > 0 == refused["capacity"]
        assert (refused["feasible"], refused["at"], refused["devices"]) == (False, None, 3)
        assert refused["reason"] == "32 attention heads cannot be divided among tp 3"


def test_data_parallel_copies_share_a_simulated_load(store: Store) -> None:
    rows = ask(store, sets={"data_parallel_size": (1, 2)}, simulated=True)["rows"]
    found = {row["config"]["data_parallel_size"]: row for row in rows}
    assert found[2]["capacity"] == pytest.approx(2 * found[1]["capacity"], rel=2 * TOLERANCE)
    assert found[2]["request_tps_per_device"] == pytest.approx(found[1]["request_tps_per_device"], rel=2 * TOLERANCE)


@pytest.mark.parametrize("simulated", [False, True])
def test_answers_of_one_token_have_no_time_between_tokens(store: Store, simulated: bool) -> None:
    [row] = ask(store, slo="ttft_s<0.5", simulated=simulated, osl=1)["rows"]
    assert row["capacity"] > 1
    assert math.isnan(row["at"]["tpot_s"])
    with pytest.raises(InputError, match="tpot_s_p99<1: answers of one token have no time between tokens"):
        ask(store, slo="ttft_s<0.5,tpot_s_p99<1", simulated=simulated, osl=1)


@pytest.mark.parametrize(
    ("by", "more", "message"),
    [
        ("load", {}, "--by"),
        ("rate", {"total_rate": 0.0}, "--total-rate: 0; expected a number above 0 and below 1e9"),
        ("rate", {"total_rate": 1e12}, "--total-rate"),
        ("rate", {"efficiency": 1.5}, "--efficiency"),
        ("rate", {"usd_per_hour": -1.0}, "--usd-per-hour"),
    ],
)
def test_bad_questions_are_refused(store: Store, by: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(store, by=by, **more)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("lengths: U(100,900)/(50,200)\nburstiness: 0.3\n")
    asked = ["capacity", "--model", MODEL, "--platform", PLATFORM, "--engine", "vllm"]
    asked += ["--db", str(tmp_path / "none.duckdb"), "--workload", str(tmp_path / "w.yaml"), "--slo"]
    answer = json.loads(CliRunner().invoke(app, [*asked, SLO, "--json"]).stdout)
    assert (answer["by"], answer["method"], answer["not_modelled"]) == ("rate", "model", ["burstiness"])
    assert answer["slo"] == ["ttft_s<0.5", "tpot_s<0.02"]
    assert answer["rows"][0]["capacity"] > 1
    assert "replicas" in CliRunner().invoke(app, [*asked, SLO, "--total-rate", "90"]).stdout
    assert "--method" in str(CliRunner().invoke(app, [*asked, SLO, "--method", "guess"]).exception)
