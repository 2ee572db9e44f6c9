"""How far off the model is on the measurements that a database holds, each predicted as if it was not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from perfdb.errors import InputError, UnknownNameError
from perfdb.store import Store
from servecast.kernels.kernel_tables import shelf_of
from servecast.output import note, print_table

_SHOWN = ("n", "mape", "median", "p90", "log_median", "log_p90", "bias", "spearman", "coverage90")
_WORST = 10
_LEAKS = "warning: random folds leave rows of the same group in what is known: these errors are of known groups"


def accuracy(store: Store, folds: str, shots: Sequence[int], min_group: int) -> dict[str, Any]:
    """Score the predictions; returns the document of the command.

    Args:
        store: whose measurements are both what is known and what is predicted.
        folds: one of `model.learning.held_out.FOLD_KINDS`.
        shots: how many points of a held-out group are known all the same.
        min_group: points that a group must have for shots above 0.

    Raises:
        UnknownNameError: no folds are called so. InputError: nothing can be scored, or no group has enough points.
    """
    from model.learning.held_out import FOLD_KINDS, measured_points, predict_held_out
    from model.learning.scores import tables

    if folds not in FOLD_KINDS:
        raise UnknownNameError.of("kind of folds", folds, FOLD_KINDS)
    points = measured_points(store.results())
    if not len(points):
        why = "; ".join(f"{count}: {reason}" for reason, count in points.refused.items())
        raise InputError.at(str(store.path), f"no measurement can be predicted ({why or 'there is none'})", "some")
    _check_sizes(points.group.astype(str).tolist(), shots, min_group)
    found = asdict(tables(points, predict_held_out(points, folds, shots, min_group, shelf=shelf_of(store)), min_group))
    return {**found, "points": len(points), "refused": dict(points.refused), "folds": folds}


def _check_sizes(groups: Sequence[str], shots: Sequence[int], min_group: int) -> None:
    """Refuse shots that no group is large enough for: nothing of it would be left to predict."""
    largest, most = max(Counter(groups).values()), max(shots)
    if most > 0 and largest < max(min_group, most + 1):
        what = f"{most} of a group of at least {max(min_group, most + 1)} points, and the largest has {largest}"
        raise InputError.at("--shots", what, "fewer shots, or a smaller --min-group")


def shots_of(text: str) -> tuple[int, ...]:
    """The numbers of --shots, ascending, each once.

    Raises:
        InputError: one is no whole number of at least 0.
    """
    words = [word.strip() for word in text.split(",")]
    wrong = next((word for word in words if not word.isdecimal()), None)
    if wrong is not None:
        raise InputError.at(
            "--shots", f"{wrong!r} is no number of points", "whole numbers with commas, such as 0,10,20"
        )
    return tuple(sorted({int(word) for word in words}))


def say_accuracy(answer: Mapping[str, Any]) -> None:
    """Tables over all and by group, worst first; what was left out goes to stderr."""
    if answer["folds"] == "random":
        note(_LEAKS)
    for reason, count in answer["refused"].items():
        note(f"{count} rows are not predicted: {reason}")
    _say("Over all groups", answer["overall"], "groups")
    _say("Without shots, the groups that are large enough for them", answer["compared"], "groups")
    _say("Points whose repeats disagree, left out above", answer["apart"], "groups")
    for metric, shots in dict.fromkeys((row["metric"], row["shots"]) for row in answer["rows"]):
        rows = [row for row in answer["rows"] if (row["metric"], row["shots"]) == (metric, shots)]
        worst = sorted(rows, key=lambda row: -row["mape"])[:_WORST]
        more = f", the worst {len(worst)} of {len(rows)}; --json has all" if len(worst) < len(rows) else ""
        _say(f"By group{more}", worst, "group")


def _say(title: str, rows: Sequence[Mapping[str, Any]], who: str) -> None:
    if rows:
        columns = ("metric", "shots", who, *_SHOWN)
        print_table(columns, [[row[name] for name in columns] for row in rows], title=title)
        print()
