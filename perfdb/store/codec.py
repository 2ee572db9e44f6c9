"""Configs, intervals and tasks as JSON text, restored exactly: a bool stays a bool, 1 stays an int, 1.0 a float."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from perfdb.records import Config, Interval


def dump(value: object) -> str:
    """`value` as JSON, in its own order; numbers that JSON lacks as "NaN", "Infinity", "-Infinity"."""
    return json.dumps(_encodable(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _encodable(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {str(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


def dump_intervals(predicted: Mapping[str, Interval]) -> str:
    """Metric -> interval as `{"ttft_s": {"mean": .., "lo": .., "hi": ..}}`."""
    return dump({name: {"mean": i.mean, "lo": i.lo, "hi": i.hi} for name, i in predicted.items()})


def load_intervals(text: str) -> dict[str, Interval]:
    """The inverse of `dump_intervals`."""
    return {
        name: Interval(*(float(interval[end]) for end in ("mean", "lo", "hi")))
        for name, interval in json.loads(text).items()
    }


def load_config(text: str) -> Config:
    """The inverse of `dump` for a config."""
    return Config(json.loads(text))
