"""Request records to measurements: distributions of ttft, tpot, itl and e2e, throughputs, success rate, real tokens."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from perfdb.metrics import Statistic
from perfdb.records import Measurement
from runner.load.client import RequestRecord

_PERCENTILES = {Statistic.MEDIAN: 50, Statistic.P90: 90, Statistic.P95: 95, Statistic.P99: 99}


def summarise(records: Sequence[RequestRecord], sent: int | None = None) -> tuple[Measurement, ...]:
    """Measurements of one window. Times and tokens come from completed requests only, the window from all.

    Args:
        records: finished requests, of any outcome.
        sent: requests that were to be sent, where some have no record because the window was cut; they count as failed.
    """
    good = [record for record in records if record.ok]
    total = max(len(records), sent or 0)
    found = [_value("success_rate", len(good) / total if total else 0.0)]
    if not good:
        return tuple(found)
    found += _distribution("ttft_s", [r.ttft_s for r in good if r.ttft_s is not None])
    found += _distribution("tpot_s", [r.tpot_s for r in good if r.tpot_s is not None])
    found += _distribution("itl_s", [b - a for r in good for a, b in pairwise(r.token_s)])
    found += _distribution("e2e_s", [r.e2e_s for r in good if r.e2e_s is not None])
    return (*found, *_rates(records, good))


def _rates(records: Sequence[RequestRecord], good: Sequence[RequestRecord]) -> list[Measurement]:
    window = max(r.done_s or r.sent_s for r in records) - min(r.sent_s for r in records)
    output = sum(r.output_tokens for r in good)
    found = [
        _value("duration_s", window),
        _value("output_tps", output / window),
        _value("request_tps", len(good) / window),
        Measurement("output_tokens", Statistic.MEAN, output / len(good)),
    ]
    counted = [r.input_tokens for r in good if r.input_tokens is not None]
    if len(counted) == len(good):  # a server that reports no usage leaves the prompt's real length unknown
        found.append(_value("total_tps", (sum(counted) + output) / window))
        found.append(_value("input_tps", sum(counted) / window))
        found.append(Measurement("input_tokens", Statistic.MEAN, sum(counted) / len(good)))
    return found


def _value(name: str, value: float) -> Measurement:
    return Measurement(name, Statistic.VALUE, float(value))


def _distribution(name: str, values: Sequence[float]) -> list[Measurement]:
    if not values:
        return []
    levels = np.percentile(values, list(_PERCENTILES.values()))
    pairs = zip(_PERCENTILES, levels, strict=True)
    mean = Measurement(name, Statistic.MEAN, float(np.mean(values)))
    return [mean, *(Measurement(name, statistic, float(level)) for statistic, level in pairs)]


def reasons(records: Sequence[RequestRecord]) -> dict[str, int]:
    """Why requests failed, most frequent first."""
    return dict(Counter(record.error for record in records if record.error is not None).most_common())


def write_records(path: Path, records: Sequence[RequestRecord]) -> None:
    """One JSON object per request, its derived times beside its stamps, in seconds since the first was sent."""
    start = min((record.sent_s for record in records), default=0.0)
    with path.open("w") as file:
        for record in sorted(records, key=lambda each: each.index):
            row = asdict(record) | {name: getattr(record, name) for name in ("ttft_s", "tpot_s", "e2e_s")}
            row["sent_s"] = record.sent_s - start
            row["done_s"] = None if record.done_s is None else record.done_s - start
            row["token_s"] = [stamp - start for stamp in record.token_s]
            file.write(json.dumps(row) + "\n")
