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
        ("pp=2", "stages that overlap are not simulated"),
        ("dp=4", "one replica is simulated"),
        ("max_num_batched_tokens=10000000000", "more than any server takes"),
        ("max_num_seqs=1000000000", "more than any server takes"),
    ],
)
def test_what_is_not_simulated_is_refused(cli, parameter, sentence):
    done = cli.run(*SERVER, "--requests", "5", "--set", parameter)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_decisions_that_cannot_be_written_are_one_sentence(cli):
    (cli.folder / "s.jsonl").write_text("")
    done = cli.run("simulate", "--scenarios", "s.jsonl", "--out", "nowhere/o.jsonl")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    (cli.folder / "list.jsonl").write_text("[1]\n")
    assert "expected an object" in cli.run("simulate", "--scenarios", "list.jsonl", "--out", "o.jsonl").stderr
