"""How long a load is simulated before it counts as served (FEATURES S1.39)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.simulate.trace import Trace
from model.simulate.traffic import Conversations, Traffic
from perfdb.lengths import Lengths
from servecast.predicting.load_curves import Simulated, SimulatedCurve

TALK = Conversations(turns=(3.0, 3.0), think_s=(100.0, 100.0))


class Steady:
    """A server whose answers take as long under any load, and that keeps up with a share of it."""

    warnings = ()

    def __init__(self, e2e_s: float, kept_up: float) -> None:
        self.e2e_s, self.kept_up = e2e_s, kept_up
        self.served: list[int] = []

    def serve(self, trace: Trace) -> dict[str, Any]:
        self.served.append(len(trace))
        e2e = {"mean": self.e2e_s, "p50": self.e2e_s}
        return {"requests": len(trace), "kept_up": self.kept_up, "e2e_s": e2e}


def served(talk: Conversations | None, load: float, e2e_s: float = 1.0, kept_up: float = 1.0, **how: Any) -> list[int]:
    server = Steady(e2e_s, kept_up)
    asked = Simulated(Traffic(Lengths.parse("D(50,40)"), conversations=talk), 100, 0, how.get("is_rate", True), ())
    answers = SimulatedCurve(server, asked, np.array([1])).at(np.array([load]))
    assert answers.served.item() == (kept_up if how.get("is_rate", True) else 1.0)
    return server.served


def test_a_rate_of_conversations_lasts_for_many_of_their_lives() -> None:
    life_s = 3 * 1.0 + 2 * 100.0
    assert TALK.life_s(1.0) == life_s
    assert served(TALK, 2.0)[-1] == pytest.approx(100 * life_s * 2.0, rel=0.2)


def test_a_rate_lasts_for_many_requests_lives() -> None:
    assert served(None, 2.0) == [120]
    assert served(None, 2.0, e2e_s=60.0) == [120, 480, 1200]


def test_what_does_not_keep_up_is_known_at_once() -> None:
    assert served(TALK, 2.0, kept_up=0.5) == [120]


def test_a_run_ends_at_some_time() -> None:
    assert served(TALK, 1000.0, e2e_s=1e6)[-1] == 200_000


def test_a_closed_loop_has_as_many_requests_as_ten_times_its_places() -> None:
    assert served(TALK, 4.0, is_rate=False) == [100]
    assert served(TALK, 40.0, is_rate=False) == [400]
