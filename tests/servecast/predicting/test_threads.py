"""Work in several threads: the same answers in the same order, within the caller's context; the first error is told."""

from __future__ import annotations

from contextvars import ContextVar
from threading import Barrier

import pytest

from model.tables.said import listening, say
from servecast.predicting.threads import in_threads

told: ContextVar[str] = ContextVar("told", default="nobody")


def test_answers_come_in_order() -> None:
    assert list(in_threads(lambda item: 2 * item, iter(range(9)), 3)) == list(range(0, 18, 2))
    assert list(in_threads(lambda item: 2 * item, [4], 3)) == [8]
    assert list(in_threads(lambda item: 2 * item, [], 3)) == []


def test_several_are_worked_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servecast.predicting.threads.usable_cores", lambda: 2.0)
    both = Barrier(2, timeout=60)  # breaks unless two wait at it
    assert len(list(in_threads(lambda _: both.wait(), range(4), 2))) == 4


def test_what_is_said_reaches_who_asked() -> None:
    told.set("somebody")
    with listening() as heard:
        names = list(in_threads(lambda item: (say([str(item)]), told.get())[1], range(5), 2))
    assert heard == set("01234")
    assert names == ["somebody"] * 5


def test_the_first_error_is_raised() -> None:
    def refused(item: int) -> int:
        if item in (3, 5):
            raise ValueError(item)
        return item

    with pytest.raises(ValueError, match="3"):
        list(in_threads(refused, range(8), 2))
