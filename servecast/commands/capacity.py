"""`servecast capacity`: the largest load under an SLO, and what a given load takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import (
    DEFAULT_DB,
    Configs,
    Db,
    Decode,
    Isl,
    Json,
    Link,
    Osl,
    Scenario,
    Wait,
    listed_configs,
    open_store,
    pairs,
    typed_list,
)


def capacity(
    model: Annotated[str, typer.Option("--model", help="A known name, a folder with config.json, or a GGUF file.")],
    platform: Annotated[str, typer.Option("--platform", help="An accelerator, or local.")],
    engine: Annotated[str, typer.Option("--engine", help="vllm, sglang, trtllm or llamacpp.")],
    slo: Annotated[str, typer.Option("--slo", help="Bounds that must hold: ttft_s<0.5,tpot_s_p99<0.05.")],
    isl: Isl = None,
    osl: Osl = None,
    scenario: Scenario = None,
    workload: Annotated[
        Path | None, typer.Option("--workload", help="A workload file instead of --isl and --osl.")
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Which load: rate (requests/s) or concurrency.")] = "rate",
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="K=V1,V2", help="A parameter and its values; repeatable.")
    ] = None,
    configs: Configs = None,
    mode: Annotated[
        str, typer.Option("--mode", help="agg; or disagg: prefill and decode on devices of their own.")
    ] = "agg",
    decode: Decode = None,
    link: Link = None,
    method: Annotated[str, typer.Option("--method", help="model (closed form), or simulate.")] = "model",
    requests: Annotated[
        int | None,
        typer.Option("--requests", min=100, max=200_000, help="Per simulation, at least.", show_default="1000"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Of lengths and arrivals, with --method simulate.", show_default="0"),
    ] = None,
    devices: Annotated[int | None, typer.Option("--devices", min=1, help="How many there are, for replicas.")] = None,
    total_rate: Annotated[
        float | None, typer.Option("--total-rate", help="Requests/s to be served in all: how many replicas?")
    ] = None,
    efficiency: Annotated[
        float, typer.Option("--efficiency", help="What a replica serves beside others, over what it serves alone.")
    ] = 1.0,
    usd_per_hour: Annotated[
        float | None, typer.Option("--usd-per-hour", help="Price of a device; else its list price.")
    ] = None,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Find the largest load that keeps the SLO, for one config, the product of all values given, or each config
    of a list with these.

    With --mode disagg of one unit of both pools, whose workers --set prefill.replicas=2 and decode.replicas=1 say; not
    given, they are matched. --devices and --total-rate count units.
    """
    from perfdb.errors import InputError
    from servecast.loads.asked_load import asked_traffic
    from servecast.output import emit_json
    from servecast.predicting.capacity import capacity as answer_capacity
    from servecast.predicting.capacity import question_of
    from servecast.predicting.capacity_text import say_capacity
    from servecast.predicting.modes import mode_of
    from servecast.predicting.whatif import WhatIf
    from servecast.slo import parse_slos

    if mode == "both":
        raise InputError.at("--mode both", "capacity is of one way to serve", "agg or disagg, one after the other")
    if method not in {"model", "simulate"}:
        raise InputError.at("--method", f"{method!r}", "model or simulate")
    for flag, given in (("--requests", requests), ("--seed", seed)):
        if given is not None and method == "model":
            raise InputError.at(flag, "without --method simulate", "both, or neither")
    values = {name: typed_list(text, f"--set {name}") for name, text in pairs(sets, "--set").items()}
    load, traffic = asked_traffic(isl, osl, workload, by == "rate", method == "simulate", scenario)
    rows = listed_configs(configs)
    asked = WhatIf(
        model, platform, engine, load.workload, values, reused=load.reused, prefixes=load.prefixes, listed=rows
    )
    question = question_of(
        asked, traffic, by, parse_slos(slo),
        requests=(requests or 1000) if method == "simulate" else None, seed=seed or 0, devices=devices,
        total_rate=total_rate, efficiency=efficiency, usd_per_hour=usd_per_hour,
        mode=mode_of(mode, None, {"link": link}, decode, None, values),
    )  # fmt: skip
    answer = load.told(answer_capacity(question, open_store(db, wait)))
    emit_json(answer) if json else say_capacity(answer)
