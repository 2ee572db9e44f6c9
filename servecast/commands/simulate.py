"""`servecast simulate`: a trace or a made-up load through a simulated server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import DEFAULT_DB, Db, Json, Sets, Wait, open_store, pairs, typed


def simulate(
    model: Annotated[str | None, typer.Option("--model", help="A known name, or a folder with config.json.")] = None,
    platform: Annotated[str | None, typer.Option("--platform", help="An accelerator, or local.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="Whose scheduler and kernels: sglang, vllm:0.24.0.")] = "vllm",
    trace: Annotated[
        Path | None,
        typer.Option("--trace", help="Requests with their times: docs/traffic.md names the formats."),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", help='Lengths instead of a trace: "D(512,128)", "N(480,240)/(300,150)".')
    ] = None,
    workload: Annotated[
        Path | None, typer.Option("--workload", help="A workload file; --rate or --concurrency change its load.")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Requests per second, arriving at random.")] = None,
    concurrency: Annotated[int | None, typer.Option("--concurrency", min=1, help="Requests in flight.")] = None,
    requests: Annotated[int, typer.Option("--requests", min=1, help="How many, without --trace.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of lengths and arrivals, without --trace.")] = 0,
    sets: Sets = None,
    scenarios: Annotated[
        Path | None, typer.Option("--scenarios", help="JSON lines of scheduler scenarios: decisions only, no times.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the decisions go, with --scenarios.")] = None,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Serve requests in simulated time as vLLM or SGLang would, and print the latencies that users would see."""
    from perfdb.errors import InputError
    from servecast.output import emit_json
    from servecast.simulating import Simulation, decide, say_simulation, scenario_of
    from servecast.simulating import simulate as serve
    from servecast.workloads import workload_under

    if scenarios is not None:
        if out is None:
            raise InputError.at("--scenarios", "no --out", "the file that the decisions go to")
        count = decide(scenarios, out)
        emit_json({"scenarios": count, "out": str(out)}) if json else print(f"{count} scenarios decided: {out}")
        return
    if model is None or platform is None:
        raise InputError.at("simulate", "no --model or no --platform", "both, or --scenarios")
    if sum(given is not None for given in (trace, scenario, workload)) != 1:
        raise InputError.at("simulate", "none or several of --trace, --scenario and --workload", "exactly one")
    if trace is not None and (rate is not None or concurrency is not None):
        raise InputError.at("simulate", "a load beside --trace", "the trace's own arrivals, or --workload")
    config = {name: typed(text) for name, text in pairs(sets, "--set").items()}
    load = workload_under(workload, rate, concurrency) if workload else None
    plain = scenario_of(scenario, rate, concurrency) if scenario is not None else None
    answer = serve(
        Simulation(model, platform, engine, config, trace, load or plain, requests, seed, open_store(db, wait))
    )
    emit_json(answer) if json else say_simulation(answer)
