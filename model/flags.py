"""Which values an engine's flags take, for every door alike: `model.knobs` judges those of the closed form's numbers,
this module the words, the whole numbers, and the flags that only a scheduler reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import filterfalse
from math import isnan
from typing import Any

from perfdb.errors import InputError, UnknownNameError
from perfdb.facts.engines import EngineFacts, EngineParameter
from perfdb.records import Grid

SWITCH_WORDS: Mapping[str, float] = {"true": 1.0, "on": 1.0, "false": 0.0, "off": 0.0}


@dataclass(frozen=True)
class _Rule:
    """What a value must be, in words, and whether one is."""

    right: str
    holds: Callable[[Any], bool]


def is_switched(value: Any) -> bool | None:
    """Whether a switch is on, None where the value says neither; 0 and 1 count too."""
    found = SWITCH_WORDS.get(value.strip().lower()) if isinstance(value, str) else value
    return bool(found) if found in {0, 1} else None


def _is_missing(value: Any) -> bool:
    """A column of numbers has NaN where a config says nothing."""
    return value is None or (isinstance(value, float) and isnan(value))


def _is_number(value: Any, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < float("inf")


def _whole(least: int) -> _Rule:
    return _Rule(f"a whole number of at least {least}", lambda value: _is_number(value, least) and value == int(value))


_ON_OR_OFF = _Rule("true or false", lambda value: is_switched(value) is not None)
_RULES: Mapping[str, _Rule] = {
    "mixed_chunk": _ON_OR_OFF,
    "no_overlap": _ON_OR_OFF,
    "prefill_threshold": _whole(0),
    "prefill_tokens": _whole(1),
    "draft_tokens": _whole(0),
    "draft_layers": _whole(0),
    "conservativeness": _Rule("a number of at least 0", lambda value: _is_number(value, 0.0)),
}
"""By role."""
_FORMATS = frozenset({"kv_dtype", "weight_dtype"})
"""Roles whose words `model.formats` judges: there are more of them than an engine lists."""


def check_flags(engine: EngineFacts, grid: Grid) -> None:
    """Refuse values that no server takes; None leaves a flag to the engine. Each distinct value is looked at once.

    Raises:
        InputError: a value is of the wrong kind or out of its range. UnknownNameError: none of the words there are.
    """
    for name, column in grid.columns.items():
        parameter = engine.parameters.get(name)
        if parameter is not None and (parameter.role in _RULES or parameter.values):
            check_values(engine, parameter, set(column.tolist()))


def check_values(engine: EngineFacts, parameter: EngineParameter, values: Iterable[Any]) -> None:
    """The same for values of one parameter; raises as `check_flags`."""
    rule = _RULES.get(parameter.role)
    words = () if parameter.role in _FORMATS else parameter.values
    for value in sorted(filterfalse(_is_missing, values), key=str):
        if words and value not in words:
            raise UnknownNameError.of(f"{parameter.name} of {engine.name}", str(value), words)
        if rule is not None and not rule.holds(value):
            raise InputError.at(f"{parameter.name} of {engine.name}", repr(value), rule.right)
