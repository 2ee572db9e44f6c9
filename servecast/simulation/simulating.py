"""What a server would do with a trace or a made-up load, request by request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.checkpoint.architecture import resolve_model
from model.feasibility import why_not_started
from model.load import load_of
from model.memory import memory
from model.question import Question
from model.tables.said import listening
from perfdb.errors import InputError, RefusedError
from perfdb.facts.engine_names import name_and_version
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.lengths import Lengths
from perfdb.records import Arrival, Grid, Scalar, Target, Workload
from servecast.kernels.kernel_tables import tables_of
from servecast.output import note
from servecast.pricing import shares_of
from servecast.simulation.engine_overheads import overheads_document, with_fitted
from servecast.tuning.space import devices_of

if TYPE_CHECKING:
    from model.learning.fitted_overheads import FittedOverheads
    from model.points import Points
    from model.simulate.costs import StepCosts
    from model.simulate.replicas import Replicas
    from model.simulate.run import Run
    from model.simulate.together import LockstepCosts
    from model.simulate.trace import Trace
    from model.simulate.traffic import Traffic
    from model.tables.library import Tables
    from perfdb.store import Store
    from servecast.predicting.modes import Mode
    from servecast.slo import Slo


COMPILING = "compiling the simulator, once"
_LATEST_S = 1e9
"""Later than this the clock, a float, no longer tells times of a microsecond apart."""
_MOST: Mapping[str, int] = {"max_num_batched_tokens": 1 << 22, "max_num_seqs": 1 << 16, "dp": 1 << 12}


@dataclass(frozen=True)
class Simulation:
    """One question: names as typed, the config's parameters, a trace or a load with its number of requests, and bounds
    on latencies."""

    model: str
    platform: str
    engine: str
    sets: Mapping[str, Scalar]
    trace: Path | None = None
    workload: Workload | Traffic | None = None
    requests: int = 1000
    seed: int = 0
    store: Store | None = None
    slos: tuple[Slo, ...] = ()


def served(asked: Simulation, mode: Mode) -> dict[str, Any]:
    """Serve the requests by one server, or by two pools; returns the document of the command.

    Raises:
        InputError: a parameter, the load, the mode or a request cannot be served. FileError: the trace cannot be read.
        UnknownNameError: the model, platform, engine or a parameter is not known.
    """
    if mode.name == "agg":
        return simulate(asked)
    if mode.sharing is None or mode.name != "disagg":
        raise InputError.at(
            f"--mode {mode.name}", "simulate serves one deployment", "agg or disagg; whatif compares both"
        )
    from servecast.predicting.disagg import DisaggAsked
    from servecast.predicting.whatif import WhatIf
    from servecast.simulation.pool_server import pool_server

    with listening() as said:
        trace = _trace_of(asked)
    sets = {name: (value,) for name, value in asked.sets.items()}
    question = WhatIf(asked.model, asked.platform, asked.engine, Workload(), sets)
    server = pool_server(DisaggAsked(question, mode.decode, mode.sharing), trace, asked.store)
    return _with_warnings(server.serve(trace, asked.slos), said)


def simulate(asked: Simulation) -> dict[str, Any]:
    """Serve the requests by one server; returns the document of the command.

    Raises:
        InputError: a parameter, the load or a request cannot be served. FileError: the trace cannot be read.
        UnknownNameError: the model, platform, engine or a parameter is not known.
    """
    with listening() as said:
        trace = _trace_of(asked)
    server = server_of(asked.model, asked.platform, asked.engine, asked.sets, trace, asked.store)
    return _with_warnings(server.serve(trace, asked.slos), said)


def _with_warnings(document: dict[str, Any], more: Iterable[str]) -> dict[str, Any]:
    return {**document, "warnings": [*document["warnings"], *sorted(more)]}


def _trace_of(asked: Simulation) -> Trace:
    from model.simulate.trace_files import read_trace
    from model.simulate.traffic import sampled

    if asked.trace is not None:
        return read_trace(asked.trace)
    if asked.workload is None:
        raise InputError.at("load", "neither a trace nor a scenario", "one of them")
    trace = sampled(asked.workload, asked.requests, asked.seed)
    if trace.arrival_s.max() > _LATEST_S:
        what = f"the last of {asked.requests} requests comes after {trace.arrival_s.max():.3g} s"
        raise InputError.at("load", what, f"within {_LATEST_S:g} s, by a higher rate or fewer requests")
    return trace


def compile_once(kernel: object, first: Callable[[], object]) -> None:
    """Where a simulator's kernel was not compiled before, say so and serve a `first` request, which compiles it."""
    from model.compiled import is_kept

    if not is_kept(kernel):
        note(COMPILING)
        first()


@dataclass(frozen=True)
class Server:
    """One config on its hardware, all its replicas, ready to serve one trace after the other."""

    points: Points
    config: Mapping[str, Scalar]
    replicas: Replicas
    overheads: FittedOverheads
    warnings: tuple[str, ...] = ()

    def run(self, trace: Trace) -> Run:
        """Serve a trace, as the engine sees it.

        Raises:
            InputError: a request cannot be served.
        """
        from model.simulate.engine import engine_settings
        from model.simulate.replicas import simulate_replicas

        return simulate_replicas(trace, engine_settings(self.points, self.config, trace), self.replicas)

    def serve(self, trace: Trace, slos: tuple[Slo, ...] = ()) -> dict[str, Any]:
        """What users would have measured and who kept the bounds, what the servers held meanwhile, and the CPU seconds
        of the simulation.

        Raises:
            InputError: a request cannot be served, or a bounded metric is not simulated.
        """
        from model.simulate.engine import engine_settings
        from model.simulate.over_time import over_time
        from model.simulate.replicas import kernel_of
        from model.simulate.run import summary
        from servecast.simulation.counted_goodput import judged

        settings = engine_settings(self.points, self.config, trace)
        compile_once(kernel_of(trace, settings, self.replicas), lambda: self.run(trace.first()))
        started, added = time.process_time(), self.points.overheads
        run = self.run(trace)
        answer: dict[str, Any] = dict(summary(run, added.request_s, added.token_s))
        gpus, price = int(self.points.devices[0]), self.points.platform.usd_per_hour
        answer |= {
            **shares_of(answer, gpus, price and price * gpus),
            "replicas": self.replicas.count,
            "kv_blocks": run.settings.num_blocks,
            "over_time": over_time(run, self.replicas.count),
            "overheads": overheads_document(self.overheads),
            "warnings": list(self.warnings),
        }
        return {**answer, **judged(answer, run, added, slos), "cpu_s": time.process_time() - started}


def server_of(
    model: str, on: str, by: str, sets: Mapping[str, Scalar], trace: Trace, store: Store | None = None
) -> Server:
    """The config `sets` of engine `by` ("vllm", "vllm:0.24.0") serving `model` on platform `on`.

    Steps take what the operation tables of `store` say; requests are like those of `trace`.

    Raises:
        InputError: a parameter cannot be right. UnknownNameError: the model, platform, engine or a parameter is not
            known.
    """
    from model.simulate.engine import scheduled_by, unheeded

    name, version = name_and_version(by)
    facts = engine(name)
    config = {facts.parameter(name).name: value for name, value in sets.items()}
    grid = Grid.of([config])
    hardware, architecture = platform(on), resolve_model(model)
    mean = Workload(isl=float(trace.prompt.mean()), osl=float(trace.output.mean()), concurrency=1)
    target = Target(architecture.name, hardware.name, facts.name, int(devices_of(grid, facts)[0]), version)
    with listening() as said:
        points = Question(target, architecture, hardware, mean, grid).resolve(grid, load_of(mean, 1))
        _check(points)
        points, fitted = with_fitted(points, version, store)
        replicas = _replicas(points, tables_of(hardware, facts.name, version, store))
    warnings = (*scheduled_by(facts.name), *unheeded(trace, points, config), *sorted(said))
    return Server(points, config, replicas, fitted, warnings)


def _replicas(points: Points, tables: Tables) -> Replicas:
    """Ranks that share experts take their steps together, and but for SGLang's are chosen by load; others are served in
    turn."""
    from model.simulate.replicas import Replicas

    is_by_load = bool(points.attention_dp[0] > 1) and points.engine.name != "sglang"
    return Replicas(int(points.dp[0]), costs_of(points, tables), is_by_load, int(points.pp[0]))


def costs_of(points: Points, tables: Tables) -> StepCosts | LockstepCosts:
    """What steps of the one config in `points` take: of an engine by itself, or of all ranks that share experts."""
    from model.simulate.lockstep_costs import lockstep_costs
    from model.steps.config import step_costs

    return (lockstep_costs if points.attention_dp[0] > 1 else step_costs)(points, tables)


def _check(points: Points) -> None:
    """Refuse what no server could run, and what is not simulated."""
    check_sizes(points)
    refused = why_not_started(points, memory(points), 0)
    if refused:
        raise RefusedError(refused)
    check_ranks(points)


def check_ranks(points: Points) -> None:
    """Refuse ranks of which only some share experts.

    Raises:
        RefusedError: it is so.
    """
    sharing = points.attention_dp[0]
    if sharing > 1 and points.dp[0] != sharing:
        what = f"{points.dp[0]:.0f} ranks of which {sharing:.0f} share experts: only some of them wait for each other"
        raise RefusedError.at("dp", what, "as many ranks as share experts; whatif answers for others")


def check_sizes(points: Points) -> None:
    """Refuse flags that no server takes and whose tables would fill the memory.

    Raises:
        InputError: one is too large.
    """
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
