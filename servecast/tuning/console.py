"""What a person sees: progress on stderr while a tuning runs, the answer on stdout when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perfdb.records import Experiment
from servecast.output import cell_text, config_text, note, print_table, seconds_text
from servecast.tuning.budget import Budget
from servecast.tuning.tune import Progress
from servecast.tuning.tuning import Planned, Tuning


def watch(tuning: Tuning, budget: Budget) -> Progress:
    """Progress lines: what runs next and why, then what came out beside what was predicted."""
    configs = int(tuning.space.allowed.sum())
    done = len(tuning.experiments())
    note(f"{tuning.task.name}: {configs} configs predicted, budget {budget}" + (f", {done} recorded" if done else ""))

    def planned(index: int, plan: Planned) -> None:
        note(
            f"[{index + 1}] {plan.reason}: {config_text(plan.config)}" + (f"\n    {plan.detail}" if plan.detail else "")
        )

    def recorded(experiment: Experiment) -> None:
        note(f"    {_outcome_text(tuning, experiment)} ({seconds_text(experiment.wall_s)})")

    return Progress(planned, recorded)


def _outcome_text(tuning: Tuning, experiment: Experiment) -> str:
    if not experiment.outcome.usable:
        return f"{experiment.outcome}: {experiment.error}"
    values = tuning.values([experiment], tuning.objectives)[0]
    parts = []
    for objective, value in zip(tuning.objectives, values, strict=True):
        expected = experiment.predicted.get(objective.name)
        said = f" (predicted {cell_text(expected.mean)})" if expected else ""
        parts.append(f"{objective.name} {cell_text(float(value))}{said}")
    return ", ".join(parts) + (" *" if experiment.is_on_actual_frontier else "")


def say_document(document: Mapping[str, Any]) -> None:
    """The measured frontier, the gain over the baseline, how good the predictions were, and the knee's command."""
    names = [o["name"] for o in document["objectives"]]
    if document["frontier"]:
        _say_frontier(document, names)
    print(_cost_text(document))
    if document["prediction"]["median_error_before"]:
        print(_prediction_text(document["prediction"]))
    knee = document["knee"]
    if knee.get("gain_over_baseline"):
        print(f"Knee against the baseline: {_gain_text(knee['gain_over_baseline'])}")
    if knee.get("command"):
        print(f"Launch the knee with:\n  {knee['command']}")
    print(f"Stopped because {document['stopped_because']}.")


def _say_frontier(document: Mapping[str, Any], names: Sequence[str]) -> None:
    knee = document["knee"].get("config")
    baseline = document["baseline"].get("config")
    entries = [*document["frontier"]]
    if baseline is not None and all(e["config"] != baseline for e in entries):
        entries.append(document["baseline"])
    rows = []
    for entry in entries:
        mark = "knee" if entry["config"] == knee else "baseline" if entry["config"] == baseline else ""
        rows.append([*(entry["actual"].get(name) for name in names), mark, entry["config"]])
    units = {o["name"]: o["unit"] for o in document["objectives"]}
    columns = [*(f"{name} ({units[name]})" for name in names), "", "config"]
    print_table(columns, rows, title=f"Measured Pareto frontier ({len(document['frontier'])} configs)")


def _gain_text(gains: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"{name} {g['mean']:.2f}x better [{g['lo']:.2f}, {g['hi']:.2f}]" for name, g in gains.items())


def _cost_text(document: Mapping[str, Any]) -> str:
    cost, configs = document["cost"], document["grid"]["configs"]
    text = f"{cost['experiments']} experiments in {seconds_text(cost['spent_s'])}"
    if cost["full_grid_s"]:
        text += f"; the whole grid of {configs} configs would have taken {seconds_text(cost['full_grid_s'])}"
    return text + "."


def _prediction_text(prediction: Mapping[str, Any]) -> str:
    after = prediction["median_error_after"]
    errors = [
        f"{name} {100 * before:.0f} % -> {100 * after[name]:.0f} %"
        for name, before in prediction["median_error_before"].items()
    ]
    held = prediction["intervals"]
    text = f"Median prediction error before -> after learning: {', '.join(errors)}."
    return text + f" 90 % intervals held {held['hit']} of {held['of']} times."


def say_suggestions(answer: Mapping[str, Any]) -> None:
    """Each suggested config with its reason, its prediction and its command."""
    for i, suggestion in enumerate(answer["suggestions"], start=1):
        print(f"{i}. {config_text(suggestion['config'])}")
        reason = suggestion["selection_reason"]
        print(f"   {reason}: {suggestion['detail']}" if suggestion["detail"] else f"   {reason}")
        expected = [
            f"{n} {cell_text(p['mean'])} [{cell_text(p['lo'])}, {cell_text(p['hi'])}]"
            for n, p in suggestion["predicted"].items()
        ]
        print(f"   expected: {', '.join(expected)}")
        print(f"   {suggestion['command']}")
    if answer["stopped_because"]:
        print(f"Nothing to run: {answer['stopped_because']}.")
