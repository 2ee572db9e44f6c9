"""When to give up on a job: its own timeouts, what the budget has left, a cancellation."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

from perfdb.records import Outcome
from runner.failures import JobError


@dataclass(frozen=True)
class Limits:
    """Limits of one phase that began at `started` (`time.monotonic`).

    `timeout_s` bounds the phase: beyond it, the config is at fault. `job_deadline` (`time.monotonic`) bounds the whole
    job: beyond it the budget ends, which says nothing of the config. `request_timeout_s` bounds each request.
    """

    started: float
    timeout_s: float
    cancelled: threading.Event
    job_deadline: float = math.inf
    request_timeout_s: float = math.inf

    def left_s(self) -> float:
        """Seconds until the first of the limits, negative beyond it."""
        return min(self.started + self.timeout_s, self.job_deadline) - time.monotonic()

    def check(self, state: str) -> None:
        """Raise if a limit is passed; `state` says what is not done, as half a sentence.

        Raises:
            JobError: cancelled by a caller or by the end of the budget, else timeout.
        """
        if self.cancelled.is_set():
            raise JobError(Outcome.CANCELLED, f"the job was cancelled: {state}")
        if self.left_s() > 0:
            return
        if self.job_deadline <= self.started + self.timeout_s:
            raise JobError(Outcome.CANCELLED, f"the time limit of the whole job ended it: {state}")
        raise JobError(Outcome.TIMEOUT, f"the time limit of {self.timeout_s:g} s was passed: {state}")
