"""Ask and tell: suggestions for people who launch servers themselves, and their results back into the same run."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perfdb.errors import FileError, InputError, UnknownNameError
from perfdb.metrics import METRICS
from perfdb.records import Config, Measurement, Outcome, PointResult, Scalar, Suggestion
from runner.execute import JobResult
from servecast.output import interval_json
from servecast.tuning.budget import Budget, Unit
from servecast.tuning.spec import OBJECTIVE_ALIASES, plain_statistic, split_statistic
from servecast.tuning.tune import experiment_of, record, stop_reason
from servecast.tuning.tuning import Planned, Tuning

LEAST, MOST = 1e-9, 1e12
"""No latency, rate, size or price of a server lies outside; a value that does is a slip of the hand."""


@dataclass(frozen=True)
class Report:
    """What a user says of one config: measured values (metric name -> value, in its unit), or how it failed."""

    config: Config
    metrics: Mapping[str, float]
    outcome: Outcome
    error: str | None
    wall_s: float

    @classmethod
    def of(
        cls,
        where: str,
        config: Mapping[str, Scalar],
        metrics: Mapping[str, object],
        outcome: str | None,
        error: str | None = None,
        wall_s: object = 0.0,
    ) -> Report:
        """Check one report.

        Raises:
            InputError: a value is not a plausible number, or an ok result has none or one that is zero.
            UnknownNameError: no such metric or outcome.
        """
        if outcome is not None and outcome not in set(Outcome):
            raise UnknownNameError.of(f"outcome in {where}", str(outcome), set(Outcome))
        ended = Outcome(outcome) if outcome else Outcome.OK
        if ended is Outcome.OK and not metrics:
            raise InputError.at(where, "no metrics", "measured values, or a failed outcome such as oom")
        values = {_metric_name(name): _number(where, name, value) for name, value in metrics.items()}
        zero = [
            name for name, value in values.items() if value == 0 and METRICS[split_statistic(name)[0]].better != "none"
        ]
        if ended is Outcome.OK and zero:
            raise InputError.at(where, f"{zero[0]} is 0", "a value above zero, or a failed outcome such as crashed")
        return cls(Config(dict(config)), values, ended, error, _number(where, "duration_s", wall_s))

    def point(self, tuning: Tuning) -> PointResult | None:
        """The report as a measured operating point."""
        if not self.metrics:
            return None
        measurements = tuple(_measurement(name, value) for name, value in self.metrics.items())
        return PointResult(tuning.task.load.workloads()[tuning.task.at], measurements, self.outcome)


def _metric_name(name: str) -> str:
    name = OBJECTIVE_ALIASES.get(name, name)
    try:
        split_statistic(name)
    except ValueError:
        raise UnknownNameError.of("metric", name, [*OBJECTIVE_ALIASES, *METRICS]) from None
    return name


def _number(where: str, name: str, value: object) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not (number == 0 or LEAST <= number <= MOST):
        unit = METRICS[split_statistic(_metric_name(name))[0]].unit
        raise InputError.at(where, f"{name} is {value!r}", f"a number in {unit}, zero or above and plausible")
    return number


def _measurement(name: str, value: float) -> Measurement:
    metric, statistic = split_statistic(name)
    return Measurement(metric, statistic or plain_statistic(metric), value)


def suggestions(tuning: Tuning, budget: Budget, count: int) -> dict[str, Any]:
    """The next `count` configs, fewer where the budget or the grid ends before.

    The database keeps them, so that `record` knows them.
    """
    experiments = tuning.experiments()
    reason = stop_reason(tuning, budget, experiments)
    if budget.unit is Unit.EXPERIMENTS:
        count = min(count, int(budget.left(experiments)))
    planned = [] if reason else tuning.plan(experiments, count)
    noted = [Suggestion(p.config, p.reason, p.detail, p.predicted, p.on_predicted_frontier) for p in planned]
    if noted:
        tuning.store.note_suggestions(tuning.run_id, noted)
    return {
        "run": tuning.run_id,
        "recorded": len(experiments),
        "suggestions": [_suggestion(tuning, p) for p in planned],
        "stopped_because": reason or (None if planned else "every config that may fit has been run"),
    }


def _suggestion(tuning: Tuning, planned: Planned) -> dict[str, Any]:
    return {
        "config": dict(planned.config),
        "selection_reason": planned.reason,
        "detail": planned.detail,
        "predicted": {name: interval_json(i) for name, i in planned.predicted.items()},
        "command": tuning.command(planned.config),
    }


def reports_from_file(path: Path) -> list[Report]:
    """Read reports from a JSON file, or from stdin where `path` is "-".

    Raises:
        FileError: it cannot be read. InputError: not JSON, or an entry is wrong (named by its position).
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
        given = json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise FileError.unreadable(path, error, "results as JSON") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: {error.msg}; expected results as JSON") from None
    entries = given if isinstance(given, list) else [given]
    if not entries:
        raise InputError.at(str(path), "an empty list", "at least one result")
    return [_report(entry, f"{path}: result {i}") for i, entry in enumerate(entries, start=1)]


def _report(entry: object, where: str) -> Report:
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise InputError.at(where, "no config", 'an object with "config" and "metrics" or "outcome"')
    metrics = entry.get("metrics", entry.get("actual")) or {}
    if not isinstance(metrics, dict):
        raise InputError.at(where, "metrics is not an object", '{"ttft_s": 0.3, ...}')
    return Report.of(
        where, entry["config"], metrics, entry.get("outcome"), entry.get("error"), entry.get("wall_s", 0.0)
    )


def record_reports(tuning: Tuning, reports: Sequence[Report]) -> dict[str, Any]:
    """Record reports in order; all are checked before the first is stored."""
    reports = [
        replace(report, config=tuning.space.check(report.config, f"result {number}: config"))
        for number, report in enumerate(reports, start=1)
    ]
    for report in reports:
        _check_complete(tuning, report)
    noted = {s.config.key: s for s in tuning.store.suggestions(tuning.run_id)}
    for key in {e.config.key for e in tuning.experiments()} & set(noted):
        # A suggestion that was answered is spent; only one made since (the baseline's repeat) still speaks.
        if noted[key].reason != "replicate":
            del noted[key]
    recorded = []
    for report in reports:
        planned = _plan_of(tuning, report.config, noted.get(report.config.key))
        result = JobResult(
            outcome=report.outcome,
            points=tuple(p for p in [report.point(tuning)] if p),
            error=report.error,
            command=tuning.command(report.config),
            started_at=time.time() - report.wall_s,
            wall_s=report.wall_s,
        )
        stored = record(tuning, experiment_of(tuning, planned, result, "recorded"))
        recorded.append(
            {"id": stored.experiment_id, "outcome": stored.outcome.value, "on_frontier": stored.is_on_actual_frontier}
        )
    return {"run": tuning.run_id, "recorded": recorded}


def _check_complete(tuning: Tuning, report: Report) -> None:
    if report.outcome is not Outcome.OK:
        return
    derived = {"quality_loss", "cost_per_mtok"}
    missing = [o.name for o in tuning.objectives if o.name not in report.metrics and o.name not in derived]
    if missing:
        raise InputError.at("metrics", f"{', '.join(missing)} missing", "a value for every objective of the task")


def _plan_of(tuning: Tuning, config: Config, suggestion: Suggestion | None) -> Planned:
    if suggestion is not None:
        return Planned(
            config, suggestion.reason, suggestion.detail, suggestion.predicted, suggestion.on_predicted_frontier
        )
    experiments = tuning.experiments()
    repeated = any(e.config == config for e in experiments)
    return tuning.describe(config, experiments, "replicate" if repeated else "user")
