"""What a server would do with a trace or a made-up load, request by request; and its scheduler's decisions alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.architecture import resolve_model
from model.load import load_of
from model.question import Question
from perfdb.errors import FileError, InputError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.lengths import Lengths
from perfdb.records import Arrival, Grid, Scalar, Target, Workload
from servecast.kernel_tables import tables_of
from servecast.output import cell_text, note, print_table
from servecast.space import devices_of

if TYPE_CHECKING:
    from model.knobs import Points
    from model.simulate.costs import StepCosts
    from model.simulate.trace import Trace
    from model.simulate.traffic import Traffic
    from perfdb.store import Store


_MOST: Mapping[str, int] = {"max_num_batched_tokens": 1 << 22, "max_num_seqs": 1 << 16}


@dataclass(frozen=True)
class Simulation:
    """One question: names as typed, the config's parameters, and a trace or a load with its number of requests."""

    model: str
    platform: str
    engine: str
    sets: Mapping[str, Scalar]
    trace: Path | None = None
    workload: Workload | Traffic | None = None
    requests: int = 1000
    seed: int = 0
    store: Store | None = None


def simulate(asked: Simulation) -> dict[str, Any]:
    """Serve the requests; returns the document of the command.

    Raises:
        InputError: a parameter, the load or a request cannot be served. FileError: the trace cannot be read.
        UnknownNameError: the model, platform, engine or a parameter is not known.
    """
    from model.simulate.trace_files import read_trace
    from model.simulate.traffic import sampled

    if asked.trace is not None:
        trace = read_trace(asked.trace)
    elif asked.workload is not None:
        trace = sampled(asked.workload, asked.requests, asked.seed)
    else:
        raise InputError.at("load", "neither a trace nor a scenario", "one of them")
    server = server_of(asked.model, asked.platform, asked.engine, asked.sets, trace, asked.store)
    if server.points.dp[0] > 1:
        what = "one replica is simulated"
        raise InputError.at(
            f"dp {server.points.dp[0]:.0f}", what, "dp 1 and a replica's share of the load, or capacity"
        )
    return server.serve(trace)


@dataclass(frozen=True)
class Server:
    """One config on its hardware, ready to serve one trace after the other."""

    points: Points
    config: Mapping[str, Scalar]
    costs: StepCosts
    warnings: tuple[str, ...] = ()

    def serve(self, trace: Trace) -> dict[str, Any]:
        """What users would have measured, with the blocks of the cache and the CPU seconds of the simulation.

        Raises:
            InputError: a request cannot be served.
        """
        from model.simulate.engine import engine_settings
        from model.simulate.run import simulate as run
        from model.simulate.run import summary
        from model.steps.overheads import overheads

        settings, added = engine_settings(self.points, self.config, trace), overheads(self.points.engine.name)
        started = time.process_time()
        answer = summary(run(trace, settings, self.costs), added.request_s, added.token_s)
        rest = {"kv_blocks": settings.num_blocks, "warnings": list(self.warnings)}
        return {**answer, **rest, "cpu_s": time.process_time() - started}


def server_of(
    model: str, on: str, by: str, sets: Mapping[str, Scalar], trace: Trace, store: Store | None = None
) -> Server:
    """The config `sets` of engine `by` ("vllm", "vllm:0.24.0") serving `model` on platform `on`.

    Steps take what the operation tables of `store` say; requests are like those of `trace`.

    Raises:
        InputError: a parameter cannot be right. UnknownNameError: the model, platform, engine or a parameter is not
            known.
    """
    from model.steps.config import step_costs

    name, _, version = by.partition(":")
    facts = engine(name)
    config = {facts.parameter(name).name: value for name, value in sets.items()}
    grid = Grid.of([config or {next(iter(facts.parameters)): None}])
    hardware, architecture = platform(on), resolve_model(model)
    mean = Workload(isl=float(trace.prompt.mean()), osl=float(trace.output.mean()), concurrency=1)
    target = Target(architecture.name, hardware.name, facts.name, int(devices_of(grid, facts)[0]))
    points = Question(target, architecture, hardware, mean, grid).resolve(grid, load_of(mean, 1))
    _check(points)
    tables = tables_of(hardware, facts.name, version or None, store)
    return Server(points, config, step_costs(points, tables), tuple(sorted(tables.warnings.values())))


def _check(points: Points) -> None:
    """Refuse what no server could run, and what is not simulated."""
    heads, tp = points.architecture.heads, int(points.tp[0])
    if heads % tp:
        raise InputError.at(f"tp {tp}", f"{heads} attention heads cannot be divided so", "a divisor of the heads")
    if points.pp[0] > 1:
        raise InputError.at(
            f"pp {points.pp[0]:.0f}", "stages that overlap are not simulated", "pp 1; whatif answers pipelines"
        )
    for name, most in _MOST.items():
        value = float(getattr(points, name)[0])
        if value > most:
            raise InputError.at(f"{name} {value:.0f}", "more than any server takes", f"at most {most:,}")


def scenario_of(text: str, rate: float | None, concurrency: int | None) -> Workload:
    """The workload of --scenario with its one load.

    Raises:
        InputError: the lengths cannot be read, or not exactly one load is given.
    """
    lengths = Lengths.parse(text)
    if (rate is None) == (concurrency is None):
        raise InputError.at("load", "both or neither of --rate and --concurrency", "exactly one")
    arrival = Arrival.CLOSED if rate is None else Arrival.POISSON
    return Workload(lengths.isl, lengths.osl, arrival, concurrency, rate, lengths=text)


def decide(scenarios: Path, out: Path) -> int:
    """Write the scheduler's decisions on every scenario of a JSON-lines file; answers how many. No times are computed.

    Raises:
        FileError: a line cannot be read, or lacks a setting; nothing is written then.
    """
    from model.simulate.decisions import decisions

    lines = []
    try:
        texts = scenarios.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{scenarios}: cannot be read ({error})") from error
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            lines.append(json.dumps(decisions(json.loads(text)), separators=(",", ":")))
        except json.JSONDecodeError as error:
            raise FileError(f"{scenarios}, line {number}: not JSON ({error.msg}); expected one scenario") from error
        except (KeyError, TypeError, AttributeError) as error:
            what = f"{error} is missing or of the wrong kind; expected an object with settings and requests"
            raise FileError(f"{scenarios}, line {number}: {what}") from error
    try:
        out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise FileError(f"{out}: cannot be written ({error.strerror}); expected a file in a folder there is") from error
    return len(lines)


def say_simulation(answer: Mapping[str, Any]) -> None:
    """A table of the latencies, and a line of the rest; what stands in for what on stderr."""
    for warning in answer["warnings"]:
        note(warning)
    names = [name for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s") if name in answer]
    columns = ["", *next(iter(answer[name] for name in names))]
    print_table(columns, [[name, *answer[name].values()] for name in names])
    rest = ("output_tps", "request_tps", "requests", "preemptions", "kv_peak", "duration_s", "cpu_s")
    print(", ".join(f"{name} {cell_text(float(f'{answer[name]:.4g}'))}" for name in rest))
