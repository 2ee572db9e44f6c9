"""Numbers that nobody means, and what they are told: one sentence, never a traceback and never a wrong number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from questions import WHATIF

from perfdb.facts.engines import engine
from perfdb.records import Grid, Scalar, as_column
from servecast.tuning.space import devices_of

HUGE = 10**23
SERVED = [*WHATIF[1:], "--scenario", "D(64,8)"]


def test_whole_numbers_beyond_64_bits_are_floats() -> None:
    assert as_column([1, 2]).dtype == np.int64
    assert as_column([1, HUGE]).tolist() == [1.0, 1e23]


@pytest.mark.parametrize(
    ("given", "devices"),
    [
        ([1, 2, 4], [1, 2, 4]),
        ([2.0, 4.0], [2, 4]),
        ([None, 2, 2.0, "2", "2e0"], [1, 2, 2, 2, 2]),
        ([0, -3], [1, 1]),
        (["two", 1.5, float("nan"), float("inf")], [1, 1, 1, 1]),
        ([HUGE], [1 << 20]),
    ],
)
def test_devices_are_counted_as_the_model_reads_a_value(given: list[Scalar], devices: list[int]) -> None:
    grid = Grid({"tensor_parallel_size": as_column(given)})
    assert devices_of(grid, engine("vllm")).tolist() == devices


def test_three_huge_counts_make_no_negative_number_of_devices() -> None:
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    assert devices_of(Grid({name: as_column([HUGE]) for name in names}), engine("vllm")).tolist() == [1 << 60]


def test_a_parameter_spelled_otherwise_takes_as_many_devices(cli: Any) -> None:
    rows = cli.json("capacity", *SERVED, "--slo", "ttft_s<1", "--set", "tp=2,2.0,null")["rows"]
    found = {str(row["config"]["tensor_parallel_size"]): row["devices"] for row in rows}
    assert found == {"2": 2, "2.0": 2, "None": 1}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["whatif", "--rate", "3", "--set", f"tp={HUGE}"], "32 attention heads cannot be divided among tp"),
        (["whatif", "--rate", "3", "--set", f"pp={9 * 10**18}"], "32 layers cannot be divided into"),
        (["simulate", "--rate", "3", "--set", f"max_model_len={HUGE}"], "the value 1e+23; expected from -1 to 1e+12"),
        (["simulate", "--rate", "3", "--set", f"dp={HUGE}"], "more than any server takes; expected at most 4,096"),
        (["simulate", "--rate", "1e-300"], "the last of 1000 requests comes after"),
        (["simulate", "--concurrency", str(HUGE)], "less than or equal to 1000000000"),
        (["capacity", "--slo", "ttft_s<1", "--method", "simulate", "--requests", str(HUGE)], "or equal to 200000"),
        (["capacity", "--slo", "output_tps_per_user>1", "--scenario", "D(9,1)"], "have no time between tokens"),
        (["whatif", "--rate", "3", "--scenario", "D(1e10,5)"], "--scenario: a mean of 1e+10 tokens; expected up to"),
    ],
)
def test_no_number_is_too_large_for_a_sentence(cli: Any, arguments: list[str], sentence: str) -> None:
    done = cli.run(arguments[0], *SERVED, *arguments[1:])
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("hidden_size", "NaN", "field 'hidden_size' is nan; expected a whole number from 0 to 1e+12"),
        ("vocab_size", "1e99", "field 'vocab_size' is 1e+99; expected a whole number"),
        ("num_hidden_layers", str(10**9), "1e+09 layers; expected at most 10,000"),
    ],
)
def test_a_model_has_numbers_that_can_be(cli: Any, field: str, value: str, sentence: str) -> None:
    config = {"model_type": '"llama"', "hidden_size": "4096", "num_hidden_layers": "32", "num_attention_heads": "32"}
    config |= {"intermediate_size": "14336", "vocab_size": "128256", field: value}
    text = ", ".join(f'"{name}": {number}' for name, number in config.items())
    (cli.folder / "config.json").write_text(f"{{{text}}}")
    done = cli.run("whatif", "--model", "config.json", *WHATIF[3:], "--scenario", "D(5,5)", "--rate", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"config.json: {sentence}" in done.stderr


@pytest.mark.parametrize("lengths", ["0 D(5,5)", "1e400 D(5,5) + 1 D(9,9)", "1e308 D(5,5) + 1e308 D(9,9)"])
def test_weights_add_up_to_a_number(cli: Any, lengths: str) -> None:
    done = cli.run(*WHATIF, "--scenario", lengths, "--rate", "1")
    assert f"lengths {lengths!r}: no weights that add up to a number above 0; expected D(96,24)" in done.stderr


@pytest.mark.parametrize("field", ["arrival_s", "input_tokens"])
def test_a_trace_tells_how_large_its_numbers_may_be(cli: Any, field: str) -> None:
    line = {"arrival_s": "1", "input_tokens": "5", "output_tokens": "5", field: "1e17"}
    text = ", ".join(f'"{name}": {value}' for name, value in line.items())
    (cli.folder / "far.jsonl").write_text(f"{{{text}}}\n")
    done = cli.run("workload", "fit", "far.jsonl")
    assert done.stderr.strip().endswith(f"{field} is 1e+17; expected a number from 0, below 1e12")


def test_a_workload_file_tells_how_many_may_be_in_flight(cli: Any) -> None:
    (cli.folder / "w.yaml").write_text(f"lengths: D(5,5)\nconcurrency: {HUGE}\n")
    assert "w.yaml: concurrency" in cli.run("whatif", *WHATIF[1:], "--workload", "w.yaml").stderr


def test_too_little_memory_is_one_sentence(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_given: object) -> None:
        raise MemoryError

    monkeypatch.setattr("servecast.commands.db_check.open_existing", full)
    done = cli.run("db", "check")
    assert done.returncode == 1
    assert done.stderr == "servecast: the answer takes more memory than there is; expected fewer requests or configs\n"


@pytest.mark.parametrize(
    "mode", [[], ["--mode", "disagg", "--set", "prefill.replicas=1", "--set", "decode.replicas=1"]]
)
def test_a_rate_beyond_what_is_served_is_said(cli: Any, mode: list[str]) -> None:
    asked = [*WHATIF, "--scenario", "D(512,128)", *mode, "--rate"]
    done = cli.run(*asked, "200")
    assert "the config serves less than the 200 requests/s that come" in done.stderr
    assert "serves less" not in cli.run(*asked, "10").stderr
    assert "serves less" not in cli.run(*asked[:-1], "--concurrency", "512").stderr
    [said] = [text for text in cli.json(*asked, "200")["warnings"] if "serves less" in text]
    assert "ttft_s and e2e_s are those of a short run" in said


def test_of_several_configs_it_is_said_how_many_fall_behind(cli: Any) -> None:
    answer = cli.json(*WHATIF, "--scenario", "D(512,128)", "--rate", "80", "--set", "tp=1,2,4,3")
    behind = [row for row in answer["rows"] if row["feasible"] and row["request_tps"]["mean"] < 78]
    assert len(behind) == 1
    [said] = answer["warnings"]
    assert said.startswith("1 of these configs serves less than the 80 requests/s that come (")
