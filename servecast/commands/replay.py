"""`servecast replay`: score a search strategy on a grid that somebody has measured in full."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import Json, pairs


def replay(
    grid: Annotated[Path, typer.Argument(help="A CSV file: one measured config per row.", show_default=False)],
    params: Annotated[str, typer.Option("--params", help="Columns that make a config, with commas.")],
    objectives: Annotated[str, typer.Option("--objectives", help="Columns and directions, such as tps:max,ttft:min.")],
    budget: Annotated[int, typer.Option("--budget", min=1, help="Experiments per seed.")] = 20,
    strategy: Annotated[str, typer.Option("--strategy", help="grid, random, active or tpe.")] = "active",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds, from 0.")] = 10,
    where: Annotated[str | None, typer.Option("--where", metavar="SQL", help="Keep only these rows.")] = None,
    derive: Annotated[
        list[str] | None, typer.Option("--derive", metavar="NAME=SQL", help="Add a column; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Let a strategy choose from GRID and report the hypervolume that it has found after each experiment.

    An objective that is empty, not positive or not a number is a failed experiment, which costs one all the same.
    """
    from servecast.output import emit_json
    from servecast.tuning.replay import Question, replay_file, say_replay

    question = Question(grid, params, objectives, where, pairs(derive, "--derive"))
    answer = replay_file(question, strategy, budget, seeds)
    emit_json(answer) if json else say_replay(answer)
