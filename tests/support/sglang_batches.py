"""The running batches of an SGLang server: one, or as many as a pipeline has stages."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.sglang_memory import Request

Sent = tuple[list[tuple[Request, int]] | None, list[Request], Request | None]
"""The prompts and the decoding requests of a step, and the prompt of which it holds a part that is not the last."""


@dataclass
class MicroBatch:
    """One of the running batches of a pipeline, and what it has under way."""

    running: list[Request] = field(default_factory=list)
    is_full: bool = False
    sent: Sent | None = None


class MicroBatches:
    """They have the turn one after the other, over one queue and one prompt that is computed in parts."""

    batches: list[MicroBatch]
    turn = 0
    idle = 0
    partial: Request | None = None

    @property
    def running(self) -> list[Request]:
        """Who runs in the micro-batch whose turn it is."""
        return self.batches[self.turn].running

    @running.setter
    def running(self, running: list[Request]) -> None:
        self.batches[self.turn].running = running

    @property
    def is_full(self) -> bool:
        """Whether nobody may join it."""
        return self.batches[self.turn].is_full

    @is_full.setter
    def is_full(self, is_full: bool) -> None:
        self.batches[self.turn].is_full = is_full

    @property
    def holding(self) -> set[Request]:
        """All who have pages."""
        running = {request for batch in self.batches for request in batch.running if not request.is_done}
        prompts = {request for batch in self.batches if batch.sent for request, _ in batch.sent[0] or []}
        return running | prompts | ({self.partial} if self.partial else set())
