"""`servecast whatif`: what a config would do that nobody has run."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Annotated

import typer

from perfdb.errors import InputError
from servecast.options import (
    DEFAULT_DB,
    Concurrency,
    Configs,
    Db,
    Decode,
    Isl,
    Json,
    Link,
    Osl,
    Rate,
    Scenario,
    Wait,
    listed_configs,
    open_store,
    pairs,
    typed_list,
)


def whatif(
    model: Annotated[str, typer.Option("--model", help="A known name, a folder with config.json, or a GGUF file.")],
    platform: Annotated[str, typer.Option("--platform", help="An accelerator, or local.")],
    engine: Annotated[
        str, typer.Option("--engine", help="vllm, sglang, trtllm or llamacpp, also with a version: vllm:0.24.0.")
    ],
    isl: Isl = None,
    osl: Osl = None,
    scenario: Scenario = None,
    workload: Annotated[
        Path | None, typer.Option("--workload", help="A workload file instead of --isl and --osl.")
    ] = None,
    concurrency: Concurrency = None,
    rate: Rate = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="One static batch of this size.")] = None,
    requests: Annotated[
        int | None,
        typer.Option("--requests", min=1, help="How many are sent; else ten times as many as are in flight."),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices", min=1, help="Devices, which as many servers of a config as fit share; else one server."
        ),
    ] = None,
    prefix_tokens: Annotated[
        float | None, typer.Option("--prefix-tokens", min=0, help="Tokens that all prompts begin with, for the cache.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="K=V1,V2", help="A parameter and its values; repeatable.")
    ] = None,
    configs: Configs = None,
    mode: Annotated[
        str, typer.Option("--mode", help="agg; disagg: prefill and decode on devices of their own; or both, compared.")
    ] = "agg",
    decode: Decode = None,
    link: Link = None,
    efficiency: Annotated[
        float | None, typer.Option("--efficiency", help="What a replica serves beside others, over alone; else 1.")
    ] = None,
    router_limit: Annotated[
        float | None, typer.Option("--router-limit", help="Most requests per second that the router passes on.")
    ] = None,
    slo: Annotated[
        str | None,
        typer.Option("--slo", help="Bounds: which configs keep them, and the goodput. ttft_s<0.5,tpot_s<0.05"),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Where the time of the best config goes, kernel by kernel, and its memory."),
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", min=1, help="Only so many configs, the best throughput first; with --json else 10,000 of more."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a page with the configs as points.")] = None,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Predict latency and throughput, with 90 % intervals, for one config or the product of all values given.

    Rows of --configs name settings as --set does, {"tp": 2, "max_num_seqs": 64}; with --set each has those too.
    With two pools, --set tp=1,2 counts for both, --set prefill.tp=4 and decode.replicas=2 (workers) for one of them.
    """
    from servecast.loads.asked_load import asked_load
    from servecast.output import emit_json
    from servecast.predicting.modes import answer_in_mode, mode_of
    from servecast.predicting.whatif import MOST_LINES, MOST_ROWS, WhatIf
    from servecast.predicting.whatif_notes import overload_texts
    from servecast.predicting.whatif_rows import best_rows
    from servecast.report.axes import check_writable

    if plot is not None:
        check_writable(plot)
    values = {name: typed_list(text, f"--set {name}") for name, text in pairs(sets, "--set").items()}
    load = asked_load(isl, osl, workload, concurrency, rate, batch, prefix_tokens, scenario)
    if requests is not None:
        if batch is not None:
            raise InputError.at("--requests", "beside --batch, which is all that is sent", "one of them")
        load = replace(load, workload=replace(load.workload, requests=requests))
    flags = {"efficiency": efficiency, "router_limit": router_limit, "link": link}
    chosen = mode_of(mode, devices, flags, decode, slo, values)
    rows = listed_configs(configs)
    asked = WhatIf(model, platform, engine, load.workload, values, devices, load.reused, load.prefixes, rows)
    asked_for = prod(map(len, values.values())) * (1 if rows is None else len(rows.configs))
    listed = MOST_LINES if not json else None if asked_for <= MOST_ROWS else MOST_ROWS
    most = None if plot else top or listed
    answer, say = answer_in_mode(asked, open_store(db, wait), chosen, explain, most)
    answer = load.told(answer)
    answer["warnings"].extend(overload_texts(answer, load.workload.request_rate))
    if plot is not None:
        from servecast.report.whatif_page import write_whatif_page

        write_whatif_page(answer, f"{model} on {platform}, {engine}: {load.text}", plot)
        shown = top or (MOST_ROWS if json else MOST_LINES)
        answer = {**answer, "rows": best_rows(answer["rows"], shown)}
    left_out = answer["configs"] - len(answer["rows"])
    if json and left_out and top is None:
        text = (
            f"rows holds the {len(answer['rows']):,} best of {answer['configs']:,} configs; --top says another number"
        )
        answer["warnings"].append(text)
    emit_json(answer) if json else say(answer)
