"""The canonical fields that a column, a `--set` or a path pattern can name, and where each goes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from perfdb.batch import CONTEXT
from perfdb.errors import UnknownNameError
from perfdb.facts.engines import ENGINES
from perfdb.metrics import METRICS, Statistic


class Kind(StrEnum):
    """What a column is to us. `HELPER` columns are evidence from which others are computed."""

    CONTEXT = "context"
    METRIC = "metric"
    CONFIG = "config"
    HELPER = "helper"
    EXTRA = "extra"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one column holds. `unit` is "" where neither the name nor a declaration says it."""

    kind: Kind
    name: str
    statistic: Statistic = Statistic.VALUE
    unit: str = ""


NUMERIC_CONTEXT = frozenset(
    {"devices", "isl", "osl", "concurrency", "request_rate", "batch_size", "requests", "warmup_requests"}
)
TEXT_CONTEXT = frozenset(CONTEXT) - NUMERIC_CONTEXT - {"config", "extra"}
HELPERS = {
    "io_len": "input and output length at once",
    "completed": "requests that succeeded",
    "failed": "requests that failed",
    "error_rate": "failed requests / requests, or percent with a sign",
    "total_input_tokens": "prompt tokens of the whole run",
    "total_output_tokens": "generated tokens of the whole run",
    "throughput": "tokens or requests per second, of a kind that the name does not say",
    "throughput_per_gpu": "the same per device",
    "burstiness": "1: Poisson arrivals",
    "unit": "unit of the throughput column",
    "status": "ok, OOM, failed, …",
}
TEXT_HELPERS = frozenset({"unit", "status"})
SET_FIELDS = tuple(name for name in CONTEXT if name not in {"config", "extra"})
_SYNONYMS = {
    "hardware": "platform",
    "gpu": "platform",
    "num_gpus": "devices",
    "conc": "concurrency",
    "input_len": "isl",
    "output_len": "osl",
}


@lru_cache(maxsize=1)
def engine_parameters() -> dict[str, str]:
    """Engine parameter or role -> its role ("" if it has none), over all known engines; names with underscores."""
    known: dict[str, str] = {}
    for facts in ENGINES.values():
        for parameter in facts.parameters.values():
            known.setdefault(parameter.name, parameter.role)
            if parameter.role:
                known.setdefault(parameter.role, parameter.role)
    return known


def parameter_of(engine: str | None, name: str) -> str:
    """What `engine` calls the parameter `name`: by its own name, else by its role, else as given."""
    facts = ENGINES.get(engine or "")
    if facts is None or name in facts.parameters:
        return name
    role = engine_parameters().get(name, "")
    return next((p.name for p in facts.parameters.values() if role and p.role == role), name)


def field_meaning(name: str, what: str) -> Meaning:
    """The meaning of a canonical field name, as `--set`, a path pattern or a map gives it.

    Known are context fields, helpers, metrics ("ttft_s", "p99_ttft_s", "ttft_s:p99"), engine parameters and roles,
    "config.NAME" and "extra.NAME" for anything else, and "ignore".

    Raises:
        UnknownNameError: none of these; the message lists the right ones. `what` names the place for it.
    """
    plain = _SYNONYMS.get(name.strip().lower().replace("-", "_"), name.strip())
    lower = plain.lower().replace("-", "_")
    if lower in SET_FIELDS:
        return Meaning(Kind.CONTEXT, lower)
    if lower == "ignore":
        return Meaning(Kind.IGNORE, lower)
    if lower in HELPERS:
        return Meaning(Kind.HELPER, lower)
    for prefix, kind in (("config.", Kind.CONFIG), ("extra.", Kind.EXTRA)):
        if lower.startswith(prefix) and len(plain) > len(prefix):
            return Meaning(kind, plain[len(prefix) :])
    metric = _metric_meaning(lower)
    if metric is not None:
        return metric
    if lower in engine_parameters():
        return Meaning(Kind.CONFIG, lower)
    known = [*SET_FIELDS, *engine_parameters(), *METRICS, *HELPERS, "config.NAME", "extra.NAME", "ignore"]
    raise UnknownNameError.of(what, name, known)


def _metric_meaning(lower: str) -> Meaning | None:
    base, _, suffix = lower.partition(":")
    prefix, _, rest = base.partition("_")
    stats = {str(statistic): statistic for statistic in Statistic} | {"median": Statistic.MEDIAN}
    if base in METRICS:
        statistic = stats.get(suffix, Statistic.VALUE) if suffix else Statistic.VALUE
        return Meaning(Kind.METRIC, base, statistic, METRICS[base].unit)
    if prefix in stats and rest in METRICS:
        return Meaning(Kind.METRIC, rest, stats[prefix], METRICS[rest].unit)
    return None
