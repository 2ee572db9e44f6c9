"""Request lengths in the field's notation: D(in,out) fixed, N(mean,sd)/(mean,sd) normal, U(lo,hi)/(lo,hi) uniform."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from perfdb.errors import InputError

_PAIR = r"\(\s*([0-9.]+)\s*,\s*([0-9.]+)\s*\)"
_FIXED = re.compile(rf"D{_PAIR}")
_SPREAD = re.compile(rf"([NU]){_PAIR}\s*/\s*{_PAIR}")
_FORM = "D(in,out), N(mean,sd)/(mean,sd) or U(lo,hi)/(lo,hi) in tokens, such as D(96,24)"


class Shape(StrEnum):
    """The distribution of a length."""

    FIXED = "D"
    NORMAL = "N"
    UNIFORM = "U"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Input and output lengths of requests, tokens: (mean, sd) for N, (low, high) for U, the value twice for D."""

    shape: Shape
    input: tuple[float, float]
    output: tuple[float, float]

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """Read the notation.

        Raises:
            InputError: it is none of the three forms, a length is below 1 or a range is upside down.
        """
        compact = text.strip()
        fixed, spread = _FIXED.fullmatch(compact), _SPREAD.fullmatch(compact)
        try:
            if fixed:
                isl, osl = (float(number) for number in fixed.groups())
                lengths = cls(Shape.FIXED, (isl, isl), (osl, osl))
            elif spread:
                a, b, c, d = (float(number) for number in spread.groups()[1:])
                lengths = cls(Shape(spread.group(1)), (a, b), (c, d))
            else:
                raise InputError.at("lengths", f"{text!r} cannot be read", _FORM)
        except ValueError:
            raise InputError.at("lengths", f"{text!r} holds a number that cannot be read", _FORM) from None
        lengths._check(text)
        return lengths

    def _check(self, text: str) -> None:
        for low, high in (self.input, self.output):
            if low < 1:
                raise InputError.at("lengths", f"{text!r} asks for less than one token", _FORM)
            if self.shape is Shape.UNIFORM and low > high:
                raise InputError.at("lengths", f"{text!r} has a range upside down", _FORM)

    @property
    def isl(self) -> float:
        """Mean input length, tokens."""
        return self._mean(self.input)

    @property
    def osl(self) -> float:
        """Mean output length, tokens."""
        return self._mean(self.output)

    def _mean(self, pair: tuple[float, float]) -> float:
        return sum(pair) / 2 if self.shape is Shape.UNIFORM else pair[0]

    def sample(self, count: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Draw `count` input and output lengths (two arrays of `count`), each at least one token."""
        return self._draw(self.input, count, rng), self._draw(self.output, count, rng)

    def _draw(self, pair: tuple[float, float], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        if self.shape is Shape.NORMAL:
            drawn = rng.normal(*pair, size=count)
        elif self.shape is Shape.UNIFORM:
            drawn = rng.uniform(*pair, size=count)
        else:
            drawn = np.full(count, pair[0])
        return np.maximum(1, np.rint(drawn)).astype(np.int64)
