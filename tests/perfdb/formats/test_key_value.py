"""Text logs with lines "name: value"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.importer import ReadSettings
from perfdb.importers.sniff import importer

Read, Facts = Callable[..., Batch], Callable[..., dict[str, Any]]

VLLM = """\
============ Serving Benchmark Result ============
Successful requests:                     160
Failed requests:                         0
Benchmark duration (s):                  202.50
Total input tokens:                      163840
Total generated tokens:                  20480
Request throughput (req/s):              0.79
Output token throughput (tok/s):         101.14
Peak output token throughput (tok/s):    700.00
Peak concurrent requests:                18.00
Total Token throughput (tok/s):          910.22
---------------Time to First Token----------------
Mean TTFT (ms):                          748.00
Median TTFT (ms):                        700.00
P50 TTFT (ms):                           700.00
P99 TTFT (ms):                           2787.00
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          60.20
---------------Inter-token Latency----------------
P99 ITL (ms):                            263.85
----------------End-to-end Latency----------------
Mean E2EL (ms):                          8393.00
==================================================
"""
SGLANG = """\
============ Serving Benchmark Result ============
Backend:                                 sglang-oai
Traffic request rate:                    inf
Max request concurrency:                 8
Successful requests:                     80
Benchmark duration (s):                  40.00
Total input tokens:                      40480
Total generated tokens:                  4880
Total generated tokens (retokenized):    4870
Request throughput (req/s):              2.00
Input token throughput (tok/s):          1012.00
Output token throughput (tok/s):         122.00
Total token throughput (tok/s):          1134.00
Concurrency:                             7.81
----------------End-to-End Latency----------------
Mean E2E Latency (ms):                   3905.00
Mean TTFT (ms):                          210.00
P95 ITL (ms):                            17.60
Max ITL (ms):                            82.80
==================================================
"""
NAMESPACE = (
    "INFO 08-25 Namespace(subparser='bench', dispatch=<function Serve.cmd at 0x7f, 0>, backend='vllm', "
    "model='Qwen/Qwen3-8B', headers={'a': 1, 'b': 2}, dataset_name='random', num_prompts=160, request_rate=inf, "
    "burstiness=1.0, max_concurrency=16, seed=0, random_input_len=1024, random_output_len=128, ignore_eos=True, "
    "extra=['x', 'y'], api_key='hush-hush', tokenizer=None)\n"
)
LOAD = "Traffic request rate: 4.0\nBurstiness factor: 1.0 (Poisson process)\nMaximum request concurrency: None\n"
APEX = """\
Trace file: ../traces/llama/{trace}.jsonl
ence = 0, output_len_diff = 0
Request: 1ba72b82, prompt difference = 0, output_len_diff = 0
Request: 9f4625ac, prompt difference = 0, output_len_diff = -4
Trace file prompt length sum: 600
Trace file output length sum: 300
{engine} prompt length sum: 600
{engine} output len sum: 296
Total prompt len difference({engine} - trace): 0
Total output len difference({engine} - trace): -4
{engine} TTFT: 0.25 \n{engine}{space}TPOT: {tpot} \n{engine} Total Latency: {latency} \n"""


def apex(trace: str = "creation_025", engine: str = "vLLM", tpot: float = 0.02, latency: float = 6.67) -> str:
    """Three requests: 0.75 s to first tokens and 296 × 0.02 s between tokens are 6.67 s."""
    space = " " if engine == "vLLM" else ""
    return APEX.format(trace=trace, engine=engine, tpot=tpot, latency=latency, space=space)


def test_a_printed_run_of_vllm(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("key_value", NAMESPACE + VLLM, "bench.log", platform="a10"))
    assert (found["model"], found["engine"], found["client"]) == ("Qwen/Qwen3-8B", "vllm", "vllm bench serve")
    assert (found["arrival"], found["concurrency"], found["requests"]) == ("closed", 16, 160)
    assert (found["isl"], found["osl"], found["success_rate:value"]) == (1024, 128, 1.0)
    assert found["ttft_s:mean"] == pytest.approx(0.748)
    assert found["ttft_s:p50"] == pytest.approx(0.7)
    assert found["itl_s:p99"] == pytest.approx(0.26385)
    assert found["e2e_s:mean"] == pytest.approx(8.393)
    assert (found["output_tps:value"], found["total_tps:value"]) == (101.14, 910.22)
    assert (found["input_tokens:mean"], found["output_tokens:mean"]) == (1024, 128)
    assert found["extra"]["peak_concurrent_requests"] == 18


def test_a_rate_with_two_digits_is_counted_again(read_as: Read, facts: Facts) -> None:
    """0.04 requests per second may be 0.036 or 0.044."""
    slow = (
        VLLM.replace("0.79", "0.04")
        .replace("202.50", "2250.00")
        .replace("requests:                     160", "requests: 100")
    )
    found = facts(read_as("key_value", slow, "bench.log"))
    assert found["request_tps:value"] == pytest.approx(100 / 2250)


def test_a_printed_run_of_sglang(read_as: Read, facts: Facts) -> None:
    """Its "Concurrency" is what was in flight on average, not the cap."""
    found = facts(read_as("key_value", SGLANG, "bench.log"))
    assert (found["engine"], found["client"], found["arrival"]) == ("sglang", "sglang.bench_serving", "closed")
    assert found["concurrency"] == 8
    assert found["extra"]["measured_concurrency"] == 7.81
    assert found["input_tps:value"] == 1012
    assert found["itl_s:max"] == pytest.approx(0.0828)
    assert (found["input_tokens:mean"], found["output_tokens:mean"]) == (506, 61)


def test_sglang_namespace_says_the_lengths(read_as: Read, facts: Facts) -> None:
    """T13: what was asked for is a range; what was sent stands beside it."""
    said = "Namespace(backend='sglang', dataset_name='random', model='Qwen/Qwen3-8B', num_prompts=80, " \
        "random_input_len=1024, random_output_len=128, random_range_ratio=0.0, warmup_requests=1)\n"  # fmt: skip
    found = facts(read_as("key_value", said + SGLANG, "bench.log"))
    assert found["lengths"] == "U(1,1024)/(1,128)"
    assert (found["requests"], found["warmup_requests"], found["success_rate:value"]) == (80, 1, 1.0)


def test_many_runs_in_one_log(read_as: Read, facts: Facts) -> None:
    """What is said above a block belongs to that block alone."""
    batch = read_as("key_value", NAMESPACE + VLLM + "noise\n" + LOAD + VLLM + SGLANG, "bench.log")
    assert batch.rows.tolist() == [1, 2, 3]
    first, second, third = (facts(batch, row) for row in range(3))
    assert (first["arrival"], second["arrival"], third["arrival"]) == ("closed", "poisson", "closed")
    assert second["request_rate"] == 4.0
    assert "isl" not in second
    assert "model" not in second


def test_lengths_of_a_dataset_that_was_not_used_say_nothing(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("key_value", NAMESPACE.replace("'random'", "'sharegpt'") + VLLM, "bench.log"))
    assert not {"isl", "osl"} & set(found)
    assert found["extra"]["dataset_name"] == "sharegpt"


def test_the_command_itself_says_what_was_run(read_as: Read, facts: Facts) -> None:
    command = (
        "$ vllm bench serve --backend openai-chat --model=Qwen/Qwen3-8B --dataset-name random \\\n"
        "   --random-input-len 512 --random-output-len 64 --num-prompts 320 --max-concurrency 4 \\\n"
        "   --ignore-eos --api-key hush-hush\n"
    )
    batch = read_as("key_value", command + VLLM, "bench.log")
    found = facts(batch)
    assert (found["model"], found["isl"], found["osl"], found["concurrency"]) == ("Qwen/Qwen3-8B", 512, 64, 4)
    assert "engine" not in found
    assert found["success_rate:value"] == 0.5
    assert "--api-key [redacted]" in found["extra"]["command"]
    assert "hush-hush" not in repr((batch.context, batch.warnings))


def test_a_run_that_failed_whole(read_as: Read, facts: Facts) -> None:
    """T9: zeros of a run without an answer are no measurements."""
    lines = "Successful requests: 0\nFailed requests: 40\nMean TTFT (ms): 0.00\nRequest throughput (req/s): 0.00\n"
    text = f"============ Serving Benchmark Result ============\n{lines}{'=' * 50}\n"
    found = facts(read_as("key_value", text, "bench.log"))
    assert (found["outcome"], found["success_rate:value"]) == ("invalid", 0.0)
    assert "ttft_s:mean" not in found


def test_a_block_that_is_cut_off_is_set_aside(read_as: Read) -> None:
    """T12: the block before it stays."""
    batch = read_as("key_value", VLLM + VLLM[:600], "bench.log")
    assert batch.rows.tolist() == [1]
    assert [(row.row, row.reason) for row in batch.bad] == [(2, "the block of results is cut off")]
    restarted = read_as("key_value", VLLM[:600] + "\n" + VLLM, "bench.log")
    assert (restarted.rows.tolist(), [row.row for row in restarted.bad]) == ([2], [1])


def test_a_log_of_one_replica(read_as: Read, facts: Facts) -> None:
    """Its requests ran on its own devices: never the deployment's sum."""
    batch = read_as("key_value", apex("creation_025_2DP4TP_1"), "llama_creation_025_validation_2DP4TP_1.txt")
    found = facts(batch)
    assert (found["engine"], found["devices"], found["requests"]) == ("vllm", 4, 3)
    assert found["config"] == {"tensor_parallel_size": 4}
    assert (found["extra"]["replica"], found["extra"]["replicas"]) == (1, 2)
    assert found["ttft_s:mean"] == 0.25
    assert found["e2e_s:mean"] == pytest.approx(6.67 / 3)
    assert found["itl_s:mean"] == pytest.approx(0.02 * 296 / 293)
    assert (found["isl"], found["input_tokens:mean"]) == (200, 200)
    assert (found["osl"], found["output_tokens:mean"]) == (100, pytest.approx(296 / 3))
    assert not any(name.startswith(("output_tps", "request_tps", "tpot")) for name in found)
    assert any("one of 2 replicas" in text for text in batch.warnings)


@pytest.mark.parametrize(
    ("file", "engine", "config"),
    [
        ("llama_creation_025_validation_8TP.txt", "vLLM", {"tensor_parallel_size": 8}),
        ("mistral_creation_05_validation_8TP_fp8.txt", "vLLM", {"tensor_parallel_size": 8, "quantization": "fp8"}),
        ("mistral_tp_8_creation_05_validation.txt", "sglang", {"tp_size": 8}),
        ("mistral_ep_8_creation_05_validation.txt", "sglang", {"ep_size": 8}),
    ],
)
def test_a_log_of_a_whole_deployment(
    read_as: Read, facts: Facts, file: str, engine: str, config: dict[str, Any]
) -> None:
    batch = read_as("key_value", apex(engine=engine), file)
    found = facts(batch)
    assert (found["devices"], found["config"]) == (8, config)
    assert "replica" not in found["extra"]
    assert any("is said by the file's name alone" in text for text in batch.warnings)


def test_a_name_without_a_scheme_says_nothing(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("key_value", apex(), "log.txt"))
    assert found["config"] == {}
    assert "devices" not in found


def test_a_tpot_that_cannot_be_true_is_kept_apart(read_as: Read, facts: Facts) -> None:
    """T23: a mean formed over the wrong count; the latency disproves it."""
    batch = read_as("key_value", apex(engine="sglang", tpot=8.8e-05), "log.txt")
    found = facts(batch)
    assert found["extra"]["tpot"] == 8.8e-05
    assert not any(name.startswith(("tpot_s", "itl_s")) for name in found)
    assert any("kept in extra" in text for text in batch.warnings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (apex().split("vLLM TTFT")[0], "no ttft at the end of the log"),
        (apex().replace("TTFT: 0.25", "TTFT: nope"), "ttft is 'nope'; expected a number"),
    ],
)
def test_a_log_without_its_end_is_refused(read_as: Read, text: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_as("key_value", text, "log.txt")


def test_a_plain_list_of_metrics(read_as: Read, facts: Facts) -> None:
    said = "Model: Qwen/Qwen3-8B\nGPU: L4\nengine = vllm\nConcurrency: 4\n"
    text = f"{said}Mean TTFT: 120.5 ms\nP99 ITL (ms): 40\nnotes: ok\n"
    found = facts(read_as("key_value", text, "result.txt"))
    assert (found["model"], found["platform"], found["engine"], found["concurrency"]) == (
        "Qwen/Qwen3-8B",
        "l4",
        "vllm",
        4,
    )
    assert found["ttft_s:mean"] == pytest.approx(0.1205)
    assert found["itl_s:p99"] == pytest.approx(0.04)
    assert found["extra"] == {"notes": "ok"}


def test_two_runs_in_a_plain_list_are_not_mixed(read_as: Read) -> None:
    with pytest.raises(FileError, match=r"'Mean TTFT \(ms\)' stands twice"):
        read_as("key_value", "Mean TTFT (ms): 12\nconcurrency: 4\nMean TTFT (ms): 14\n", "result.txt")


def test_other_texts_are_not_taken(tmp_path: Path) -> None:
    for text in ("repo: https://example.org\nlicense: MIT\n", "latency of the thing\nis high\n", "{}", "a,b\n1,2\n"):
        assert importer("key_value").sniff(text.encode(), tmp_path / "x.txt") == 0
    (tmp_path / "x.txt").write_text("license: MIT\n")
    with pytest.raises(FileError, match="names a metric that we know"):
        list(importer("key_value").read(tmp_path / "x.txt", ReadSettings()))
