"""`servecast accuracy`: how far off predictions are on what the database holds."""

from __future__ import annotations

from typing import Annotated

import typer

from perfdb.errors import InputError
from servecast.options import DEFAULT_DB, Db, Json, Wait, open_store

_UNSAID = ("group", "0", 30)
"""Folds, shots and points of a group where they are not given."""


def accuracy(
    folds: Annotated[
        str,
        typer.Option(
            "--folds",
            help="What is held out: group (model, platform, engine, precision), random (rows: leaks the group), or "
            "none for the model without any measurement.",
        ),
    ] = _UNSAID[0],
    shots: Annotated[
        str, typer.Option("--shots", help="Points of a held-out group that are known all the same; several: 0,10,20.")
    ] = _UNSAID[1],
    min_group: Annotated[
        int, typer.Option("--min-group", min=1, help="Points that a group must have for shots above 0.")
    ] = _UNSAID[2],
    promised: Annotated[
        str | None,
        typer.Option(
            "--promised",
            help="Score instead what tunings promised before each experiment, by task, day, or experiments (tens of a "
            "task's).",
        ),
    ] = None,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Predict what was measured, without it, and say how far off that is, per group and over all."""
    from servecast.output import emit_json
    from servecast.predicting.accuracy import accuracy as score_predictions
    from servecast.predicting.accuracy import say_accuracy, shots_of
    from servecast.predicting.promises import promises, say_promises

    if promised is not None:
        if (folds, shots, min_group) != _UNSAID:
            raise InputError.at(
                "--promised", "with folds, shots or groups", "it alone: a promise is scored as it was made"
            )
        answer = promises(open_store(db, wait), promised)
        emit_json(answer) if json else say_promises(answer)
        return
    answer = score_predictions(open_store(db, wait), folds, shots_of(shots), min_group)
    emit_json(answer) if json else say_accuracy(answer)
