"""`servecast simulate`: a trace or a made-up load through a simulated server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import (
    DEFAULT_DB,
    Concurrency,
    Db,
    Decode,
    Json,
    Link,
    Rate,
    Scenario,
    Sets,
    Wait,
    open_store,
)


def simulate(
    model: Annotated[str | None, typer.Option("--model", help="A known name, or a folder with config.json.")] = None,
    platform: Annotated[str | None, typer.Option("--platform", help="An accelerator, or local.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="Whose scheduler and kernels: sglang, vllm:0.24.0.")] = "vllm",
    trace: Annotated[
        Path | None,
        typer.Option("--trace", help="Requests with their times: docs/traffic.md names the formats."),
    ] = None,
    scenario: Scenario = None,
    workload: Annotated[
        Path | None, typer.Option("--workload", help="A workload file; --rate or --concurrency change its load.")
    ] = None,
    rate: Rate = None,
    concurrency: Concurrency = None,
    requests: Annotated[
        int | None, typer.Option("--requests", min=1, help="How many, without --trace; else 1000.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of lengths and arrivals, without --trace; else 0.")
    ] = None,
    sets: Sets = None,
    mode: Annotated[
        str | None, typer.Option("--mode", help="agg; or disagg: prefill and decode on devices of their own.")
    ] = None,
    decode: Decode = None,
    link: Link = None,
    slo: Annotated[
        str | None, typer.Option("--slo", help="Bounds: who keeps them is the goodput. ttft_s<0.5,tpot_s<0.05")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write a page of latencies and of the load over time.")
    ] = None,
    scenarios: Annotated[
        Path | None, typer.Option("--scenarios", help="JSON lines of scheduler scenarios: decisions only, no times.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the decisions go, with --scenarios.")] = None,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Serve requests in simulated time as vLLM or SGLang would, and print the latencies that users would see.

    With --mode disagg, --set tp=2 counts for both pools, --set prefill.tp=4 and decode.replicas=2 (workers) for one.
    """
    from servecast.output import emit_json
    from servecast.simulation.deciding import decide
    from servecast.simulation.simulate_asked import check_flags, one_config
    from servecast.simulation.simulate_text import say_simulation
    from servecast.simulation.simulating import Simulation, scenario_of, served

    load = {"--trace": trace, "--scenario": scenario, "--workload": workload, "--rate": rate}
    load |= {"--concurrency": concurrency, "--requests": requests, "--seed": seed}
    pools = {"--mode": mode, "--decode": decode, "--link": link, "--slo": slo, "--plot": plot}
    rest = {"--model": model, "--platform": platform, "--set": sets, "--scenarios": scenarios, "--out": out}
    check_flags({**load, **pools, **rest})
    if scenarios is not None and out is not None:
        count = decide(scenarios, out)
        emit_json({"scenarios": count, "out": str(out)}) if json else print(f"{count} scenarios decided: {out}")
        return
    from servecast.loads.workloads import workload_under
    from servecast.predicting.modes import mode_of
    from servecast.report.axes import check_writable
    from servecast.slo import parse_slos

    asked = workload_under(workload, rate, concurrency) if workload else None
    plain = scenario_of(scenario, rate, concurrency) if scenario is not None else None
    count, where, config = 1000 if requests is None else requests, open_store(db, wait), one_config(sets)
    chosen = mode_of(mode or "agg", None, {"link": link}, decode, None, config)
    bounds = parse_slos(slo) if slo is not None else ()
    if plot is not None:
        check_writable(plot)
    traffic = (trace, asked or plain, count, seed or 0)
    question = Simulation(model or "", platform or "", engine, config, *traffic, where, bounds)
    answer = served(question, chosen)
    if plot is not None:
        from servecast.report.simulate_page import write_simulate_page

        write_simulate_page(answer, f"{model} on {platform}, {engine}: {trace or workload or scenario}", plot)
    emit_json(answer) if json else say_simulation(answer)
