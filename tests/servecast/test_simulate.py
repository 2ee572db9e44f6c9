"""`servecast simulate` as a user calls it."""

from __future__ import annotations

import json

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
