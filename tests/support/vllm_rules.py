"""The rules by which vLLM's V1 scheduler decides with drafted tokens, stated plainly: no prefix cache, first come first
served, one step after the other. Source: vllm/v1/core/sched/scheduler.py (schedule, update_from_output)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.simulate import speculation
from model.simulate.speculation import Drafts
from tests.support.kernels import called

accepted = called(speculation.accepted)


@dataclass(eq=False)
class Request:
    """A request as the scheduler sees it: tokens known, computed and drafted, and the blocks it holds."""

    number: int
    prompt: int
    limit: int
    outputs: int = 0
    computed: int = 0
    drafted: int = 0
    held: int = 0

    @property
    def known(self) -> int:
        """Prompt and answers so far."""
        return self.prompt + self.outputs


class PlainScheduler:
    """One engine with the flags of a scenario; `step` decides and runs one step."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        self.flags, self.free = flags, flags["num_gpu_blocks"] - 1
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.drafts: int = flags["num_speculative_tokens"]
        self.ahead = self.drafts if flags["draft_layers"] > 0 else 0

    def step(self) -> dict[str, Any]:
        """Decide and run a step, as `model.simulate.decisions` tells it."""
        budget, scheduled, preempted, place = self.flags["max_num_batched_tokens"], list[tuple[Request, int]](), [], 0
        admitted: list[int] = []
        while place < len(self.running) and budget > 0:
            request = self.running[place]
            tokens = min(request.known + request.drafted - request.computed, budget)
            tokens = min(tokens, self.flags["max_model_len"] - 1 - request.computed)
            while request in self.running and not self._allot(request, tokens, self.ahead):
                preempted.append(self._preempt())
            if request not in self.running:
                break
            request.drafted = 0
            scheduled.append((request, tokens))
            budget -= tokens
            place += 1
        while self.waiting and not preempted and budget > 0 and len(self.running) < self.flags["max_num_seqs"]:
            request = self.waiting[0]
            tokens = min(request.known, budget)
            if self._blocks(request.known) > self.free or not self._allot(request, tokens, 0):
                break
            self.running.append(self.waiting.pop(0))
            admitted += [request.number, 0]
            scheduled.append((request, tokens))
            budget -= tokens
        told = {
            "scheduled": [each for request, tokens in scheduled for each in (request.number, tokens)],
            "preempted": [request.number for request in preempted],
            "admitted": admitted,
            "running": len(self.running),
            "waiting": len(self.waiting),
            "free_blocks": self.free,
        }
        return told | {"finished": [request.number for request, tokens in scheduled if self._is_done(request, tokens)]}

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // int(self.flags["block_size"]))

    def _allot(self, request: Request, tokens: int, ahead: int) -> bool:
        room = min(request.computed + tokens + ahead, self.flags["max_model_len"])
        more = max(self._blocks(room) - request.held, 0)
        if more > self.free:
            return False
        request.held += more
        self.free -= more
        return True

    def _preempt(self) -> Request:
        victim = self.running.pop()
        self.free += victim.held
        victim.held = victim.computed = victim.drafted = 0
        self.waiting.insert(0, victim)
        return victim

    def _is_done(self, request: Request, tokens: int) -> bool:
        """The step ran: tokens for who has computed all that it knows; answers whether that was the last of them."""
        drafted = request.computed + tokens - request.known
        request.computed += tokens
        if drafted < 0:
            return False
        drawn = Drafts(self.drafts, self.flags["acceptance_rate"], 0, 0.0)
        right = accepted(drawn, request.number, request.outputs, drafted)
        request.computed -= drafted - right
        request.outputs += 1 + right
        request.drafted = self.drafts
        if request.outputs < request.limit and request.known < self.flags["max_model_len"]:
            return False
        self.free += request.held
        self.running.remove(request)
        return True
