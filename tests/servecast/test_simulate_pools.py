"""`servecast simulate --mode disagg` as a user calls it."""

from __future__ import annotations

import pytest

ASK = ["simulate", "--mode", "disagg", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm"]
LOAD = ["--scenario", "D(2000,50)", "--rate", "4", "--requests", "60"]
ONE_EACH = ["--set", "prefill.replicas=1", "--set", "decode.replicas=1"]


def test_both_pools_are_told_and_a_slower_link_costs_the_first_token(cli):
    fast, slow = (cli.json(*ASK, *LOAD, *ONE_EACH, "--link", link) for link in ("50", "5"))
    assert fast["requests"] == 60
    assert (fast["prefill"]["workers"], fast["decode"]["workers"]) == (1, 1)
    assert fast["prefill"]["kv_blocks"] > 0 < fast["decode"]["kv_peak"]
    assert slow["transfer_s"] == pytest.approx(10 * fast["transfer_s"], rel=0.2)
    assert slow["ttft_s"]["mean"] - fast["ttft_s"]["mean"] > 0.8 * (slow["transfer_s"] - fast["transfer_s"])
    assert fast["link_bytes_s"] == 50e9


def test_each_pool_has_its_own_parameters_and_hardware(cli):
    sets = ["--set", "prefill.tp=2", "--set", "decode.max_num_seqs=4"]
    found = cli.json(*ASK, *LOAD, *ONE_EACH, *sets, "--decode", "h200_sxm")
    assert found["prefill"]["config"] == {"tensor_parallel_size": 2}
    assert found["decode"]["config"] == {"max_num_seqs": 4}
    assert (found["prefill"]["platform"], found["decode"]["platform"]) == ("h100_sxm", "h200_sxm")
    plain = cli.json(*ASK, *LOAD, *ONE_EACH)
    assert found["ttft_s"]["p50"] < plain["ttft_s"]["p50"] < found["ttft_s"]["p99"]


def test_workers_that_are_not_given_are_matched(cli):
    found = cli.json(*ASK, "--scenario", "D(4000,20)", "--concurrency", "64", "--requests", "200")
    assert found["prefill"]["workers"] > found["decode"]["workers"] == 1


def test_rules_that_stand_in_are_said(cli):
    found = cli.json(*ASK, *LOAD, *ONE_EACH, "--engine", "sglang")
    assert "vLLM's rules stand in" in found["warnings"][0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "prefill.pp=64"], "prefill: 32 layers cannot be divided into 64 stages"),
        (["--set", "prefil.tp=2"], "prefil"),
        (["--set", "tp=3"], "cannot be divided"),
        (["--set", "decode.tp=1,2"], "1,2 are several values, and simulate takes one"),
        (["--set", "decode.dp=257"], "decode: 257 engines; expected at most 256"),
        (["--set", "prefill.max_num_batched_tokens=10000000000"], "more than any server takes"),
        (["--set", "decode.kv_cache_dtype=fp8"], "a KV cache in fp8 cannot take over one in bf16"),
        (["--mode", "both"], "simulate serves one deployment"),
        (["--link", "0"], "--link: 0"),
    ],
)
def test_what_cannot_be_is_one_sentence(cli, arguments, sentence):
    done = cli.run(*ASK, *LOAD, *ONE_EACH, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_of_two_pools_need_two_pools(cli):
    done = cli.run("simulate", *ASK[3:], *LOAD, "--decode", "h200_sxm")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--decode: beside --mode agg" in done.stderr


def test_pipelines_and_ranks_in_joint_steps_serve_in_either_pool(cli):
    """Stages share the work of long prompts; ranks of a mixture of experts wait for each other."""
    long = ["--scenario", "D(8000,20)", "--rate", "9", "--requests", "120"]
    one, two = (cli.json(*ASK, *long, *ONE_EACH, *sets) for sets in ([], ["--set", "prefill.pp=2"]))
    assert two["ttft_s"]["mean"] < 0.7 * one["ttft_s"]["mean"]
    assert two["gpus"] == one["gpus"] + 1
    staged = cli.json(*ASK, *LOAD, *ONE_EACH, "--set", "decode.pp=2")
    assert staged["tpot_s"]["mean"] > 0.9 * cli.json(*ASK, *LOAD, *ONE_EACH)["tpot_s"]["mean"]
    mixture = ["simulate", "--mode", "disagg", "--model", "deepseek-ai/DeepSeek-V2-Lite", "--platform", "h100_sxm"]
    ranks = ["--set", "decode.dp=4", "--set", "decode.enable_expert_parallel=true"]
    found = cli.json(*mixture, *LOAD, *ONE_EACH, *ranks)
    assert found["decode"]["workers"] == 1
    assert found["gpus"] == 5
    assert 0 < found["tpot_s"]["mean"] < 0.1
