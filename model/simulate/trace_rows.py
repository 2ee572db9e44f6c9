"""Requests as a file tells them, one by one, and the trace that they make: in order, with their conversations."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from model.simulate.blocks import NONE, Ints
from model.simulate.state import NO_SHARING
from model.simulate.trace import Trace, Turns
from perfdb.errors import FileError


@dataclass(slots=True)
class Row:
    """One request. `arrival_s` None: as soon as the turn before it was answered and thought about.

    `where` names its place in the file; `shared` tokens of the prompt lie in chunks of so many tokens, named `chunks`.
    """

    where: str
    arrival_s: float | None
    prompt: int
    output: int
    shared: int = 0
    chunks: tuple[Hashable, ...] = ()
    chunk_tokens: int = NO_SHARING
    session: Hashable = None
    turn: float | None = None
    think_s: float = 0.0
    priority: int | None = None


def trace_of(rows: Sequence[Row]) -> Trace:
    """The trace of at least one row; times count from the first request.

    Raises:
        FileError: a conversation has no beginning, a turn stands twice, or a prompt lacks what was said before it.
    """
    before = _linked(rows)
    floors = np.zeros(len(rows))
    for place, earlier in before.items():
        floor = 0.0 if earlier is None else floors[earlier]
        floors[place] = max(rows[place].arrival_s or 0.0, floor)
    in_turn = np.fromiter(before, dtype=np.int64, count=len(rows))
    order = in_turn[np.argsort(floors[in_turn], kind="stable")]
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows))
    previous = np.array([NONE if (p := before[int(place)]) is None else rank[p] for place in order], dtype=np.int64)
    ordered = [rows[place] for place in order]
    turns = Turns(previous, np.array([row.think_s for row in ordered])) if (previous != NONE).any() else None
    return _as_columns(ordered, floors[order], turns)


def _as_columns(rows: Sequence[Row], arrival_s: np.ndarray[Any, np.dtype[np.float64]], turns: Turns | None) -> Trace:
    names: dict[Hashable, int] = {}
    chunks = [names.setdefault(name, len(names)) for row in rows for name in row.chunks]
    counts = np.array([len(row.chunks) for row in rows], dtype=np.int64)
    return Trace(
        arrival_s - arrival_s[0],
        np.array([row.prompt for row in rows], dtype=np.int64),
        np.array([row.output for row in rows], dtype=np.int64),
        np.array([row.shared for row in rows], dtype=np.int64),
        np.cumsum(counts) - counts,
        np.array(chunks or [0], dtype=np.int64),
        min(row.chunk_tokens for row in rows),
        turns=turns,
        priority=_priorities(rows),
    )


def _priorities(rows: Sequence[Row]) -> Ints | None:
    """Requests that tell none have 0, as vLLM's own have."""
    if all(row.priority is None for row in rows):
        return None
    return np.array([row.priority or 0 for row in rows], dtype=np.int64)


def _linked(rows: Sequence[Row]) -> dict[int, int | None]:
    """Row -> the row of the turn before it; conversations one after the other, each in its order."""
    before: dict[int, int | None] = {}
    for places in _conversations(rows).values():
        if all(rows[place].turn is not None for place in places):
            places.sort(key=lambda place: rows[place].turn or 0.0)
        if rows[places[0]].arrival_s is None:
            raise FileError(f"{rows[places[0]].where}: the first turn has no arrival_s; expected seconds")
        before[places[0]] = None
        for previous, place in pairwise(places):
            _check_turn(rows[previous], rows[place])
            before[place] = previous
    return before


def _conversations(rows: Iterable[Row]) -> dict[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(("alone", place) if row.session is None else ("session", row.session), []).append(place)
    return found


def _check_turn(previous: Row, row: Row) -> None:
    if row.turn is not None and row.turn == previous.turn:
        raise FileError(f"{row.where}: turn {row.turn:g} stands twice in its conversation; expected each once")
    said = previous.prompt + previous.output
    if row.prompt < said:
        raise FileError(
            f"{row.where}: a prompt of {row.prompt} tokens; expected at least {said}, "
            "for a turn's prompt holds the prompt and the answer of the turn before"
        )


def real(where: str, name: str, value: Any) -> float:
    """A number from 0 on.

    Raises:
        FileError: it is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if isinstance(value, bool) or not 0 <= found < 1e12:
        raise FileError(f"{where}: {name} is {_short(value)}; expected a number from 0, below 1e12")
    return found


def whole(where: str, name: str, value: Any, least: int = 1) -> int:
    """A whole number from `least` on.

    Raises:
        FileError: it is none.
    """
    found = real(where, name, value)
    if found != int(found) or not least <= found < 2**40:
        raise FileError(f"{where}: {name} is {_short(value)}; expected a whole number from {least}")
    return int(found)


def named(found: Mapping[str, Any], *names: str) -> Any:
    """The value of the first name that stands there, None without one."""
    return next((found[name] for name in names if found.get(name) is not None), None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
