import os
import re
import signal
import sys

import psutil
import pytest

from perfdb.errors import EngineError
from runner.failures import is_oom, log_end, server_ended
from runner.process import ServerProcess, free_port

GONE_S = 20.0


@pytest.fixture
def started(fake, tmp_path):
    processes = []

    def start(mode):
        argv = (sys.executable, "-I", "-S", str(fake.SERVER), str(free_port()), mode)
        processes.append(ServerProcess(argv, {}, tmp_path / "server.log", cwd=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        process.stop(grace_s=0.0)


def await_log(process, pattern):
    """What the log says once it says it; a server that ends first fails the test."""
    while not (found := re.findall(pattern, process.log_text())):
        assert process.wait(0.01) is None, process.log_text()
    return found


def test_ports_are_given_once():
    assert len({free_port() for _ in range(20)}) == 20


def test_stop_is_idempotent_and_leaves_nothing(started):
    process = started("ok")
    await_log(process, "fake engine ok")
    server = psutil.Process(process.pid)
    assert process.poll() is None
    assert process.cpu_seconds() > 0
    assert process.memory_bytes() > 0
    process.stop()
    process.stop()
    assert process.returncode == -signal.SIGTERM
    assert not server.is_running()
    assert process.cpu_seconds() == 0


def test_a_server_that_ignores_sigterm_is_killed(started):
    process = started("stubborn")
    await_log(process, "fake engine")
    process.stop(grace_s=0.2)
    assert process.returncode in {-signal.SIGKILL, -signal.SIGTERM}


def test_the_whole_family_goes_even_where_a_child_left_the_session(started):
    process = started("family")
    while len(children := re.findall(r"child (\d+)", process.log_text())) < 2:
        assert process.wait(0.01) is None
    family = [psutil.Process(int(pid)) for pid in children]
    process.stop(grace_s=0.0)
    assert psutil.wait_procs(family, GONE_S)[1] == []


def test_a_killed_guard_takes_its_server_along(started):
    process = started("ok")
    server = psutil.Process(process.pid)
    os.kill(process._guard.pid, signal.SIGKILL)
    assert process.wait(GONE_S) == -9
    assert psutil.wait_procs([server], GONE_S)[1] == []


def test_the_exit_code_comes_back(started):
    assert started("dies_early").wait(GONE_S) == 3
    assert started("killed_at_start").wait(GONE_S) == -9


def test_a_program_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(EngineError, match="No such file"):
        ServerProcess(("/nonexistent/server",), {}, tmp_path / "x.log")


@pytest.mark.parametrize(
    "text",
    ["torch.OutOfMemoryError: CUDA out of memory", "ggml: failed to allocate buffer", "what():  std::bad_alloc"],
)
def test_oom_texts(text):
    assert is_oom(text)
    assert not is_oom("will leave 24057 >= 1024 MiB of system memory, no changes needed")


def test_the_end_of_the_log_is_one_line():
    assert log_end("a\n\nb\nc  d\ne\n") == "its log ends: b | c d | e"
    assert log_end(" \n") == "its log is empty"
    assert "exit code 4" in str(server_ended(4, "", (), ready=True))
