"""What it means that a server ended: the outcome and one sentence."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence

from perfdb.records import Outcome

OOM_SIGNS = (
    "out of memory",
    "outofmemory",
    "cudaerrormemoryallocation",
    "failed to allocate",
    "unable to allocate",
    "cannot allocate memory",
    "bad_alloc",
    "memoryerror",
    "not enough memory",
    "no available memory for the cache",
    "resource_exhausted",
)
"""Texts, in lower case, by which engines and allocators say that memory ran out."""
_PORT_SIGNS = ("address already in use", "couldn't bind", "failed to bind", "failed to listen", "could not listen")
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


class JobError(Exception):
    """A job ended otherwise than ok; internal to the executor, which makes a result of it."""

    def __init__(self, outcome: Outcome, sentence: str) -> None:
        super().__init__(sentence)
        self.outcome = outcome


def is_oom(text: str) -> bool:
    """Whether a log or an error says that memory ran out."""
    lower = text.lower()
    return any(sign in lower for sign in OOM_SIGNS)


def is_port_taken(text: str) -> bool:
    """Whether a log says that the port was taken between our look and the server's."""
    lower = text.lower()
    return any(sign in lower for sign in _PORT_SIGNS)


def server_ended(code: int, log: str, refused_signs: Sequence[str], ready: bool) -> JobError:
    """What a server's end means. Signal 9 that we did not send is the kernel's answer to a lack of memory."""
    when = "while it was measured" if ready else "before it was ready"
    how = f"ended {when} ({_exit(code)})"
    if is_oom(log) or code in _KILLED:
        return JobError(Outcome.OOM, f"the server ran out of memory and {how}; {log_end(log)}")
    lower = log.lower()
    if not ready and any(sign in lower for sign in refused_signs):
        return JobError(Outcome.INVALID, f"the server refused a parameter and {how}; {log_end(log)}")
    return JobError(Outcome.CRASHED if ready else Outcome.LAUNCH_FAILED, f"the server {how}; {log_end(log)}")


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def log_end(log: str, lines: int = 3) -> str:
    """The last non-empty lines of a log, on one line."""
    kept = [" ".join(line.split()) for line in log.splitlines() if line.strip()][-lines:]
    return f"its log ends: {' | '.join(kept)[-500:]}" if kept else "its log is empty"


def requests_failed(sent: int, good: int, reasons: Mapping[str, int], refused: bool) -> JobError:
    """What too many failed requests of a running server mean. `refused`: every one was answered with HTTP 4xx."""
    reason, count = next(iter(reasons.items()), ("no answer", sent - good))
    sentence = f"{sent - good} of {sent} requests failed, {count} of them with: {reason}"
    if any(is_oom(each) for each in reasons):
        return JobError(Outcome.OOM, sentence)
    return JobError(Outcome.INVALID if refused else Outcome.PARTIAL, sentence)
