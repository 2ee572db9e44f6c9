"""The local executor, with faults injected at the process boundary only."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import psutil
import pytest

from perfdb.facts.engines import Applied
from perfdb.metrics import Statistic
from perfdb.records import Arrival, Outcome, Workload
from runner.local import LocalExecutor

GONE_S = 20.0


def result_of(executor, job):
    [(got, result)] = list(executor.run([job]))
    assert got is job
    return result


def state(executor):
    url = executor._warm.launch.url + "/state"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.parametrize(
    ("mode", "outcome", "says"),
    [
        ("ok", Outcome.OK, None),
        ("dies_early", Outcome.LAUNCH_FAILED, "weights are missing"),
        ("oom_at_start", Outcome.OOM, "Tried to allocate 20 GiB"),
        ("killed_at_start", Outcome.OOM, "signal 9"),
        ("refuses", Outcome.INVALID, "--nonsense"),
        ("unknown", Outcome.INVALID, "expected a mode"),
        ("absent", Outcome.LAUNCH_FAILED, "not installed"),
        ("crashes", Outcome.CRASHED, "signal 11"),
        ("oom_while_running", Outcome.OOM, "CUDA out of memory"),
        ("half_fails", Outcome.PARTIAL, "worker is confused"),
        ("fails_with_oom", Outcome.OOM, "CUDA out of memory"),
        ("refuses_requests", Outcome.INVALID, "exceeds the available context size"),
        ("error_in_stream", Outcome.PARTIAL, "slot lost"),
        ("breaks_off", Outcome.PARTIAL, "broke off"),
    ],
)
def test_every_fault_is_its_outcome_with_one_sentence(local, fake, tmp_path, mode, outcome, says):
    """S2.32: what was measured of a run that failed is kept."""
    result = result_of(local, fake.fake_job(tmp_path, {"mode": mode}))
    assert (result.outcome, result.error is None) == (outcome, outcome is Outcome.OK)
    if says:
        assert says in result.error
        assert "\n" not in result.error
    assert result.wall_s > 0
    assert (local._warm is not None) == (outcome is Outcome.OK)
    if mode in {"crashes", "half_fails", "oom_while_running"}:
        assert 0 < result.points[0].value("success_rate") < 0.95
        assert result.points[0].outcome is Outcome.PARTIAL
        assert result.points[0].value("ttft_s") > 0
    if mode in {"crashes", "oom_while_running"}:
        assert result.points[0].value("memory_bytes") is None


@pytest.mark.parametrize("mode", ["never_ready", "hangs_on_health"])
def test_a_server_that_is_never_ready_times_out(local, fake, tmp_path, mode):
    result = result_of(local, fake.fake_job(tmp_path, {"mode": mode}, launch_timeout_s=0.3))
    assert result.outcome is Outcome.TIMEOUT
    assert "not ready" in result.error


def test_a_load_that_hangs_times_out_and_keeps_what_was_measured(local, fake, tmp_path):
    result = result_of(local, fake.fake_job(tmp_path, {"mode": "hangs"}, run_timeout_s=3.0))
    assert result.outcome is Outcome.TIMEOUT
    assert 0 < result.points[0].value("success_rate") <= 4 / 12


def test_requests_that_hang_are_counted_as_failed(fake, tmp_path):
    with LocalExecutor(adapter=lambda _name: fake.ENGINE, request_timeout_s=0.3) as executor:
        result = result_of(executor, fake.fake_job(tmp_path, {"mode": "hangs"}))
    assert result.outcome is Outcome.PARTIAL
    assert "no complete answer within 0.3 s" in result.error


def test_the_end_of_the_budget_cancels_and_does_not_blame_the_config(local, fake, tmp_path):
    result = result_of(local, fake.fake_job(tmp_path, {"mode": "hangs"}, limit_s=1.0))
    assert result.outcome is Outcome.CANCELLED


def test_a_taken_port_is_tried_once_more(local, fake, tmp_path):
    assert result_of(local, fake.fake_job(tmp_path, {"mode": "port_taken"})).outcome is Outcome.OK


def test_an_unknown_engine_is_a_result(fake, tmp_path):
    with LocalExecutor() as executor:
        assert result_of(executor, fake.fake_job(tmp_path, {})).outcome is Outcome.INVALID


def test_an_engine_that_cannot_be_launched_is_a_result(fake, tmp_path):
    job = fake.fake_job(tmp_path, {})
    vllm = type(job)(**{**vars(job), "target": type(job.target)("tiny", "local", "vllm")})
    with LocalExecutor() as executor:
        result = result_of(executor, vllm)
    assert result.outcome is Outcome.LAUNCH_FAILED
    assert "it launches llamacpp" in result.error


def test_operating_points_are_measured_in_order_on_one_server(local, fake, tmp_path):
    loads = (fake.LOAD, Workload(isl=9, osl=2, arrival=Arrival.CONSTANT, request_rate=500.0, requests=5))
    result = result_of(local, fake.fake_job(tmp_path, {}, *loads))
    assert [point.workload.requests for point in result.points] == [12, 5]
    assert [point.value("input_tokens") for point in result.points] == [21, 9]
    assert result.points[1].workload.lengths == "D(9,2)"
    names = {(m.metric, m.statistic) for m in result.points[0].measurements}
    machine = {(name, Statistic.VALUE) for name in ("server_cpu_s", "load_avg", "memory_bytes")}
    times = {(n, s) for n in ("ttft_s", "tpot_s", "itl_s", "e2e_s") for s in (Statistic.MEAN, Statistic.P99)}
    assert names >= machine | times


def test_the_result_says_how_it_was_launched(local, fake, tmp_path):
    result = result_of(local, fake.fake_job(tmp_path, {"size": 2}))
    assert result.command.startswith("FAKE_ENV=set ")
    assert " 8080 " in result.command
    log = Path(result.log_path).read_text()
    assert f"cwd={tmp_path / 'logs'} env=set" in log
    assert (result.engine_version, result.facts) == ("fake 1.0", {"said": "fake"})
    rows = [json.loads(line) for line in (tmp_path / "logs" / "job-0.requests.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(12))
    assert all(row["output_tokens"] == 3 and row["error"] is None for row in rows)


def test_live_and_request_parameters_change_without_a_restart(local, fake, tmp_path):
    configs = [{"speed": 1}, {"speed": 2}, {"speed": 2, "top_k": 7}]
    pids = []
    for config in configs:
        assert result_of(local, fake.fake_job(tmp_path, config)).outcome is Outcome.OK
        pids.append(state(local)["pid"])
    assert len(set(pids)) == 1
    assert state(local)["settings"] == {"speed": 2}


def test_a_warm_server_never_sees_a_measured_prompt_again(local, fake, tmp_path):
    """Else a prefix cache would answer the second window; only probes and warm-up (4 requests a window) repeat."""
    loads = (fake.LOAD, Workload(lengths="D(21,3)", concurrency=1, requests=12, warmup_requests=2))
    for name, speed in (("one", 1), ("two", 2)):
        assert result_of(local, fake.fake_job(tmp_path, {"speed": speed}, *loads, name=name)).outcome is Outcome.OK
    assert state(local)["seen"] == 4 * (4 + 12)
    assert state(local)["repeated"] == 3 * 4


@pytest.mark.parametrize("config", [{"speed": 1, "size": 2}, {"top_k": 3}, {"speed": 1}])
def test_a_restart_parameter_a_dropped_live_one_or_a_repeat_restarts(local, fake, tmp_path, config):
    pids = []
    for each in ({"speed": 1}, config):
        result_of(local, fake.fake_job(tmp_path, each))
        pids.append(state(local)["pid"])
    assert pids[0] != pids[1]


def test_a_refused_live_value_is_invalid(local, fake, tmp_path):
    result = result_of(local, fake.fake_job(tmp_path, {"speed": "refuse"}))
    assert result.outcome is Outcome.INVALID
    assert "HTTP 400" in result.error


def test_a_task_may_declare_how_a_parameter_is_applied(local, fake, tmp_path):
    jobs = [fake.fake_job(tmp_path, {"size": size}, applied={"size": Applied.REQUEST}) for size in (1, 2)]
    pids = []
    for job in jobs:
        result_of(local, job)
        pids.append(state(local)["pid"])
    assert pids[0] == pids[1]


def test_a_job_can_be_cancelled_from_another_thread(local, fake, tmp_path):
    job = fake.fake_job(tmp_path, {"mode": "hangs"})
    results = []
    worker = threading.Thread(target=lambda: results.append(result_of(local, job)))
    worker.start()
    local.cancel()
    worker.join(60)
    assert results[0].outcome is Outcome.CANCELLED
    assert result_of(local, job).outcome is Outcome.CANCELLED


def test_an_interrupt_stops_the_server_and_goes_on(local, fake, tmp_path, monkeypatch):
    seen = []

    def interrupted(server, *_rest):
        seen.append(psutil.Process(server.process.pid))
        raise KeyboardInterrupt

    monkeypatch.setattr("runner.local.measure_point", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result_of(local, fake.fake_job(tmp_path, {}))
    assert psutil.wait_procs(seen, GONE_S)[1] == []


PARENT = """
import signal, sys, importlib.util
# a suite that a shell started in the background has it ignored, and children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
spec = importlib.util.spec_from_file_location("fake_engine", sys.argv[1])
fake = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake)
from pathlib import Path
from runner.local import LocalExecutor
executor = LocalExecutor(adapter=lambda name: fake.ENGINE)
for job, result in executor.run([fake.fake_job(Path(sys.argv[2]), {"mode": sys.argv[3]})]):
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_outlives_its_parent_however_that_dies(fake, tmp_path, number):
    """`kill -9` of a tuning leaves no server: the guard sees the pipe close."""
    argv = [sys.executable, "-c", PARENT, str(Path(fake.__file__)), str(tmp_path), "hangs"]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]) as parent:
        family = _family_with_server(parent.pid)
        os.kill(parent.pid, number)
    assert psutil.wait_procs(family, GONE_S)[1] == []


def _family_with_server(pid):
    """Guard and server of a parent, once both are there; a parent that dies first fails the test."""
    parent = psutil.Process(pid)
    while True:
        found = parent.children(recursive=True)
        if any(
            "fake_server.py" in " ".join(each.cmdline()) and "guard.py" not in " ".join(each.cmdline())
            for each in found
        ):
            return found
