"""What llama-bench prints: JSON, JSON lines, CSV and markdown of the same tests."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.importers.importer import ReadSettings
from perfdb.importers.sniff import importer
from perfdb.store.store import Store

Read, Facts = Callable[..., Batch], Callable[..., dict[str, Any]]

SETUP = {
    "build_commit": "2948768e", "build_number": 5329, "cpu_info": "AMD EPYC 7763 64-Core Processor",
    "gpu_info": "NVIDIA A100-SXM4-80GB, NVIDIA A100-SXM4-80GB", "backends": "CUDA",
    "model_filename": "/home/someone/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "model_type": "llama 8B Q4_K - Medium",
    "model_size": 4912898304, "model_n_params": 8030261312, "n_batch": 4096, "n_ubatch": 1024, "n_threads": 32,
    "cpu_mask": "0x0", "cpu_strict": False, "poll": 50, "type_k": "q8_0", "type_v": "f16", "n_gpu_layers": 99,
    "split_mode": "layer", "main_gpu": 0, "no_kv_offload": False, "flash_attn": True, "tensor_split": "0.00",
    "use_mmap": True, "embeddings": False,
}  # fmt: skip


def timed(prompt: int, generated: int, depth: int = 0, speed: float = 100.5, **more: Any) -> dict[str, Any]:
    return {
        **SETUP, "n_prompt": prompt, "n_gen": generated, "n_depth": depth, "test_time": "2026-03-01T12:30:00Z",
        "avg_ns": 1000, "stddev_ns": 10, "avg_ts": speed, "stddev_ts": 0.25, "samples_ns": [999, 1001], **more,
    }  # fmt: skip


def as_csv(tests: list[dict[str, Any]]) -> str:
    """As the tool writes it: a bare header, every cell quoted, switches as 1 and 0, no samples."""
    text = io.StringIO()
    rows = [
        {name: int(v) if isinstance(v, bool) else v for name, v in t.items() if name != "samples_ns"} for t in tests
    ]
    text.write(",".join(rows[0]) + "\n")
    csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return text.getvalue()


MARKDOWN = """\
ggml_cuda_init: found 1 CUDA devices:
  Device 0: NVIDIA GeForce RTX 4090, compute capability 8.9, VMM: yes
| model | size | params | backend | ngl | n_batch | fa | test | t/s |
| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |
| qwen3 8B Q4_K - Medium | 4.68 GiB | 8.19 B | CUDA | 99 | 512 | 1 | pp512 | 11,377.80 ± 12.50 |
| qwen3 8B Q4_K - Medium | 4.68 GiB | 8.19 B | CUDA | 99 | 512 | 1 | pp2048 @ d32768 | 388.64 ± 0.03 |
| qwen3 8B Q4_K - Medium | 4.68 GiB | 8.19 B | CUDA | 99 | 512 | 1 | tg128 | 142.20 ± 0.00 |
| qwen3 8B Q4_K - Medium | 4.68 GiB | 8.19 B | CUDA | 99 | 512 | 1 | pp512+tg128 | 600.00 ± 1.00 |
| qwen3 8B Q4_K - Medium | 4.68 GiB | 8.19 B | CUDA | 99 | 512 | 1 | warmup | 600.00 ± 1.00 |

build: 2948768e (5329)
"""


def test_a_prompt_test_is_input_throughput_of_one_request(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("llama_bench", [timed(512, 0, speed=11377.8)]))
    assert (found["input_tps:value"], found["input_tps:std"]) == (11377.8, 0.25)
    assert not {"output_tps:value", "total_tps:value"} & set(found)
    assert (found["isl"], found["osl"], found["batch_size"], found["arrival"]) == (512, 0, 1, "batch")
    assert (found["engine"], found["engine_version"], found["client"]) == ("llamacpp", "b5329", "llama-bench")
    assert (found["platform"], found["devices"], found["model"]) == ("a100_sxm_80gb", 2, "meta-llama/Llama-3.1-8B")
    assert found["measured_at"] == "2026-03-01T12:30:00"
    assert found["extra"]["repetitions"] == 2


def test_n_batch_is_a_parameter_and_no_load(read_as: Read, facts: Facts) -> None:
    """T2."""
    config = facts(read_as("llama_bench", [timed(512, 0)]))["config"]
    assert (config["n_batch"], config["n_ubatch"], config["threads"]) == (4096, 1024, 32)
    assert (config["cache_type_k"], config["cache_type_v"], config["n_gpu_layers"]) == ("q8_0", "f16", 99)
    assert (config["quantization"], config["flash_attn"]) == ("Q4_K_M", 1)


def test_generation_and_both_at_once(read_as: Read, facts: Facts) -> None:
    batch = read_as("llama_bench", [timed(0, 128), timed(512, 128)])
    alone, both = facts(batch, 0), facts(batch, 1)
    assert (alone["output_tps:value"], alone["isl"], alone["osl"]) == (100.5, 0, 128)
    assert (both["total_tps:value"], both["isl"], both["osl"]) == (100.5, 512, 128)
    assert "output_tps:value" not in both
    assert both["lengths"] == "D(512,128)"


def test_what_lay_in_the_cache_makes_another_point(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("llama_bench", [timed(0, 32, depth=4096)]))
    assert (found["isl"], found["osl"], found["lengths"]) == (4096, 32, "tg32 @ d4096")


def test_all_forms_of_one_run_are_the_same_records(read_as: Read, facts: Facts) -> None:
    tests = [timed(512, 0), timed(0, 128, speed=9.25)]
    first = read_as("llama_bench", tests)
    lines = "".join(json.dumps(test) + "\n" for test in tests)
    for other in (read_as("llama_bench", lines, file="run.jsonl"), read_as("llama_bench", as_csv(tests), "run.csv")):
        for row in range(2):
            one, two = facts(first, row), facts(other, row)
            assert {name: one[name] for name in one if name != "extra"} == {
                name: two[name] for name in two if name != "extra"
            }


def test_markdown_with_what_stands_around_the_table(read_as: Read, facts: Facts) -> None:
    batch = read_as("llama_bench", MARKDOWN, file="log.md")
    found = [facts(batch, row) for row in range(4)]
    assert (found[0]["input_tps:value"], found[0]["input_tps:std"]) == (11377.8, 12.5)
    assert (found[1]["input_tps:value"], found[1]["isl"], found[1]["lengths"]) == (388.64, 34816, "pp2048 @ d32768")
    assert (found[2]["output_tps:value"], found[3]["total_tps:value"]) == (142.2, 600.0)
    assert {each["platform"] for each in found} == {"rtx_4090"}
    assert {each["engine_version"] for each in found} == {"b5329"}
    # the type tells the architecture, not which of the models that have it
    assert {each["model"] for each in found} == {"qwen3 8B Q4_K - Medium"}
    assert found[0]["config"] == {"n_gpu_layers": 99, "n_batch": 512, "flash_attn": 1, "quantization": "Q4_K_M"}
    assert [(row.row, row.column, row.value) for row in batch.bad] == [(5, "test", "warmup")]


def test_two_logs_in_one_file_keep_their_own_devices_and_builds(read_as: Read, facts: Facts) -> None:
    other = MARKDOWN.replace("GeForce RTX 4090", "H200").replace("5329", "6000")
    batch = read_as("llama_bench", MARKDOWN + "\n" + other, file="log.md")
    assert (facts(batch, 0)["platform"], facts(batch, 0)["engine_version"]) == ("rtx_4090", "b5329")
    assert (facts(batch, 4)["platform"], facts(batch, 4)["engine_version"]) == ("h200_sxm", "b6000")
    assert batch.rows.tolist() == [1, 2, 3, 4, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("setup", "platform", "devices"),
    [
        ({"split_mode": "none"}, "a100_sxm_80gb", 1),
        ({"devices": "CUDA0"}, "a100_sxm_80gb", 1),
        ({"devices": "none"}, "epyc_7763", 1),
        ({"gpu_info": ""}, "epyc_7763", 1),
        ({"gpu_info": "", "cpu_info": "Some CPU of ours"}, None, 1),
        ({"gpu_info": "NVIDIA GeForce RTX 4090 Laptop GPU"}, None, 1),
        ({"gpu_info": "NVIDIA H200, NVIDIA GeForce RTX 4090"}, None, 2),
    ],
)
def test_hardware_is_named_only_where_it_is_known_by_that_very_name(
    read_as: Read, facts: Facts, setup: dict[str, Any], platform: str | None, devices: int
) -> None:
    found = facts(read_as("llama_bench", [timed(512, 0, **setup)]))
    assert (found.get("platform"), found["devices"]) == (platform, devices)
    if setup.get("gpu_info"):
        assert found["extra"]["gpu_info"] == setup["gpu_info"]


@pytest.mark.parametrize(
    ("filename", "kind", "model", "quantization"),
    [
        ("Qwen3-8B-UD-Q4_K_XL-00001-of-00002.gguf", "qwen3 8B Q4_K - Medium", "Qwen/Qwen3-8B", "Q4_K_M"),
        ("models/7B/ggml-model-f16.gguf", "llama 7B F16", "llama 7B F16", "F16"),
        ("C:\\models\\my-tune.Q8_0.gguf", "llama 8B Q8_0", "my-tune.Q8_0", "Q8_0"),
        ("gpt-oss-20b-mxfp4.gguf", "gpt-oss 20B MXFP4 MoE", "openai/gpt-oss-20b", "MXFP4"),
        ("gemma.gguf", "gemma3 4B all F32", "gemma", "F32"),
    ],
)
def test_the_file_tells_the_model(
    read_as: Read, facts: Facts, filename: str, kind: str, model: str, quantization: str
) -> None:
    found = facts(read_as("llama_bench", [timed(512, 0, model_filename=filename, model_type=kind)]))
    assert (found["model"], found["config"]["quantization"]) == (model, quantization)


def test_a_test_that_timed_nothing_is_set_aside(read_as: Read) -> None:
    batch = read_as("llama_bench", [timed(0, 0), timed(512, 0), timed(512, 0, speed=float("nan"))])
    assert batch.rows.tolist() == [2]
    assert {row.row: row.reason.split(":")[0] for row in batch.bad} == {
        1: "neither a prompt nor a generation", 3: "not a number (NaN)"
    }  # fmt: skip


def test_a_build_without_a_number_is_known_by_its_commit(read_as: Read, facts: Facts) -> None:
    tests = [timed(512, 0, build_number=0), timed(512, 0, build_number=0, build_commit="unknown")]
    batch = read_as("llama_bench", tests)
    assert facts(batch, 0)["engine_version"] == "2948768e"
    assert "engine_version" not in facts(batch, 1)


def test_a_cut_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps([timed(512, 0)], indent=1)[:-60])
    with pytest.raises(FileError, match=r"line \d+: .*expected complete JSON"):
        list(importer("llama_bench").read(path, ReadSettings()))


def test_a_csv_line_that_is_cut_off_is_set_aside(read_as: Read) -> None:
    text = as_csv([timed(512, 0), timed(0, 128), timed(0, 64)]).splitlines()
    batch = read_as("llama_bench", "\n".join([*text[:2], text[2][:80] + '"', text[3], ""]), file="run.csv")
    assert (batch.rows.tolist(), [row.row for row in batch.bad]) == ([1, 3], [2])


def test_it_is_stored(tmp_path: Path) -> None:
    path, store = tmp_path / "log.md", Store(tmp_path / "db.duckdb")
    path.write_text(MARKDOWN)
    report = import_paths(store, [path])
    assert (report.rows_read, report.stored, report.quarantined) == (5, 4, 1)
    table = store.sql("SELECT metric, statistic, value FROM measurements WHERE metric = 'output_tps' ORDER BY ALL")
    assert [list(row) for row in table.rows] == [["output_tps", "std", 0.0], ["output_tps", "value", 142.2]]
