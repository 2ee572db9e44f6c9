"""The closed form beside the event simulator, both on the rates that ship."""

from __future__ import annotations

from collections.abc import Mapping

from model.checkpoint.architecture import Architecture
from model.question import Question, analyse
from model.simulate.engine import engine_settings
from model.simulate.lockstep_costs import lockstep_costs
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.run import summary
from model.simulate.traffic import sampled
from model.steps.config import step_costs
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Target, Workload

METRICS = ("ttft_s", "tpot_s", "output_tps")


def loop(isl: int, osl: int, concurrency: int, spread: float = 0.0, rounds: int = 12) -> Workload:
    """A closed loop whose lengths vary by the share `spread` to either side."""
    sides = (f"({round(mean * (1 - spread))},{round(mean * (1 + spread))})" for mean in (isl, osl))
    lengths = f"U{'/'.join(sides)}" if spread else f"D({isl},{osl})"
    return Workload(isl, osl, Arrival.CLOSED, concurrency, requests=rounds * concurrency, lengths=lengths)


def both(
    model: Architecture, load: Workload, served_by: str, devices: int = 1, place: str = "h200_sxm", **config: Scalar
) -> tuple[list[float], list[float]]:
    """Means of `METRICS` in closed form, and simulated; `served_by` "engine:version"."""
    engine, _, version = served_by.partition(":")
    target = Target(model.name, place, engine, devices, version)
    found = analyse(Question(target, model, platform(place), load, Grid.of([config])))
    trace, tables, added = sampled(load, int(load.requests or 0), 1), found.points.tables, found.points.overheads
    assert tables is not None
    ranks, stages = int(found.points.attention_dp.item()), int(found.points.pp.item())
    costs = step_costs(found.points, tables) if ranks == 1 else lockstep_costs(found.points, tables)
    one = Replicas(ranks, costs, ranks > 1 and engine != "sglang", stages)
    run = simulate_replicas(trace, engine_settings(found.points, config, trace), one)
    said = summary(run, added.request_s, added.token_s)
    means = [_mean(said[name]) for name in METRICS]
    return [found.serving.metrics[name].item() for name in METRICS], means


def _mean(value: Mapping[str, float] | float) -> float:
    return value if isinstance(value, float) else value["mean"]
