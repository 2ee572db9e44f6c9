"""`servecast accuracy`: how far off predictions are on what the database holds."""

from __future__ import annotations

from typing import Annotated

import typer

from servecast.options import DEFAULT_DB, Db, Json, Wait, open_store


def accuracy(
    folds: Annotated[
        str,
        typer.Option(
            "--folds",
            help="What is held out: group (model, platform, engine, precision), random (rows: leaks the group), or "
            "none for the model without any measurement.",
        ),
    ] = "group",
    shots: Annotated[
        str, typer.Option("--shots", help="Points of a held-out group that are known all the same; several: 0,10,20.")
    ] = "0",
    min_group: Annotated[
        int, typer.Option("--min-group", min=1, help="Points that a group must have for shots above 0.")
    ] = 30,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Predict what was measured, without it, and say how far off that is, per group and over all."""
    from servecast.accuracy import accuracy as score_predictions
    from servecast.accuracy import say_accuracy, shots_of
    from servecast.output import emit_json

    answer = score_predictions(open_store(db, wait), folds, shots_of(shots), min_group)
    emit_json(answer) if json else say_accuracy(answer)
