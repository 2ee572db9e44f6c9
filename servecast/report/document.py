"""The answer of `tune` and `demo`: one JSON document, from which the console and the page are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from perfdb.metrics import METRICS, Statistic
from perfdb.records import Experiment
from servecast.output import interval_json
from servecast.tuning.learning import learning
from servecast.tuning.measured import Measured, MeasuredConfig
from servecast.tuning.tune import measured, typical_wall_s
from servecast.tuning.tuning import Tuning


def document(tuning: Tuning, stopped_because: str) -> dict[str, Any]:
    """Everything that a run has found. Values in their metric's unit; a mapping is empty if nothing was measured."""
    experiments = tuning.experiments()
    found = measured(tuning, experiments)
    front = {id_ for m in found.front for id_ in _ids(m)}
    baseline = found.find(tuning.baseline)
    return {
        "run": tuning.run_id,
        "task": tuning.task.name,
        "target": {
            "model": tuning.target.model,
            "platform": tuning.target.platform,
            "devices": tuning.target.devices,
            "engine": tuning.target.engine,
        },
        "objectives": [
            {"name": o.name, "direction": o.direction.value, "unit": unit_of(o.name)} for o in tuning.objectives
        ],
        "grid": {"configs": int(tuning.space.allowed.sum()), "before_constraints": tuning.space.raw_count},
        "experiments": [_experiment(tuning, e, e.experiment_id in front) for e in experiments],
        "baseline": {} if baseline is None else _measured_config(tuning, baseline),
        "frontier": [_front_entry(tuning, found, m, baseline) for m in found.front],
        "knee": {} if found.knee is None else _front_entry(tuning, found, found.knee, baseline),
        "predicted_grid": _predicted_grid(tuning, experiments),
        "prediction": _prediction(tuning, experiments),
        "cost": _cost(tuning, experiments),
        "stopped_because": stopped_because,
    }


def unit_of(name: str) -> str:
    """The unit of a metric name, with or without a statistic."""
    base = name if name in METRICS else name.rpartition("_")[0]
    return METRICS[base].unit


def _ids(config: MeasuredConfig) -> list[str]:
    return [e.experiment_id for e in config.experiments]


def actual_json(tuning: Tuning, experiment: Experiment) -> dict[str, float]:
    """Metric -> value at the task's operating point; percentiles stand as `ttft_s_p90`."""
    point = tuning.point_of(experiment)
    if point is None:
        return {}
    plain = {Statistic.MEAN, Statistic.VALUE}
    return {m.metric if m.statistic in plain else f"{m.metric}_{m.statistic}": m.value for m in point.measurements}


def _experiment(tuning: Tuning, experiment: Experiment, on_frontier: bool) -> dict[str, Any]:
    return {
        "id": experiment.experiment_id,
        "index": experiment.index,
        "config": dict(experiment.config),
        "outcome": experiment.outcome.value,
        "error": experiment.error,
        "selection_reason": experiment.selection_reason,
        "detail": experiment.detail,
        "predicted": {name: interval_json(i) for name, i in experiment.predicted.items()},
        "actual": actual_json(tuning, experiment),
        "on_frontier": on_frontier,
        "wall_s": experiment.wall_s,
        "log": experiment.log_path,
    }


def _measured_config(tuning: Tuning, config: MeasuredConfig) -> dict[str, Any]:
    values = {o.name: float(v) for o, v in zip(tuning.objectives, config.values, strict=True)}
    return {
        "config": dict(config.config),
        "actual": {**actual_json(tuning, config.experiments[0]), **values},
        "experiments": _ids(config),
        "command": config.experiments[0].command,
    }


def _front_entry(
    tuning: Tuning, found: Measured, config: MeasuredConfig, baseline: MeasuredConfig | None
) -> dict[str, Any]:
    gain = {} if baseline is None else found.gain(over=baseline, of=config)
    return {
        **_measured_config(tuning, config),
        "gain_over_baseline": {name: interval_json(i) for name, i in gain.items()},
    }


def _predicted_grid(tuning: Tuning, experiments: Sequence[Experiment], most: int = 2000) -> dict[str, Any]:
    """Predictions of unmeasured configs for the plots: all of them, or an even sample of a large grid."""
    belief = tuning.belief(experiments)
    open_rows = tuning.state(experiments).open_rows
    rows = (
        open_rows[np.linspace(0, len(open_rows) - 1, min(most, len(open_rows))).astype(int)] if len(open_rows) else []
    )
    front = tuning.predicted_front(belief)
    return {
        "configs": [dict(tuning.grid.config(int(row))) for row in rows],
        "values": {o.name: [belief.intervals(int(row))[o.name].mean for row in rows] for o in tuning.objectives},
        "on_predicted_frontier": [bool(front[row]) for row in rows],
    }


def _prediction(tuning: Tuning, experiments: Sequence[Experiment]) -> dict[str, Any]:
    score = learning(tuning, experiments)
    return {
        "median_error_before": score.before,
        "median_error_after": score.after,
        "intervals": {"hit": score.hit, "of": score.of, "level": 0.9},
    }


def _cost(tuning: Tuning, experiments: Sequence[Experiment]) -> dict[str, Any]:
    spent = sum(e.wall_s for e in experiments)
    typical = typical_wall_s(experiments)
    configs = int(tuning.space.allowed.sum())
    full = None if typical is None else typical * configs
    return {
        "experiments": len(experiments),
        "spent_s": spent,
        "gpu_hours": sum(e.gpu_hours for e in experiments),
        "usd": sum(e.cost_usd for e in experiments),
        "full_grid_s": full,
        "saved": None if not full else 1 - spent / full,
    }
