"""The nouns of the product as frozen records. No I/O here.

A *config* is launched once; it is measured at one or more *operating points* (scenario and load: a `Workload`); each
point yields *measurements*. An *experiment* is one launch of one config with its outcome, and belongs to a *run* (one
tuning).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from perfdb.metrics import Statistic

Scalar = str | int | float | bool | None


class Outcome(StrEnum):
    """How an experiment ended."""

    OK = "ok"
    OOM = "oom"
    LAUNCH_FAILED = "launch_failed"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    PARTIAL = "partial"
    INVALID = "invalid"
    CANCELLED = "cancelled"

    @property
    def usable(self) -> bool:
        """Whether its measurements may enter a frontier."""
        return self is Outcome.OK


class Provenance(StrEnum):
    """Where a predicted number comes from, best first."""

    MEASURED = "measured"
    INTERPOLATED = "interpolated"
    EXTRAPOLATED = "extrapolated"
    LEARNED = "learned"
    ROOFLINE = "roofline"


class Origin(StrEnum):
    """How a stored number came to be."""

    MEASURED = "measured"
    DERIVED = "derived"
    SIMULATED = "simulated"
    PREDICTED = "predicted"


class Arrival(StrEnum):
    """How requests arrive. `BATCH` is one static batch, `CLOSED` keeps `concurrency` requests in flight."""

    CLOSED = "closed"
    POISSON = "poisson"
    CONSTANT = "constant"
    BATCH = "batch"


def canonical_json(value: object) -> str:
    """One spelling for one value: sorted keys, no spaces, integral floats as integers, NaN refused."""
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _canonical(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


def content_key(value: object) -> str:
    """A 16-hex-digit hash of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Config(Mapping[str, Scalar]):
    """One setting of an engine's parameters; equal configs have equal `key`, whatever the order or number type."""

    params: Mapping[str, Scalar]

    @property
    def key(self) -> str:
        """Content hash: the identity of this config."""
        return content_key(dict(self.params))

    def __getitem__(self, name: str) -> Scalar:
        return self.params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True, eq=False)
class Grid:
    """n configs as columns: `columns[name]` is an array of length n. A row of it is a `Config`.

    `silent` is n where configs say nothing at all, and so have no column.
    """

    columns: Mapping[str, np.ndarray[Any, Any]]
    silent: int = 0

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"grid columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else self.silent

    def config(self, row: int) -> Config:
        """The config in `row`, with plain Python scalars."""
        return Config({name: _plain(column[row]) for name, column in self.columns.items()})

    def take(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> Grid:
        """The given rows, in that order."""
        at = np.asarray(rows)
        silent = 0 if self.columns else len(np.arange(self.silent)[at])
        return Grid({name: column[at] for name, column in self.columns.items()}, silent)

    @classmethod
    def of(cls, configs: Sequence[Mapping[str, Scalar]]) -> Grid:
        """Columns from configs; a name that a config lacks is None there. A column keeps one numeric type if it can."""
        names = list(dict.fromkeys(name for config in configs for name in config))
        return cls({name: as_column([config.get(name) for config in configs]) for name in names}, len(configs))


def as_column(values: Sequence[Scalar]) -> np.ndarray[Any, Any]:
    """An array of bool, int64 or float64 where all values are of that kind, else of objects. Whole numbers that int64
    cannot hold are float64."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.array(values, dtype=bool)
    if kinds == {int}:
        with suppress(OverflowError):
            return np.array(values, dtype=np.int64)
    if kinds and kinds <= {int, float}:
        return np.array(values, dtype=np.float64)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _plain(value: Any) -> Scalar:
    plain: Scalar = value.item() if isinstance(value, np.generic) else value
    return plain


@dataclass(frozen=True, slots=True)
class Workload:
    """One operating point: which requests, and how they arrive. Unknown facts are None, never guessed.

    Lengths are tokens (nominal means), rates requests/s. `lengths` is the distribution in the field's notation:
    "D(96,24)" fixed, "N(480,240)/(300,150)" normal, "U(1,9)/(1,9)" uniform.
    """

    isl: float | None = None
    osl: float | None = None
    arrival: Arrival | None = None
    concurrency: int | None = None
    request_rate: float | None = None
    batch_size: int | None = None
    lengths: str | None = None
    requests: int | None = None
    warmup_requests: int | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What serves: model × platform × number of devices × engine (and its version)."""

    model: str
    platform: str
    engine: str
    devices: int = 1
    engine_version: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number: `metric` is a name of `perfdb.metrics.METRICS`, `value` in that metric's unit."""

    metric: str
    statistic: Statistic
    value: float


@dataclass(frozen=True, slots=True)
class PointResult:
    """What one operating point of one launched config yielded."""

    workload: Workload
    measurements: tuple[Measurement, ...]
    outcome: Outcome = Outcome.OK

    def value(self, metric: str, statistic: Statistic | None = None) -> float | None:
        """The value of `metric`; without a statistic the mean, else the plain value, else None."""
        order = (statistic,) if statistic else (Statistic.MEAN, Statistic.VALUE)
        found = {m.statistic: m.value for m in self.measurements if m.metric == metric}
        return next((found[s] for s in order if s in found), None)


@dataclass(frozen=True, slots=True)
class Interval:
    """A predicted value with its 90 % interval, in the metric's unit."""

    mean: float
    lo: float
    hi: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A config that a run wants measured next: why, and what is expected of it (metric -> interval)."""

    config: Config
    reason: str
    detail: str = ""
    predicted: Mapping[str, Interval] = field(default_factory=dict)
    on_predicted_frontier: bool = False


@dataclass(frozen=True, slots=True)
class Experiment:
    """One recorded launch of one config, of any outcome. Times are seconds, `started_at` is Unix time (UTC)."""

    experiment_id: str
    run_id: str
    index: int
    config: Config
    target: Target
    outcome: Outcome
    selection_reason: str
    detail: str = ""
    points: tuple[PointResult, ...] = ()
    predicted: Mapping[str, Interval] = field(default_factory=dict)
    error: str | None = None
    command: str | None = None
    log_path: str | None = None
    executor: str = "local"
    started_at: float = 0.0
    wall_s: float = 0.0
    gpu_hours: float = 0.0
    cost_usd: float = 0.0
    is_on_predicted_frontier: bool = False
    is_on_actual_frontier: bool = False

    def point_under(self, load: Workload) -> PointResult | None:
        """What was measured under a load, if anything. A client fills in what a workload leaves open, so only the
        concurrency or rate tells one point of a server from another."""
        asked = (load.concurrency, load.request_rate)
        found = (p for p in self.points if (p.workload.concurrency, p.workload.request_rate) == asked)
        return next(found, None)

    @property
    def actual(self) -> dict[str, float]:
        """Metric -> value of the first operating point (mean where there is a distribution); empty without one."""
        if not self.points:
            return {}
        names = dict.fromkeys(m.metric for m in self.points[0].measurements)
        pairs = ((name, self.points[0].value(name)) for name in names)
        return {name: value for name, value in pairs if value is not None}
