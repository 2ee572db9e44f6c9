"""The findings of `db check` for a person: the kind, how often, and the worst examples, one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perfdb.quality import Finding, counted
from servecast.output import cell_text, config_text

Example = Mapping[str, Any]

SHOWN = 3
"""Examples per finding; --json holds up to a thousand."""


def say_findings(findings: Sequence[Finding]) -> None:
    """Print them, grave ones first as they come."""
    if not findings:
        print("Nothing doubtful was found.")
    for finding in findings:
        print(f"{finding.severity}: {finding.kind.replace('_', ' ')}: {finding.text}")
        for example in finding.examples[:SHOWN]:
            print(f"    {_LINES[finding.kind](example)}")
        more = len(finding.examples) - SHOWN
        if more > 0:
            print(f"    … {more:,} more (--json)")


def _place(example: Example) -> str:
    """ "FILE, row 3"; an experiment has no row."""
    row = f", row {example['row']}" if example.get("row") is not None else ""
    return f"{example['file']}{row}"


def _group(example: Example) -> str:
    names = [example.get(name) for name in ("model", "platform", "engine")]
    return " · ".join(str(name or "unknown") for name in names)


def _setting(example: Example) -> str:
    """What was run, on one line; unknown facts are left out."""
    count = f"{example['devices']} × " if example.get("devices") else ""
    parts = [_group({**example, "platform": f"{count}{example.get('platform') or 'unknown'}"})]
    if example.get("config"):
        parts.append(config_text(example["config"]))
    loads = ("isl", "osl", "lengths", "arrival", "concurrency", "request_rate", "batch_size", "client")
    parts += [f"{name}={_number(example[name])}" for name in loads if example.get(name) is not None]
    return ", ".join(parts)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _metric(example: Example) -> str:
    return f"{example['metric']} ({example['statistic']})"


def _contradiction(example: Example) -> str:
    values = f"{cell_text(example['value'])} against {cell_text(example['bound'])}"
    return f"{example['reason']}: {values} ({_place(example)})"


def _conflict(example: Example) -> str:
    ends = f"{cell_text(example['low'])} to {cell_text(example['high'])}, {cell_text(example['ratio'])}x"
    where = f"{len(example['files'])} files" if len(example["files"]) > 1 else example["files"][0]
    differs = ", ".join(example["differs"]) or "nothing that is recorded"
    return (
        f"{_metric(example)} {ends} in {example['points']} points of {where}: {_setting(example)}; differs: {differs}"
    )


def _outlier(example: Example) -> str:
    expected = f"expected {cell_text(example['low'])} to {cell_text(example['high'])}"
    return f"{_metric(example)} {cell_text(example['value'])}, {expected} ({_place(example)}): {_setting(example)}"


def _replicate(example: Example) -> str:
    spread = f"median sd {100 * example['relative_sd']:.1f} %, worst {cell_text(example['worst_ratio'])}x"
    return f"{_metric(example)}: {example['keys']:,} settings, {example['points']:,} points, {spread}"


def _mixed_statistic(example: Example) -> str:
    files = ", ".join(f"{name} in {counted(count, 'file')}" for name, count in example["files"].items())
    return f"{example['metric']} of {_group(example)}: {files}"


def _mixed_protocol(example: Example) -> str:
    return f"{_group(example)}: {_counts(example['arrival'])}"


def _unknown(example: Example) -> str:
    fix = f"; {example['fix']}" if example.get("fix") else ""
    return f"{example['file']}: {_counts(example['unknown'])} of {example['of']} rows{fix}"


def _failure(example: Example) -> str:
    return f"{example['outcome']}: {example['rows']} in {example['file']}"


def _quarantined(example: Example) -> str:
    where = f"{counted(example['files'], 'file')} ({example['first_file']})"
    return f"{example['rows']:,} in {where}: {example['reason']}"


def _duplicate(example: Example) -> str:
    return f"{example['file']}: {example['records']:,} of {example['of']:,} records are those of {example['same_as']}"


def _table(example: Example) -> str:
    names = [example[name] for name in ("op", "platform", "engine", "engine_version")]
    return " · ".join(str(name or "unknown") for name in names) + f": {example['rows']:,} rows"


def _operation_conflict(example: Example) -> str:
    return f"{_table(example)}, {example['conflicts']:,} of them apart (worst {example['worst_conflicts']:.1f}x)"


def _operation_order(example: Example) -> str:
    return f"{_table(example)}, {counted(example['drops'], 'drop')} (worst {example['worst_drops']:.1f}x)"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


_LINES: dict[str, Callable[[Example], str]] = {
    "contradictions": _contradiction,
    "conflicts": _conflict,
    "outliers": _outlier,
    "replicates": _replicate,
    "mixed_statistics": _mixed_statistic,
    "mixed_protocols": _mixed_protocol,
    "unknown_facts": _unknown,
    "failures": _failure,
    "quarantine": _quarantined,
    "duplicates": _duplicate,
    "operations": _table,
    "operation_conflicts": _operation_conflict,
    "operation_order": _operation_order,
}
