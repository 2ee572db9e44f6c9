"""The config space: parameters with their values, constraints between them, and the grid that they span."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from perfdb.errors import InputError
from perfdb.facts.engines import Applied
from perfdb.records import Grid, Scalar, as_column
from search.expressions import Constraint

MOST_CONFIGS = 5_000_000
"""Largest product of all values: beyond it the masks alone take gigabytes, and no model answers in time."""

LEVELS = 5
"""Values taken of a continuous or wide integer range that does not say how many."""


@dataclass(frozen=True)
class Parameter:
    """One parameter, the distinct values to try (None: leave it to the engine), and what it takes to change it."""

    name: str
    values: tuple[Scalar, ...]
    applied: Applied = Applied.RESTART

    @classmethod
    def of(cls, name: str, form: object) -> Parameter:
        """Read a bare value, a list, or a mapping.

        A mapping has `values` (or `choice`), or a `type`: boolean; categorical with `values`; integer or continuous
        with `low` and `high`, and perhaps `levels` and `log`. `applied` may stand beside either. An empty list or
        mapping leaves the parameter to the engine: its one value is None.

        Raises:
            InputError: the form is none of these, or a range is empty.
        """
        if not isinstance(form, Mapping):
            values = form if isinstance(form, Sequence) and not isinstance(form, str) else [form]
            return cls._checked(name, list(values), Applied.RESTART)
        try:
            applied = Applied(form.get("applied", Applied.RESTART))
        except ValueError:
            known = ", ".join(Applied)
            raise InputError.at(f"parameter {name}: applied", f"unknown {form['applied']!r}", known) from None
        return cls._checked(name, _values(name, form), applied)

    @classmethod
    def _checked(cls, name: str, values: list[Any], applied: Applied) -> Parameter:
        wrong = [value for value in values if not isinstance(value, str | int | float | bool | None)]
        if wrong:
            raise InputError.at(f"parameter {name}", f"the value {wrong[0]!r}", "numbers, texts, booleans or null")
        # 1 and True are equal to Python but not to an engine, hence the type in the key.
        distinct = {(type(value), value): value for value in values}
        return cls(name, tuple(distinct.values()) or (None,), applied)


def _values(name: str, form: Mapping[str, Any]) -> list[Any]:
    kind = form.get("type", "categorical")
    given = form.get("values", form.get("choices", form.get("choice", [])))
    if kind == "boolean":
        return [False, True]
    if kind == "categorical":
        return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if kind in {"integer", "continuous"}:
        return _levels(name, form, whole=kind == "integer")
    raise InputError.at(f"parameter {name}: type", f"unknown {kind!r}", "categorical, boolean, integer or continuous")


def _levels(name: str, form: Mapping[str, Any], whole: bool) -> list[Any]:
    """Levels of a range with both ends, evenly spaced on its scale; an integer range that is short is taken whole."""
    low, high, count = (form.get(key) for key in ("low", "high", "levels"))
    count, log = LEVELS if count is None else count, bool(form.get("log", False))
    if not (_is_number(low) and _is_number(high) and _is_number(count)) or _is_empty(low, high, count, log):
        right = "finite numbers low <= high (low > 0 with log) and levels >= 1"
        raise InputError.at(f"parameter {name}", f"the range {low!r} to {high!r} in {count!r} levels", right)
    spaced = np.geomspace(low, high, int(count)) if log else np.linspace(low, high, int(count))
    if not whole:
        return [float(f"{value:.6g}") for value in spaced]
    return list(dict.fromkeys(int(value) for value in np.rint(spaced)))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_empty(low: float, high: float, count: float, log: bool) -> bool:
    return low > high or count < 1 or (log and low <= 0)


@dataclass(frozen=True)
class ConfigSpace:
    """All combinations of the parameters' values that satisfy every constraint.

    Raises:
        InputError: two parameters share a name, a constraint cannot be read, or there are too many combinations.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError.at("space", f"the parameter {twice[0]} stands twice", "each parameter once")
        for text in self.constraints:
            Constraint.parse(text, names)
        if self.size > MOST_CONFIGS:
            counts = " × ".join(f"{len(p.values)} {p.name}" for p in self.parameters if len(p.values) > 1)
            raise InputError.at("space", f"{self.size:,} combinations ({counts})", f"at most {MOST_CONFIGS:,}")

    @classmethod
    def of(cls, forms: Mapping[str, object], constraints: Sequence[str] = ()) -> ConfigSpace:
        """Build from name -> form, see `Parameter.of`.

        Raises:
            InputError: as the class, and as `Parameter.of`.
        """
        return cls(tuple(Parameter.of(name, form) for name, form in forms.items()), tuple(constraints))

    @property
    def size(self) -> int:
        """Combinations before any constraint; 1 without parameters."""
        return math.prod(len(parameter.values) for parameter in self.parameters)

    def grid(self) -> Grid:
        """The configs as columns, in the order of nested loops with the last parameter innermost.

        Raises:
            InputError: no combination satisfies the constraints, or one cannot be worked out for some values.
        """
        kept = np.flatnonzero(self._mask())
        if not len(kept):
            said = ", ".join(repr(text) for text in self.constraints)
            raise InputError.at("space", f"no combination satisfies {said}", "constraints that leave at least one")
        columns: dict[str, npt.NDArray[Any]] = {}
        stride = self.size
        for parameter in self.parameters:
            stride //= len(parameter.values)
            columns[parameter.name] = as_column(parameter.values)[kept // stride % len(parameter.values)]
        return Grid(columns, len(kept))

    def counts(self) -> tuple[int, int]:
        """Combinations before and after the constraints."""
        return self.size, int(self._mask().sum())

    def _mask(self) -> npt.NDArray[np.bool_]:
        """Which combinations satisfy every constraint, flat, `size`.

        A constraint is worked out only for the combinations of what it mentions, and spread over the others: two
        parameters of ten values are 100 evaluations, whatever the size of the space.
        """
        shape = [len(parameter.values) for parameter in self.parameters]
        mask = np.ones(self.size, bool)
        place = {parameter.name: i for i, parameter in enumerate(self.parameters)}
        for text in self.constraints:
            constraint = Constraint.parse(text, list(place))
            axes = sorted(place[name] for name in constraint.names)
            names = [self.parameters[axis].name for axis in axes]
            rows = itertools.product(*(self.parameters[axis].values for axis in axes))
            table = np.array([constraint.holds(dict(zip(names, row, strict=True))) for row in rows], bool)
            mask &= table[_codes(shape, axes)]
        return mask


def _codes(shape: Sequence[int], axes: Sequence[int]) -> npt.NDArray[np.int64]:
    """For every combination, flat, its place in the table over `axes` alone."""
    size = math.prod(shape)
    flat, codes = np.arange(size), np.zeros(size, np.int64)
    for axis in axes:
        stride = math.prod(shape[axis + 1 :])
        codes = codes * shape[axis] + flat // stride % shape[axis]
    return codes
