"""`servecast collect ops`: a table that `import` reads and `ops` answers from; stopped anyhow, it goes on."""

from __future__ import annotations

import csv
import fcntl
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest
from collected import CPU, MISBEHAVE, OPS, SUPPORT, TINY, asked, stored
from fake_worker import seconds

pytestmark = pytest.mark.usefixtures("interpreter")


def question(case: dict[str, Any]) -> list[Any]:
    """A case as a row that `servecast ops` reads."""
    if case["op"] == "gemm":
        return ["gemm", case["dtype"], case["m"], case["n"], case["k"], "", "", ""]
    tokens = [case["isl"], case["prefix"]] if case["op"] == "context_attention" else [case["prefix"] + 1, ""]
    return [case["op"], case["dtype"], case["batch_size"], *tokens, case["heads"], case["kv_heads"], case["head_dim"]]


def test_what_is_written_is_imported_and_answered_exactly(cli) -> None:
    document = cli.json(*OPS)
    cases = asked(cli.folder)
    assert document["measured"] == document["new"] == len(cases) > 100
    assert document["missing"] == document["refused"] == document["repeats"] == 0
    done = cli.json("import", "o", "--db", "d.duckdb")
    assert (done["stored"], done["quarantined"], done["warnings"]) == (len(cases), 0, [])
    with (cli.folder / "q.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["op", "dtype", *(f"a{i}" for i in range(1, 7))], *map(question, cases)])
    answer = cli.json("ops", "q.csv", "--platform", "local", "--engine", "torch", "--db", "d.duckdb")
    assert {row["provenance"] for row in answer["rows"]} == {"measured"}
    assert [row["latency_s"] for row in answer["rows"]] == pytest.approx([seconds(case) for case in cases], rel=1e-9)


def assert_measured_or_busy(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, "there is no table yet" in done.stderr) in {(0, False), (1, True)}, done.stderr


def test_numpy_measures_for_real_without_torch(cli) -> None:
    done = cli.run(*CPU, "--grid", "tiny", "--library", "numpy")
    assert_measured_or_busy(done)
    assert "gemm       fp32" in done.stdout
    cli.json("import", "o", "--db", "d.duckdb")
    rows = stored(cli.folder, "platform", "engine", "op", "dtype", "m", "n", "k", "kernel", "statistic", "origin")
    # where the machine is busy, none
    assert all(row == ["local", "numpy", "gemm", "fp32", row[4], 256, 256, "dot", "median", "measured"] for row in rows)
    method = (cli.folder / "o" / "METHOD.md").read_text()
    assert "kernels: numpy" in method
    assert "by the host's clock" in " ".join(method.split())


def test_the_coarsest_grid_comes_first(cli) -> None:
    """Stopped early, the corners of each table are there."""
    cli.json(*OPS)
    first = [case for case in asked(cli.folder)[:60] if case["op"] == "gemm"]
    assert {case["m"] for case in first[:34]} == {1, 256}
    assert {case["dtype"] for case in first[:34]} == {"bf16", "fp32"}
    assert {case["op"] for case in asked(cli.folder)[:60]} == {"gemm", "context_attention", "generation_attention"}


def test_time_that_is_up_leaves_the_rest_for_the_next_call(cli) -> None:
    done = cli.run(*TINY, "--budget", "0.000000001s")
    assert done.returncode == 0, done.stderr
    assert "7 of 7 cases are left; the same command goes on from there" in done.stdout
    assert not list((cli.folder / "o").glob("*.parquet"))
    assert cli.json(*TINY, "--budget", "10m")["missing"] == 0


def test_cases_that_take_seconds_are_left_out_on_a_cpu(cli) -> None:
    cli.json(*OPS, "--dtypes", "bf16")
    assert max(2 * c["m"] * c["n"] * c["k"] for c in asked(cli.folder) if c["op"] == "gemm") <= 4e10


def test_models_give_the_shapes_that_their_layers_have(cli) -> None:
    """Llama-3.1-8B on one device and on two: projections, MLP, output matrix, and heads."""
    cli.json(*TINY, "--models", "llama-3.1-8b", "--tp", "1,2", "--dtypes", "bf16")
    cases = asked(cli.folder)
    one = {(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (128256, 4096)}
    two = {(3072, 4096), (4096, 2048), (14336, 4096), (4096, 7168), (64128, 4096)}
    assert {(case["n"], case["k"]) for case in cases if case["op"] == "gemm"} == one | two
    heads = {(case["heads"], case["kv_heads"], case["head_dim"]) for case in cases if case["op"] != "gemm"}
    assert heads == {(32, 8, 128), (16, 4, 128)}


def test_layers_without_a_kernel_here_are_named(cli) -> None:
    done = cli.run(*TINY, "--models", "gpt-oss-20b,deepseek-v3", "--tp", "8", "--dtypes", "fp32")
    assert "gpt-oss-20b: attention of a window, its experts cannot be measured here; the rest is" in done.stderr
    assert "DeepSeek-V3: latent attention, its experts cannot be measured here; the rest is" in done.stderr


def test_a_cuda_device_goes_by_its_name(cli, misbehave: MISBEHAVE) -> None:
    """What it says of its clocks is in the notes."""
    misbehave(about={"device": "NVIDIA H200", "clocks": "clocks.sm 1980 MHz"})
    where = ["collect", "ops", "--device", "cuda", "--python", "./python", "--out", "o", "--grid", "tiny"]
    assert cli.json(*where)["table"] == "o/h200_sxm_torch_9.1.parquet"
    cli.json("import", "o", "--db", "d.duckdb")
    assert {row[0] for row in stored(cli.folder, "platform")} == {"h200_sxm"}
    method = (cli.folder / "o" / "METHOD.md").read_text()
    assert "device: NVIDIA H200 (platform `h200_sxm`)" in method
    assert "clocks.sm 1980 MHz" in method
    assert "replays of a CUDA graph" in method


def test_a_device_may_be_called_otherwise(cli) -> None:
    assert cli.json(*TINY, "--platform", "my cpu/2")["table"] == "o/my-cpu-2_torch_9.1.parquet"


def refused(cli, *arguments: str, code: int = 2) -> str:
    done = cli.run(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert not list(cli.folder.glob("o/*.parquet"))
    return str(done.stderr)


def test_without_the_library_it_says_what_to_install(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (cli.folder / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    monkeypatch.setenv("PYTHONPATH", str(cli.folder))
    said = refused(cli, *TINY, "--python", sys.executable, code=1)
    assert f"{sys.executable}: No module named 'torch'; expected --python with an interpreter that has torch" in said
    assert "pip install torch --index-url https://download.pytorch.org/whl/cpu" in said
    assert "or --library numpy" in said


def test_without_a_cuda_device_it_says_so(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT / "fake_torch"))
    monkeypatch.setenv("FAKE_TORCH", "no_cuda")
    said = refused(cli, "collect", "ops", "--device", "cuda", "--python", sys.executable, "--out", "o", code=1)
    assert "torch 9.9.9 sees no CUDA device; expected one, or --device cpu" in said


def test_an_interpreter_that_is_none_is_one_sentence(cli) -> None:
    said = refused(cli, *TINY, "--python", "/none", code=1)
    assert "/none: cannot be started (No such file or directory); expected a Python" in said
    said = refused(cli, *TINY, "--python", "false", code=1)
    assert "false: the worker did not start (exit code 1)" in said
    said = refused(cli, *TINY, "--python", "echo", code=1)
    assert "main.py torch cpu" in said
    assert "where a worker answers in JSON; expected a Python" in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--dtypes", "fp8"), "--dtypes: fp8 cannot be measured with torch on cpu; expected bf16, fp32"),
        (("--dtypes", "bf17"), "--dtypes: 'bf17' is no number format; expected one such as bf16"),
        (("--grid", "huge"), "unknown grid for cpu 'huge'; known: full, small, tiny"),
        (("--budget", "12"), "--budget: '12' is no time; expected one such as 90s, 10m or 2h"),
        (("--budget", "soon"), "--budget: 'soon' is no time; expected one such as 90s, 10m or 2h"),
        (("--tp", "2"), "--tp: no --models beside it; expected both, or neither"),
        (("--models", "llama-3.1-8b", "--tp", "1,x"), "--tp: '1,x'; expected numbers of devices"),
        (("--threads", "99999"), "--threads: 99999; expected 1 to "),
        (("--models", "llama-3.1-8b", "--tp", "0"), "--tp: 0; expected numbers of devices from 1 on"),
        (("--models", "lama"), "unknown model 'lama'"),
        (("--out", "python"), "python/.collect: cannot be made (Not a directory)"),
        (("--threads", "0"), "--threads"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(cli, more: tuple[str, ...], said: str) -> None:
    assert said in refused(cli, *TINY, *more)


def test_a_folder_holds_times_of_one_thing(cli, misbehave: MISBEHAVE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    cli.json(*TINY)
    misbehave(version="9.2")
    assert "its times are of version 9.1, these would be of 9.2; expected another --out" in cli.run(*TINY).stderr
    misbehave()
    done = cli.run(*TINY, "--threads", "2")
    assert done.returncode == 2
    assert "its times are of threads 1, these would be of 2" in done.stderr
    journal = cli.folder / "o" / ".collect" / "times.jsonl"
    journal.write_text("{}\n" + journal.read_text())
    assert "its first line does not say what was measured; expected another --out" in cli.run(*TINY).stderr


def test_two_do_not_measure_into_one_folder_at_once(cli) -> None:
    cli.json(*TINY)
    with (cli.folder / "o" / ".collect" / "times.jsonl").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = cli.run(*TINY)
    assert done.returncode == 1
    assert "another process measures into this folder; expected one at a time" in done.stderr


def test_a_cpu_is_measured_with_the_engine_that_serves_there(cli) -> None:
    """llama.cpp's kernels, for real, under the engine and version that runs are recorded with."""
    done = cli.run(*CPU, "--grid", "tiny", "--dtypes", "q4_0,f16")
    assert_measured_or_busy(done)
    cli.json("import", "o", "--db", "d.duckdb")
    rows = stored(cli.folder, "engine", "op", "dtype", "kv_dtype")
    assert {tuple(row[1:]) for row in rows} <= {  # where the machine is busy, fewer
        ("gemm", "q4_0", None),
        ("gemm", "fp16", None),
        ("context_attention", "fp16", "fp16"),
        ("generation_attention", "fp16", "fp16"),
    }
    assert {row[0] for row in rows} <= {"llamacpp"}
    version = f"xllamacpp {metadata.version('xllamacpp')}"
    assert {row[0] for row in stored(cli.folder, "engine_version")} <= {version}
    assert f"kernels: llamacpp {version}" in (cli.folder / "o" / "METHOD.md").read_text()
