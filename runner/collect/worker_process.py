"""The worker as a process in an interpreter of the user's choosing: it is asked one case at a time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from perfdb.errors import EngineError

_MAIN = Path(__file__).with_name("worker") / "main.py"
_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SAID_BYTES = 2000
_INSTALL: Mapping[tuple[str, str], str] = {
    ("torch", "cpu"): "pip install torch --index-url https://download.pytorch.org/whl/cpu",
    ("torch", "cuda"): "pip install torch",
    ("numpy", "cpu"): "pip install numpy",
    ("llamacpp", "cpu"): "pip install xllamacpp",
}
_LIBRARY_IS_MISSING = "No module named"


class WorkerDiedError(Exception):
    """The worker ended while it had a case."""


@dataclass(frozen=True)
class Library:
    """Whose kernels are timed where: `name` llamacpp, torch or numpy; `device` cpu or cuda; the interpreter's path."""

    name: str
    device: str
    python: str
    threads: int


class Worker:
    """A started worker; `about` is what its library and device say of themselves."""

    def __init__(self, library: Library, log: Path) -> None:
        """Start it; what it and its library print goes to `log`.

        Raises:
            EngineError: the interpreter cannot be started, lacks the library, or sees no such device.
        """
        self.library = library
        self.log = log
        self._start()

    def restart(self) -> None:
        """A new process in place of one that ended. Raises as `Worker` does."""
        self.close()
        self._start()

    def _start(self) -> None:
        self._process = self._started()
        try:
            self.about = self._introduced()
        except BaseException:
            self.close()
            raise

    def _started(self) -> subprocess.Popen[str]:
        library = self.library
        argv = [library.python, str(_MAIN), library.name, library.device, str(library.threads)]
        try:
            with self.log.open("wb") as said:
                return subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                    env={**os.environ, **dict.fromkeys(_THREAD_COUNTS, str(library.threads))},
                    # Ctrl-C is ours to hear: the worker ends when its input does
                    start_new_session=True,
                )
        except OSError as error:
            raise EngineError(f"{library.python}: cannot be started ({error.strerror}); expected a Python") from error

    def _introduced(self) -> dict[str, Any]:
        try:
            about = self._next()
        except WorkerDiedError as error:
            raise EngineError(f"{self.library.python}: the worker did not start ({error})") from error
        if "error" not in about:
            return about
        said = f"{self.library.python}: {about['error']}"
        if _LIBRARY_IS_MISSING not in said:
            raise EngineError(said)
        name, device = self.library.name, self.library.device
        install = f"{name}: {_INSTALL[name, device]}" if (name, device) in _INSTALL else name
        others = ", or --library numpy" if device == "cpu" else ""
        raise EngineError(f"{said}; expected --python with an interpreter that has {install}{others}")

    def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Time one case.

        Raises:
            WorkerDiedError: the worker ended instead, for lack of memory for instance.
            EngineError: it answered what is no answer.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerDiedError(self._last_words()) from error
        return self._next()

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise WorkerDiedError(self._last_words())
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            said = f"said {line.strip()[:100]!r} where a worker answers in JSON"
            raise EngineError(f"{self.library.python}: {said}; expected a Python") from error
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        with self.log.open("rb") as said:
            said.seek(max(said.seek(0, os.SEEK_END) - _SAID_BYTES, 0))
            lines = said.read().decode(errors="replace").strip().splitlines()
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{ended}: {lines[-1].strip()}" if lines else ended

    def close(self) -> None:
        """End it, whatever it does. Idempotent."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what it did not read is lost
                    pipe.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
