"""Whose scheduler `servecast simulate` runs, and what it says where that is another engine's."""

from __future__ import annotations

import json

import pytest

SERVER = ["simulate", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--scenario", "D(256,16)"]
LOAD = ["--rate", "20", "--requests", "60"]


def test_sglang_has_a_scheduler_of_its_own(cli):
    """Its steps are prompts or decodes, so that tokens wait for prompts; with mixed chunks they wait less."""
    vllm, sglang, mixed = (
        cli.json(*SERVER, *LOAD, "--engine", *engine)
        for engine in (["vllm"], ["sglang"], ["sglang", "--set", "enable_mixed_chunk=true"])
    )
    assert vllm["warnings"] == sglang["warnings"] == []
    assert sglang["requests"] == 60
    assert sglang["itl_s"]["p99"] > mixed["itl_s"]["p99"]
    assert sglang["ttft_s"] != vllm["ttft_s"]


def test_what_stands_in_for_another_scheduler_is_said(cli):
    found = cli.json(*SERVER, *LOAD, "--engine", "trtllm")
    assert "trtllm's scheduler is not simulated: vLLM's rules stand in for it" in found["warnings"][0]


@pytest.mark.parametrize(("engine", "flag"), [("vllm", "num_speculative_tokens"), ("sglang", "speculative_num_steps")])
def test_drafted_tokens_that_are_right_come_sooner(cli, engine, flag):
    few, many = (
        cli.json(*SERVER, *LOAD, "--engine", engine, "--set", f"{flag}=4", "--set", f"acceptance_rate={rate}")
        for rate in (0.2, 0.95)
    )
    assert many["steps"] < few["steps"]
    assert many["tpot_s"]["mean"] < few["tpot_s"]["mean"]
    assert many["itl_s"]["p50"] < few["itl_s"]["p50"]  # tokens of one step come at one moment


def test_a_server_that_does_not_start_is_not_simulated(cli):
    done = cli.run(*SERVER, *LOAD, "--set", "max_num_seqs=256", "--set", "max_num_batched_tokens=200")
    assert (done.returncode, done.stdout) == (2, "")
    assert "max_num_batched_tokens 200 is less than max_num_seqs 256: vLLM refuses to start" in done.stderr


def test_sglang_replicas_serve_a_rate_in_turn(cli):
    sets = ["--engine", "sglang", "--set", "max_running_requests=4"]
    one, two = (cli.json(*SERVER, *LOAD, *sets, "--set", f"dp_size={count}") for count in (1, 2))
    assert two["replicas"] == 2
    assert two["e2e_s"]["mean"] < one["e2e_s"]["mean"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*LOAD, "--set", "schedule_policy=random"], "schedule_policy random: it is not simulated; expected one of"),
        ([*LOAD, "--set", "max_total_tokens=200"], "a prompt of 256 tokens; expected fewer than"),
    ],
)
def test_what_sglang_is_not_simulated_with_is_refused(cli, arguments, sentence):
    done = cli.run(*SERVER, "--engine", "sglang", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_scenarios_name_their_engine(cli, tmp_path):
    settings = {
        "page_size": 1, "num_pages": 100, "context_length": 90, "max_running_requests": 2, "max_prefill_tokens": 64,
        "chunked_prefill_size": 16, "schedule_policy": "fcfs", "schedule_conservativeness": 1.0,
        "disable_radix_cache": False, "enable_mixed_chunk": False,
    }  # fmt: skip
    asked = {"id": 0, "arrival_step": 0, "prompt_len": 20, "max_tokens": 3, "prefix_group": -1, "prefix_len": 0}
    given, out = tmp_path / "given.jsonl", tmp_path / "out.jsonl"
    scenario = {"id": "s", "engine": "sglang", "settings": settings, "requests": [asked]}
    given.write_text(json.dumps(scenario) + "\n", encoding="utf-8")
    cli.run("simulate", "--scenarios", given, "--out", out)
    decided = json.loads(out.read_text(encoding="utf-8"))
    assert [step["scheduled"] for step in decided["steps"]] == [[0, 16], [0, 4], [0, 1], [0, 1]]
    given.write_text(json.dumps(scenario | {"engine": "trtllm"}) + "\n", encoding="utf-8")
    refused = cli.run("simulate", "--scenarios", given, "--out", out)
    assert "engine trtllm: its scheduler is not simulated; expected vllm or sglang" in refused.stderr


@pytest.mark.parametrize("alone", ["1", "4"])
def test_on_a_cpu_it_says_what_the_closed_form_says(cli, alone):
    """A few rows are not padded there to the tiles that matrix units have."""
    asked = ["--model", "Qwen/Qwen2.5-0.5B", "--platform", "amd-epyc-zen4-2c", "--engine", "llamacpp"]
    load = ["--scenario", "D(128,32)", "--concurrency", alone]
    [closed] = cli.json("whatif", *asked, *load)["rows"]
    simulated = cli.json("simulate", *asked, *load, "--requests", "40")
    for metric in ("ttft_s", "tpot_s"):
        assert simulated[metric]["mean"] == pytest.approx(closed[metric]["mean"], rel=0.05)
