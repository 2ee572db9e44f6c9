"""One server process from start to end. It runs under `guard.py`, so it cannot outlive us, however we end."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from perfdb.errors import EngineError

_GUARD = Path(__file__).resolve().with_name("guard.py")
_GUARD_START_S = 30.0
_LOG_BYTES = 64 * 1024
_given_ports: set[int] = set()


def free_port() -> int:
    """A TCP port of this machine that nothing listens on, and that this process did not give away before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given_ports:
            _given_ports.add(port)
            return port


class ServerProcess:
    """A started server. `pid` is its process and its process group; its output goes to `log_path`, appended."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log_path: Path, cwd: Path | None = None) -> None:
        """Start `argv` with `env` added to our environment.

        Raises:
            EngineError: the program cannot be started.
        """
        self.log_path = log_path
        self.returncode: int | None = None
        self._said = b""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        with log_path.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env={**os.environ, **env},
                cwd=cwd,
                start_new_session=True,
            )
        try:
            self.pid = self._await_pid()
        except BaseException:
            self._end_guard()
            raise

    def _await_pid(self) -> int:
        line = self._next_line(time.monotonic() + _GUARD_START_S) or "failed no answer from the guard process"
        word, _, rest = line.partition(" ")
        if word == "pid":
            return int(rest)
        raise EngineError(f"the server cannot be started: {rest}")

    def _next_line(self, deadline: float) -> str | None:
        """The guard's next line; None at the deadline; "gone" when the guard ended without a word."""
        assert self._guard.stdout is not None
        while b"\n" not in self._said:
            ready, _, _ = select.select([self._guard.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            got = self._guard.stdout.read(4096)
            if not got:
                return "gone"
            self._said += got
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code (negative: the signal that ended it), or None if it still runs after `timeout_s` seconds."""
        if self.returncode is None:
            line = self._next_line(time.monotonic() + timeout_s)
            if line is not None:
                word, _, code = line.partition(" ")
                self.returncode = int(code) if word == "exit" else -9
                self._end_guard()
        return self.returncode

    def poll(self) -> int | None:
        """The exit code if the server has ended, else None."""
        return self.wait(0.0)

    def stop(self, grace_s: float = 5.0) -> None:
        """End the whole group: SIGTERM, after `grace_s` seconds SIGKILL. Idempotent; returns when nothing is left."""
        for word, patience_s in ((b"T", grace_s), (b"K", _GUARD_START_S)):
            if self.poll() is not None:
                return
            with contextlib.suppress(OSError):
                assert self._guard.stdin is not None
                self._guard.stdin.write(word)
            self.wait(patience_s)
        self.returncode = -9 if self.returncode is None else self.returncode
        self._end_guard()

    def _end_guard(self) -> None:
        """Close the pipes (which tells a guard that still lives to kill) and reap it."""
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._guard.wait(_GUARD_START_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        if self._guard.returncode != 0 and hasattr(self, "pid"):
            # The guard was killed from outside: its work is ours now.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, 9)

    def cpu_seconds(self) -> float:
        """User and system CPU seconds of the server and its descendants since they started."""
        total = 0.0
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory_bytes(self) -> int:
        """Resident memory of the server and its descendants, bytes."""
        total = 0
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def _family(self) -> list[psutil.Process]:
        try:
            server = psutil.Process(self.pid)
            return [server, *server.children(recursive=True)]
        except psutil.Error:
            return []

    def log_head(self) -> str:
        """What this server wrote first, at most 64 KiB: an engine introduces itself there."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read(_LOG_BYTES).decode(errors="replace")

    def log_text(self) -> str:
        """What this server wrote last, at most 64 KiB."""
        with self.log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _LOG_BYTES))
            return log.read().decode(errors="replace")
