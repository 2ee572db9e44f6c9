"""Priorities of a trace: vLLM heeds them under its policy of that name, and nothing else is silent about them."""

from __future__ import annotations

import json

SERVER = ["simulate", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--engine", "vllm"]
ONE_BY_ONE = ["--set", "max_num_seqs=1", "--trace", "t.jsonl"]
BY_PRIORITY = ["--set", "scheduling_policy=priority"]


def write(cli, *requests):
    lines = [{"arrival_s": 0.0, "input_tokens": 200, "output_tokens": 40} | request for request in requests]
    (cli.folder / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))


def test_the_least_is_served_first(cli):
    """Of three that come together to a server of one slot, the short answer waits for both others or for none."""
    write(cli, {"output_tokens": 900}, {"output_tokens": 900}, {"output_tokens": 2, "priority": -1})
    plain, first = (cli.json(*SERVER, *ONE_BY_ONE, *more) for more in ([], BY_PRIORITY))
    assert first["ttft_s"]["mean"] < 0.8 * plain["ttft_s"]["mean"]
    assert plain["warnings"] == [
        "the trace's priorities count for nothing; vLLM heeds them with scheduling_policy=priority"
    ]
    assert first["warnings"] == []


def test_fields_that_are_not_read_are_said(cli):
    write(cli, {"user": "a"}, {"user": "b"})
    assert cli.json(*SERVER, *ONE_BY_ONE)["warnings"] == ["field 'user' of the trace is not read"]
    write(cli, {"prefix_tokens": 10})
    done = cli.run(*SERVER, *ONE_BY_ONE)
    assert (done.returncode, done.stdout) == (2, "")
    assert "prefix_tokens without prefix_id" in done.stderr
