"""Spreading experts where there are none, or where nothing says what it changes, is said once."""

from __future__ import annotations

import pytest

LOAD = ["--platform", "h100_sxm", "--engine", "vllm", "--scenario", "D(500,50)", "--concurrency", "4"]
SPREAD = ["--set", "tensor_parallel_size=4", "--set", "enable_expert_parallel=true"]


@pytest.mark.parametrize("command", [["whatif"], ["simulate", "--requests", "8"]], ids=["whatif", "simulate"])
@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B has no experts to spread: expert parallelism counts for"),
        ("Qwen/Qwen3-30B-A3B", "no table says what spreading whole experts (expert parallelism) changes"),
    ],
)
def test_expert_parallelism_that_changes_nothing_is_said_once(cli, command, model, sentence):
    said, plain = (cli.json(*command, "--model", model, *LOAD, *sets)["warnings"] for sets in (SPREAD, SPREAD[:2]))
    assert [text.startswith(sentence) for text in said] == [True]
    assert plain == []
