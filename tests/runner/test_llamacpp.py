"""The adapter of llama.cpp, and the real server on a very small model: every knob is seen to act."""

import json
import os
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from perfdb.errors import EngineError, InputError
from perfdb.facts.engines import ENGINES
from perfdb.records import Config, Outcome, Target, Workload
from runner.engines import engine_adapter
from runner.engines.base import split
from runner.engines.llamacpp import LlamaCpp
from runner.execute import Job
from runner.local import LocalExecutor
from runner.tiny_model import TinyShape, make_tiny_model

SMALL = TinyShape(n_layer=1, n_embd=64, n_head=2, n_head_kv=1, n_ff=96, n_vocab=1400)
LOAD = Workload(lengths="D(40,6)", concurrency=4, requests=8, warmup_requests=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"), SMALL)


@pytest.fixture
def job(model, tmp_path):
    files = {name: str(path) for name, path in model.files.items()}

    def make(config, load=LOAD, **more):
        target = Target("tiny", "local", "llamacpp")
        return Job("e", Config(config), target, (load,), tmp_path / "logs", files["F16"], files, **more)

    return make


def flags(job_, engine=None):
    argv = (engine or LlamaCpp()).launch(job_, job_.config, 1234).argv
    return " ".join(argv)


def test_parameters_become_the_flags_of_llama_server(job, model):
    text = flags(job({"n_parallel": 2, "n_batch": 64, "n_ubatch": 32.0, "threads": 1, "kv_type": "q8_0", "n_ctx": 512}))
    assert " -c 512 -np 2 -b 64 -ub 32 -t 1 -tb 1 -ctk q8_0 -ctv q8_0" in text
    assert f"-m {model.files['F16']}" in text
    assert "--no-cont-batching" not in text
    other = flags(job({"cont_batching": False, "cache_type_k": "q4_0", "quantization": "Q4_0"}))
    assert "-ctk q4_0 -ctv f16 --no-cont-batching" in other
    assert f"-m {model.files['Q4_0']}" in other


def test_defaults_are_the_facts_and_the_context_is_what_the_load_needs(job):
    """52 = 40 + a tenth + 6 + margin fits one block of 256 cells per slot."""
    facts = ENGINES["llamacpp"].defaults()
    assert f"-c 1024 -np {facts['n_parallel']} -b {facts['n_batch']} -ub {facts['n_ubatch']} -ctk f16" in flags(job({}))
    assert " -c 2048 -np 4 " in flags(job({}, Workload(lengths="N(200,40)/(60,20)")))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"n_paralel": 2}, "n_parallel"),
        ({"n_parallel": 0}, "at least 1"),
        ({"n_batch": 1.5}, "whole number"),
        ({"n_batch": float("inf")}, "whole number"),
        ({"threads": True}, "whole number"),
        ({"cont_batching": "yes"}, "true or false"),
        ({"kv_type": "q9"}, "q8_0"),
        ({"kv_type": "f16", "cache_type_v": "q8_0"}, "disagree"),
        ({"quantization": "Q2_K"}, "F16, Q4_0, Q8_0"),
    ],
)
def test_what_cannot_be_launched_is_refused_with_what_can(job, config, says):
    with pytest.raises(InputError, match=says):
        flags(job(config))


def test_a_model_that_is_not_there_is_refused(tmp_path):
    job_ = Job("e", Config({}), Target("m", "local", "llamacpp"), (LOAD,), tmp_path, "absent.gguf")
    with pytest.raises(InputError, match=r"absent\.gguf"):
        flags(job_)


def test_a_binary_takes_the_same_flags(job, tmp_path, monkeypatch):
    binary = tmp_path / "llama-server"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    ours, theirs = flags(job({})).split(" -m ")[1], flags(job({}), LlamaCpp(str(binary)))
    assert theirs == f"{binary} -m {ours}"
    monkeypatch.setenv("SERVECAST_LLAMA_SERVER", str(tmp_path / "gone"))
    with pytest.raises(EngineError, match="not an executable"):
        flags(job({}))


def test_without_the_package_the_binary_on_the_path_is_taken(job, tmp_path, monkeypatch):
    monkeypatch.setattr("runner.engines.llamacpp.importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="pip install xllamacpp"):
        flags(job({}))
    binary = tmp_path / "llama-server"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    assert flags(job({})).startswith(f"{binary} -m ")


def test_parameters_are_sorted_by_how_they_are_applied():
    parts = split(Config({"n_parallel": 2, "cache_prompt": True}), ENGINES["llamacpp"], {})
    assert (dict(parts.restart), dict(parts.request)) == ({"n_parallel": 2}, {"cache_prompt": True})
    assert LlamaCpp().request_fields(parts.request)["cache_prompt"] is True
    assert LlamaCpp().request_fields({})["cache_prompt"] is False
    assert LlamaCpp().live_calls({}) == ()
    with pytest.raises(InputError, match="restart or request"):
        LlamaCpp().live_calls({"n_parallel": 2})


def test_engines_that_cannot_be_launched_say_who_can():
    assert engine_adapter("llama.cpp") is engine_adapter("llamacpp")
    with pytest.raises(EngineError, match="it launches llamacpp"):
        engine_adapter("vllm")
    with pytest.raises(InputError, match="known: "):
        engine_adapter("nonsense")


def get(executor, path):
    with urllib.request.urlopen(executor._warm.launch.url + path, timeout=30) as answer:
        return answer.read().decode()


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        (
            {"n_parallel": 1, "n_batch": 64, "n_ubatch": 32, "threads": 1},
            {"n_seq_max": 1, "n_ctx_seq": 256, "n_batch": 64, "n_ubatch": 32, "threads": 1, "cache_type_k": "f16"},
        ),
        (
            {"n_parallel": 8, "kv_type": "q8_0", "threads": 2, "quantization": "Q8_0"},
            {
                "n_seq_max": 8,
                "n_ctx": 2048,
                "n_ctx_seq": 256,
                "threads": 2,
                "cache_type_k": "q8_0",
                "cache_type_v": "q8_0",
            },
        ),
        ({"n_parallel": 2, "n_ctx": 1024, "cont_batching": False}, {"n_ctx": 1024, "n_ctx_seq": 512, "n_seq_max": 2}),
    ],
)
def test_the_real_server_does_what_the_config_says(job, model, config, facts):
    """Real llama.cpp: exact token counts, and each knob read back from the server itself."""
    with LocalExecutor() as executor:
        [(_, result)] = executor.run([job(config)])
        assert result.outcome is Outcome.OK, result.error
        slots = json.loads(get(executor, "/slots"))
        props = json.loads(get(executor, "/props"))
        metrics = get(executor, "/metrics")
    assert facts.items() <= result.facts.items()
    assert len(slots) == props["total_slots"] == config["n_parallel"]
    assert {slot["n_ctx"] for slot in slots} == {result.facts["n_ctx_seq"]}
    assert Path(props["model_path"]) == model.files[config.get("quantization", "F16")]
    assert result.facts["kv_cache_bytes"] > 0
    point = result.points[0]
    assert (point.value("input_tokens"), point.value("output_tokens"), point.value("success_rate")) == (40, 6, 1)
    # Probes of 5 and 10 tokens, one warm-up request, eight measured ones; nothing came from a cache.
    assert "llamacpp:prompt_tokens_total 375" in metrics
    assert "llamacpp:prompt_tokens_cached_total 0" in metrics
    assert 0 < point.value("ttft_s") < point.value("e2e_s")
    assert result.engine_version.startswith("xllamacpp ")
    assert "llamacpp_server.py" in result.command


def test_without_continuous_batching_the_real_server_still_answers(job):
    """What it does to admissions is timing, and measured in tests/bench; here: the flag arrives and is understood."""
    each = job({"n_parallel": 4, "cont_batching": False})
    assert "--no-cont-batching" in flags(each)
    with LocalExecutor() as executor:
        [(_, result)] = executor.run([each])
    assert result.outcome is Outcome.OK


def test_a_request_parameter_does_not_restart_the_real_server(job):
    with LocalExecutor() as executor:
        [(_, first), (_, second)] = executor.run([job({}), job({"cache_prompt": True})])
    assert (first.outcome, second.outcome) == (Outcome.OK, Outcome.OK)
    assert Path(second.log_path).read_text().count("model loaded") == 1


def test_a_context_that_is_too_small_is_the_configs_fault(job):
    with LocalExecutor() as executor:
        [(_, result)] = executor.run([job({"n_ctx": 256, "n_parallel": 1}, Workload(isl=400, osl=4, requests=2))])
    assert result.outcome is Outcome.INVALID
    assert "HTTP 400" in result.error


def test_a_file_that_is_no_model_fails_to_launch_with_the_servers_own_words(job, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF nonsense")
    with LocalExecutor() as executor:
        [(_, result)] = executor.run(
            [Job("e", Config({}), Target("m", "local", "llamacpp"), (LOAD,), tmp_path, str(broken))]
        )
    assert result.outcome is Outcome.LAUNCH_FAILED
    assert "exit code 1" in result.error


def test_a_users_own_modules_do_not_disturb_the_server(job, tmp_path):
    """The server starts in its log folder and from a shell in any folder, whatever lies there."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for name in ("model.py", "runner.py", "argparse.py", "xllamacpp.py"):
        (folder / name).write_text("raise SystemExit('shadowed')\n")
    launch = LlamaCpp().launch(job({}), {}, 0)
    program = launch.argv[: launch.argv.index("-m")]
    shown = subprocess.run([*program, "--help"], cwd=folder, capture_output=True, text=True, check=True, env=os.environ)
    assert "--cache-type-k" in shown.stdout
    assert shlex.split(launch.command)[2] == sys.executable
    with LocalExecutor() as executor:
        [(_, result)] = executor.run([job({})])
    assert result.outcome is Outcome.OK
