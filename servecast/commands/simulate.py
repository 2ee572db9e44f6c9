"""`servecast simulate`: a trace or a made-up load through a simulated server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import Json, Sets, pairs, typed


def simulate(
    model: Annotated[str | None, typer.Option("--model", help="A known name, or a folder with config.json.")] = None,
    platform: Annotated[str | None, typer.Option("--platform", help="An accelerator, or local.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="Whose scheduler: vllm.")] = "vllm",
    trace: Annotated[
        Path | None,
        typer.Option("--trace", help="JSON lines of ours or Mooncake's, or a CSV of Azure's or BurstGPT's."),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", help='Lengths instead of a trace: "D(512,128)", "N(480,240)/(300,150)".')
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Requests per second, arriving at random.")] = None,
    concurrency: Annotated[int | None, typer.Option("--concurrency", min=1, help="Requests in flight.")] = None,
    requests: Annotated[int, typer.Option("--requests", min=1, help="How many, with --scenario.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of lengths and arrivals, with --scenario.")] = 0,
    sets: Sets = None,
    scenarios: Annotated[
        Path | None, typer.Option("--scenarios", help="JSON lines of scheduler scenarios: decisions only, no times.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the decisions go, with --scenarios.")] = None,
    json: Json = False,
) -> None:
    """Serve requests in simulated time with vLLM's scheduling, and print the latencies that users would see."""
    from perfdb.errors import InputError
    from servecast.output import emit_json
    from servecast.simulating import Simulation, decide, say_simulation, scenario_of
    from servecast.simulating import simulate as serve

    if scenarios is not None:
        if out is None:
            raise InputError.at("--scenarios", "no --out", "the file that the decisions go to")
        count = decide(scenarios, out)
        emit_json({"scenarios": count, "out": str(out)}) if json else print(f"{count} scenarios decided: {out}")
        return
    if model is None or platform is None:
        raise InputError.at("simulate", "no --model or no --platform", "both, or --scenarios")
    if (trace is None) == (scenario is None):
        raise InputError.at("simulate", "both or neither of --trace and --scenario", "exactly one")
    config = {name: typed(text) for name, text in pairs(sets, "--set").items()}
    load = None if scenario is None else scenario_of(scenario, rate, concurrency)
    answer = serve(Simulation(model, platform, engine, config, trace, load, requests, seed))
    emit_json(answer) if json else say_simulation(answer)
