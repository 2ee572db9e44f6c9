"""The door of `replay`: a recorded CSV becomes a grid with answers, and a strategy is scored on it."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perfdb.errors import InputError, UnknownNameError
from perfdb.store.scan import Scan, scan
from search.objective import Objective, to_loss
from search.replay import grid_of_text, replay
from servecast.output import note, print_table


@dataclass(frozen=True)
class Question:
    """Which rows and columns of a CSV file make the grid. `params` and `objectives` are comma-separated, as typed."""

    grid: Path
    params: str
    objectives: str
    where: str | None
    derive: Mapping[str, str]


def replay_file(question: Question, strategy: str, budget: int, seeds: int) -> dict[str, Any]:
    """Replay a recorded grid and return the document of the command.

    Raises:
        FileError, InputError: the file, a column, a direction or an SQL expression is wrong.
    """
    rows = scan(question.grid, question.where, question.derive)
    names = _names(question.params, "--params")
    objectives = [Objective.parse(text) for text in _names(question.objectives, "--objectives")]
    both = sorted({o.name for o in objectives} & set(names))
    if both:
        raise InputError.at("--objectives", f"{both[0]} is a parameter, too", "a column of its own for each")
    if len({o.name for o in objectives}) < len(objectives):
        raise InputError.at("--objectives", "a column stands twice", "each once")
    for name in [*names, *(o.name for o in objectives)]:
        if name not in rows.text:
            raise UnknownNameError.of("column", name, rows.text)
    if not len(rows.rows):
        right = "a --where that keeps at least one" if question.where else "at least one row below the header"
        raise InputError.at(str(question.grid), "no row is left", right)
    _warn_of_repeats(rows, names, {o.name for o in objectives})
    grid = grid_of_text({name: rows.text[name].tolist() for name in names})
    values = np.column_stack([_numbers(rows.text[o.name]) for o in objectives])
    if not np.isfinite(to_loss(values, objectives)).all(axis=1).any():
        note("warning: every row is a failed experiment: an objective is empty, not positive or not a number")
    return replay(grid, values, tuple(objectives), rows.rows, strategy, budget, range(seeds)).to_json()


def _warn_of_repeats(rows: Scan, names: Sequence[str], objectives: Collection[str]) -> None:
    """Rows of one config under another load or protocol are no replicates: say aloud that only the first answers."""
    first: dict[tuple[object, ...], int] = {}
    places = [first.setdefault(key, row) for row, key in enumerate(zip(*(rows.text[n] for n in names), strict=True))]
    again = np.array([place != row for row, place in enumerate(places)])
    others = [name for name in rows.text if name not in objectives and name not in names]
    differs = [name for name in others if (rows.text[name] != rows.text[name][places]).any()]
    if differs:
        shown = ", ".join(differs[:5]) + (" …" if len(differs) > 5 else "")
        note(
            f"warning: {int(again.sum())} of {len(rows)} rows repeat a config of --params and differ in {shown}: "
            "the first row of each config answers; name what matters in --params, or choose rows with --where"
        )


def _names(text: str, flag: str) -> list[str]:
    # Names are read like a line of CSV, so that one in double quotes may hold a comma.
    [line] = csv.reader([text], skipinitialspace=True)
    names = [name.strip() for name in line if name.strip()]
    if not names:
        raise InputError.at(flag, "names nothing", "at least one column")
    if len(set(names)) < len(names):
        raise InputError.at(flag, "a column stands twice", "each once")
    return names


def _numbers(texts: Iterable[object]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each text as a number; NaN where it is none (empty, OOM, failed)."""
    return np.array([_number(text) for text in texts], dtype=np.float64)


def _number(text: object) -> float:
    try:
        return float(str(text).replace("_", "x"))
    except ValueError:
        return np.nan


def say_replay(answer: Mapping[str, Any]) -> None:
    """Hypervolume after each tenth experiment, over the seeds: mean, 10th percentile, worst."""
    curves = np.array([run["hypervolume"] for run in answer["runs"]])
    steps = sorted({*range(5, curves.shape[1] + 1, 5), curves.shape[1]})
    rows = [
        [t, float(curves[:, t - 1].mean()), float(np.percentile(curves[:, t - 1], 10)), float(curves[:, t - 1].min())]
        for t in steps
    ]
    title = f"{answer['strategy']} on {answer['grid']} configs, {len(curves)} seeds: share of the hypervolume found"
    print_table(["experiments", "mean", "10th percentile", "worst"], rows, title=title)
