"""`servecast simulate` as a user calls it."""

from __future__ import annotations

import json

import pytest

ASK = ["--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm"]


def test_a_made_up_load(cli):
    answer = cli.json("simulate", *ASK, "--scenario", "D(512,128)", "--rate", "2", "--requests", "50")
    assert answer["requests"] == 50
    assert 0 < answer["ttft_s"]["p50"] <= answer["ttft_s"]["p99"]
    assert answer["preemptions"] == 0


def test_an_overload_is_said(cli):
    asked = ["simulate", *ASK, "--scenario", "D(4000,20)", "--requests", "200"]
    few, many = (cli.json(*asked, "--rate", rate) for rate in ("2", "60"))
    assert few["kept_up"] > 0.98
    assert many["kept_up"] < 0.5
    text = f"answers begin, which keep {many['kept_up']:.0%} of their pace"
    assert text in cli.run(*asked, "--rate", "60").stderr
    assert "pace" not in cli.run(*asked, "--rate", "2").stderr
    assert "pace" not in cli.run(*asked, "--concurrency", "100").stderr
    assert "pace" not in cli.run(*asked[:-1], "9", "--rate", "60").stderr


STATISTICS = ("mean", "p50", "p90", "p95", "p99")


@pytest.mark.parametrize("mode", ["agg", "disagg"])
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_answers_of_one_token_have_no_time_between_tokens(cli, mode, engine):
    asked = ["simulate", *ASK, "--scenario", "D(512,1)", "--rate", "2", "--requests", "9"]
    asked += ["--mode", mode, "--engine", engine]
    answer = cli.json(*asked)
    assert answer["tpot_s"] == answer["itl_s"] == dict.fromkeys(STATISTICS)
    assert tuple(answer["ttft_s"]) == STATISTICS
    assert answer["ttft_s"] == answer["e2e_s"]
    assert 0 < answer["ttft_s"]["p50"] <= answer["ttft_s"]["p99"]
    lines = [line.split() for line in cli.run(*asked).stdout.splitlines()]
    assert ["tpot_s", "-", "-", "-", "-", "-"] in lines
    assert ["itl_s", "-", "-", "-", "-", "-"] in lines


@pytest.mark.parametrize("mode", ["agg", "disagg"])
def test_one_longer_answer_alone_says_what_is_between_tokens(cli, mode):
    arrivals = [{"arrival_s": t, "input_tokens": 64, "output_tokens": n} for t, n in ((0, 1), (1, 3), (2, 1))]
    (cli.folder / "t.jsonl").write_text("\n".join(map(json.dumps, arrivals)))
    answer = cli.json("simulate", *ASK, "--trace", "t.jsonl", "--mode", mode)
    assert 0 < answer["tpot_s"]["p50"] == answer["tpot_s"]["p99"]
    assert answer["itl_s"]["mean"] == pytest.approx(answer["tpot_s"]["mean"], rel=1e-6)


def test_a_trace_with_a_small_cache_preempts(cli):
    arrivals = [json.dumps({"arrival_s": 0, "input_tokens": 100, "output_tokens": 90}) for _ in range(8)]
    (cli.folder / "t.jsonl").write_text("\n".join(arrivals))
    small = ["--set", "num_gpu_blocks_override=30", "--set", "max_model_len=256"]
    assert cli.json("simulate", *ASK, "--trace", "t.jsonl", *small)["preemptions"] > 0


def test_bad_questions_get_one_sentence(cli):
    for arguments, message in (((), "--scenarios"), ((*ASK,), "exactly one"), (("--scenarios", "x"), "--out")):
        done = cli.run("simulate", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--out", "o.jsonl", *ASK, "--scenario", "D(9,9)", "--rate", "1"), "--out: without --scenarios"),
        (("--scenarios", "s", "--out", "o", "--rate", "2"), "--rate: beside --scenarios"),
        ((*ASK, "--trace", "t.jsonl", "--requests", "9"), "--requests: beside --trace"),
        ((*ASK, "--trace", "t.jsonl", "--seed", "0"), "--seed: beside --trace"),
        ((*ASK, "--trace", "t.jsonl", "--concurrency", "2"), "--concurrency: beside --trace"),
        (
            (*ASK, "--scenario", "D(9,9)", "--rate", "1", "--set", "dp=4,2"),
            "4,2 are several values, and simulate takes",
        ),
    ],
)
def test_flags_that_would_count_for_nothing_are_one_sentence(cli, arguments, sentence):
    done = cli.run("simulate", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_was_not_compiled_yet_is_said_once_and_left_out_of_the_time(cli, monkeypatch, capsys):
    import model.compiled
    from model.simulate.traffic import sampled
    from perfdb.records import Arrival, Workload
    from servecast.simulation.simulating import COMPILING, server_of

    trace = sampled(Workload(64, 8, Arrival.CLOSED, 4, lengths="D(64,8)"), 20)
    server = server_of("meta-llama/Llama-3.1-8B", "h100_sxm", "vllm", {}, trace)
    expected = server.serve(trace)
    capsys.readouterr()
    monkeypatch.setattr(model.compiled, "is_kept", lambda _: False)
    cold = server.serve(trace)
    assert capsys.readouterr().err == f"{COMPILING}\n"
    assert {**cold, "cpu_s": 0} == {**expected, "cpu_s": 0}
    monkeypatch.undo()
    server.serve(trace)
    assert capsys.readouterr().err == ""


SERVER = [
    "simulate",
    "--model",
    "meta-llama/Llama-3.1-8B",
    "--platform",
    "h200_sxm",
    "--scenario",
    "D(64,8)",
    "--rate",
    "5",
]


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("tp=3", "32 attention heads cannot be divided"),
        ("max_model_len=200000", "more than the 131072 positions of meta-llama/Llama-3.1-8B"),
        ("max_model_len=71", "request 1: 72 tokens of prompt and answer, a sequence of this config holds at most 71"),
        ("scheduling_policy=fifo", "unknown scheduling_policy of vllm 'fifo'; known: fcfs, priority"),
        ("max_num_batched_tokens=10000000000", "more than any server takes"),
        ("max_num_seqs=1000000000", "more than any server takes"),
        ("gpu_memory_utilization=0.1", "KV cache 0.0, other 1.7), 13.8 GiB are available"),
    ],
)
def test_what_is_not_simulated_is_refused(cli, parameter, sentence):
    done = cli.run(*SERVER, "--requests", "5", "--set", parameter)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_replicas_share_the_requests(cli):
    one, four = (
        cli.json(*SERVER[:-1], "40", "--requests", "400", "--set", f"dp={replicas}", "--set", "max_num_seqs=8")
        for replicas in (1, 4)
    )
    assert (one["replicas"], four["replicas"]) == (1, 4)
    assert one["requests"] == four["requests"] == 400
    assert four["ttft_s"]["mean"] < one["ttft_s"]["mean"]
    assert four["kv_blocks"] == one["kv_blocks"]


EXPERTS = ["simulate", "--model", "Qwen/Qwen3-30B-A3B", "--platform", "h200_sxm", "--scenario", "D(64,8)"]


def test_replicas_of_experts_take_their_steps_together(cli):
    load = ["--rate", "20", "--requests", "200", "--set", "dp=2"]
    apart = cli.json(*EXPERTS, *load, "--engine", "sglang")
    together = cli.json(*EXPERTS, *load, "--set", "enable_expert_parallel=true")
    assert apart["replicas"] == together["replicas"] == 2
    assert 0 < together["ttft_s"]["p50"] < together["e2e_s"]["p50"]


def test_a_pipeline_answers_more_at_once_and_none_sooner(cli):
    one, two = (cli.json(*SERVER[:-1], "200", "--requests", "300", "--set", f"pp={stages}") for stages in (1, 2))
    assert two["requests"] == 300
    assert two["replicas"] == 1
    assert two["kv_blocks"] > one["kv_blocks"]  # each device holds half of the layers


def test_a_step_decided_ahead_costs_the_first_token_a_step(cli):
    load = [*SERVER, "--requests", "200", "--set"]
    now, ahead = (cli.json(*load, f"async_scheduling={flag}") for flag in ("false", "true"))
    assert ahead["ttft_s"]["mean"] > now["ttft_s"]["mean"]


def test_decisions_that_cannot_be_written_are_one_sentence(cli):
    (cli.folder / "s.jsonl").write_text("")
    done = cli.run("simulate", "--scenarios", "s.jsonl", "--out", "nowhere/o.jsonl")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    (cli.folder / "list.jsonl").write_text("[1]\n")
    assert "expected an object" in cli.run("simulate", "--scenarios", "list.jsonl", "--out", "o.jsonl").stderr
