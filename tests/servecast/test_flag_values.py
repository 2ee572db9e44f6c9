"""`whatif` and `simulate` judge the values of flags alike, and `whatif` says which flags only `simulate` sees."""

from __future__ import annotations

import pytest

SERVER = ["--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--scenario", "D(1500,16)"]
LOAD = ["--concurrency", "4"]
WHOLE = ["enable_chunked_prefill=false", "max_num_batched_tokens=1024"]


def sets(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


@pytest.mark.parametrize(
    ("engine", "flags", "sentence"),
    [
        ("sglang", ["schedule_policy=bananas"], "unknown schedule_policy of sglang 'bananas'"),
        ("vllm", ["num_speculative_tokens=2.5"], "num_speculative_tokens of vllm: 2.5; expected a whole number"),
        ("sglang", ["max_prefill_tokens=-5"], "max_prefill_tokens of sglang: -5; expected a whole number"),
    ],
)
def test_wrong_values_are_refused_by_the_same_sentence(cli, engine, flags, sentence):
    said = [cli.run(command, *SERVER, *LOAD, "--engine", engine, *sets(*flags)) for command in ("whatif", "simulate")]
    assert [done.returncode for done in said] == [2, 2]
    assert said[0].stderr == said[1].stderr
    assert sentence in said[0].stderr


@pytest.mark.parametrize(
    ("platform", "flags", "sentence"),
    [
        ("h100_sxm", WHOLE, "is more than max_num_batched_tokens 1024 without chunked prefill: vLLM refuses to start"),
        ("h100_sxm", ["block_size=17"], "block_size 17 is neither 1, 8 nor a multiple of 16: vLLM refuses to start"),
        ("rtx_4090", ["max_model_len=131072"], "GiB per device"),
    ],
)
def test_a_server_that_does_not_start_is_refused_by_the_same_sentence(cli, platform, flags, sentence):
    asked = [*SERVER, *LOAD, "--platform", platform, "--engine", "vllm", *sets(*flags)]
    (row,) = cli.json("whatif", *asked)["rows"]
    done = cli.run("simulate", *asked, "--requests", "8")
    assert (row["feasible"], done.returncode) == (False, 2)
    assert sentence in row["reason"]
    assert row["reason"] in done.stderr


def test_a_longest_sequence_that_must_be_told_is_said_by_both(cli):
    asked = [*SERVER, *LOAD, "--platform", "rtx_4090", "--engine", "vllm"]
    expected, served = cli.json("whatif", *asked), cli.json("simulate", *asked, "--requests", "8")
    assert expected["rows"][0]["feasible"]
    for document in (expected, served):
        assert any("starts only with max_model_len of at most" in text for text in document["warnings"])


def test_flags_that_only_simulate_sees_are_named(cli):
    asked = ["whatif", *SERVER, *LOAD, "--engine", "sglang"]
    (said,) = cli.json(*asked, *sets("max_prefill_tokens=2048", "schedule_policy=lpm"))["warnings"]
    assert said.startswith("max_prefill_tokens, schedule_policy: not seen by the closed form")
    assert said.endswith("; servecast simulate acts on it, or says why it cannot")
    assert cli.json(*asked, *sets("max_prefill_tokens=2048", "chunked_prefill_size=-1"))["warnings"] == []
