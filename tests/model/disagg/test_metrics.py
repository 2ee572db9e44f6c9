"""What was learned of whole servers scales the parts of a request's time that it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.disagg.lessons import PoolCorrection
from model.disagg.units import Sharing
from model.steps.overheads import overheads
from tests.model.disagg.test_answer import Answer, answer, at_rate, closed, value

SHIFT = {"ttft_s": np.log(3.0), "tpot_s": np.log(2.0)}
SD = {"ttft_s": 0.5, "tpot_s": 0.2}


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole servers took three times as long to the first token as computed, and twice as long per further one."""

    def told(family: str, question: Any, rows: Any, held: Any, lessons: Any) -> PoolCorrection:
        return PoolCorrection(np.full(len(rows), SHIFT[family]), np.full(len(rows), SD[family]), learned=True)

    monkeypatch.setattr("model.disagg.answer.correction", told)


def parts(found: Answer) -> tuple[float, float, float]:
    prefill, move, wait = (found.stages[name].item() for name in ("prefill", "transfer", "wait"))
    return prefill + 2 * overheads("vllm").request_s, move, wait


SLOW_LINK = Sharing(link=1e9)


@pytest.mark.usefixtures("learned")
def test_what_moves_stands_as_computed() -> None:
    """One request in flight: 262 MB over 1 GB/s take longer than the prompt, whatever was learned of steps."""
    found = answer(replace(closed(1), requests=100_000), sharing=SLOW_LINK)
    prefill, move, wait = parts(found)
    assert move > prefill
    assert value(found, "ttft_s") == pytest.approx(3.0 * prefill + move + 2.0 * wait, rel=1e-3)


@pytest.mark.usefixtures("learned")
def test_waits_for_a_place_are_as_wrong_as_the_times_of_who_holds_it() -> None:
    found = answer(closed(600), (8, 1), decode={"max_num_seqs": 32})
    prefill, move, wait = parts(found)
    assert wait > 10 * prefill
    assert value(found, "ttft_s") == pytest.approx(3.0 * prefill + move + 2.0 * wait, rel=0.05)
    spread = found.metrics["ttft_s"].log_sd.item()
    assert SD["tpot_s"] < spread < SD["tpot_s"] + 0.1


@pytest.mark.usefixtures("learned")
@pytest.mark.parametrize("slow", [True, False])
def test_who_waits_for_the_link_does_not_wait_for_steps(slow: bool) -> None:
    """Beyond the capacity requests wait for the slowest stage: for a link that is known, or for steps."""
    found = answer(at_rate(40.0), (1, 4), sharing=SLOW_LINK if slow else Sharing(link=1e15))
    assert found.limits[0] == ("transfer" if slow else "prefill")
    wait = parts(found)[2]
    assert wait > 1.0
    assert value(found, "ttft_s") == pytest.approx(wait if slow else 3.0 * wait, rel=0.2)


@pytest.mark.usefixtures("learned")
def test_the_rest_adds_up() -> None:
    found = answer(closed(16), (2, 1))
    assert value(found, "e2e_s") == pytest.approx(value(found, "ttft_s") + 199 * value(found, "tpot_s"))
    assert SD["tpot_s"] < found.metrics["e2e_s"].log_sd.item() < SD["ttft_s"]
