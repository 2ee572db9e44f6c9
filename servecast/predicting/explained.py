"""Where the time of one config goes, and what its memory holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from model.load import Load
from model.question import Question, analyse
from model.steps.explain import explain
from servecast.predicting.memory_account import memory_account


def explained(question: Question, load: Load | None, ttft_s: float) -> dict[str, Any]:
    """Where the time of the one config of a question goes, under a load instead of its own: of its steps, and of its
    first token, predicted in `ttft_s`; and what the memory of a device holds."""
    found = analyse(question, load=load)
    parts = explain(found.points, 0, found.serving.active.item())
    steps = {step: [asdict(share) for share in shares] for step, shares in parts.items()}
    first = {name: seconds.item() for name, seconds in found.serving.first_token.items()}
    told = {"first_token": {**first, "learned or measured": ttft_s - sum(first.values())}}
    memory = memory_account(found.points, found.memory)
    return {"active": found.serving.active.item(), "memory": memory, **told, **steps}
