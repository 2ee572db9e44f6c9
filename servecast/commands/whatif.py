"""`servecast whatif`: what a config would do that nobody has run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import DEFAULT_DB, Db, Json, Wait, open_store, pairs, typed_list


def whatif(
    model: Annotated[str, typer.Option("--model", help="A known name, a folder with config.json, or a GGUF file.")],
    platform: Annotated[str, typer.Option("--platform", help="An accelerator, or local.")],
    engine: Annotated[
        str, typer.Option("--engine", help="vllm, sglang, trtllm or llamacpp, also with a version: vllm:0.24.0.")
    ],
    isl: Annotated[float | None, typer.Option("--isl", min=1, help="Input length, tokens.")] = None,
    osl: Annotated[float | None, typer.Option("--osl", min=1, help="Output length, tokens.")] = None,
    workload: Annotated[
        Path | None, typer.Option("--workload", help="A workload file instead of --isl and --osl.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option("--concurrency", min=1, help="Requests in flight.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Requests per second, arriving at random.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="One static batch of this size.")] = None,
    devices: Annotated[
        int | None, typer.Option("--devices", min=1, help="Devices; else tp x pp x dp of the config.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="K=V1,V2", help="A parameter and its values; repeatable.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Where the time of the best config goes, kernel by kernel.")
    ] = False,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Only so many configs, the best throughput first.")
    ] = None,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Predict latency and throughput, with 90 % intervals, for one config or the product of all values given."""
    from servecast.asked_load import asked_load
    from servecast.output import emit_json
    from servecast.whatif import MOST_LINES, WhatIf, say_whatif
    from servecast.whatif import whatif as answer_whatif

    values = {name: typed_list(text, f"--set {name}") for name, text in pairs(sets, "--set").items()}
    load = asked_load(isl, osl, workload, concurrency, rate, batch)
    most = top or (None if json else MOST_LINES)
    answer = answer_whatif(
        WhatIf(model, platform, engine, load.workload, values, devices), open_store(db, wait), explain, most
    )
    answer |= load.said()
    emit_json(answer) if json else say_whatif(answer)
