"""`servecast simulate` as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ASK = ["--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm"]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "servecast", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_made_up_load() -> None:
    done = simulate(*ASK, "--scenario", "D(512,128)", "--rate", "2", "--requests", "50", "--json")
    answer = json.loads(done.stdout)
    assert answer["requests"] == 50
    assert 0 < answer["ttft_s"]["p50"] <= answer["ttft_s"]["p99"]
    assert answer["preemptions"] == 0


def test_a_trace_with_a_small_cache_preempts(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"arrival_s": 0, "input_tokens": 100, "output_tokens": 90}) for _ in range(8)))
    done = simulate(
        *ASK, "--trace", str(path), "--set", "num_gpu_blocks_override=30", "--set", "max_model_len=256", "--json"
    )
    assert json.loads(done.stdout)["preemptions"] > 0


def test_bad_questions_get_one_sentence() -> None:
    for arguments, message in (((), "--scenarios"), ((*ASK,), "exactly one"), (("--scenarios", "x"), "--out")):
        done = simulate(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
