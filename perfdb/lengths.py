"""Request lengths in the field's notation, prompts and answers apart.

| form | lengths |
| --- | --- |
| D(96,24) | fixed |
| N(480,240)/(300,150) | normal: mean and standard deviation, cut at 1 token and at 3 deviations |
| U(1,9)/(2,8), U(9,8) | uniform from the first to the second, or from 1 |
| Q(5,80,900)/(1,20,300) | quantiles at equal steps from least to most, linear between |
| 0.7 D(96,24) + 0.3 D(4000,200) | each request of one of these, by weight; weights below 1 are shares |
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from perfdb.errors import InputError
from perfdb.normal import cut_normal
from perfdb.records import Workload

_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_LIST = rf"\(\s*({_NUMBER}(?:\s*,\s*{_NUMBER})+)\s*\)"
_FORM = re.compile(rf"\s*(?:({_NUMBER})\s*\*?\s*)?([DNUQ])\s*{_LIST}\s*(?:/\s*{_LIST})?\s*", re.IGNORECASE)
_SIGMAS = 3.0
_ROUNDED = 0.005 * (1.0 + 1e-9)
_MOST = 2.0**40
_FIXED = re.compile(rf"\s*(?:{_NUMBER}\s*\*?\s*)?D\s*{_LIST}\s*", re.IGNORECASE)
_EXPECTED = "D(96,24), N(480,240)/(300,150), U(1,9)/(1,9), Q(5,80,900)/(1,20,300), or 0.7 D(96,24) + 0.3 D(4000,200)"


@dataclass(frozen=True, slots=True)
class Shape:
    """One distribution: `prompt` and `answer` are (mean, deviation) for kind N, else quantiles at equal steps."""

    kind: str
    prompt: tuple[float, ...]
    answer: tuple[float, ...]

    @property
    def is_possible(self) -> bool:
        """Whether every length it can give is at least one token, and no range is empty."""
        sides = (self.prompt, self.answer)
        if self.kind == "N":
            return all(1 <= mean <= _MOST and deviation <= _MOST for mean, deviation in sides)
        return all(side[0] >= 1 and side[-1] <= _MOST and all(a <= b for a, b in pairwise(side)) for side in sides)

    def pair(self, draw: random.Random) -> tuple[int, int]:
        """One request: prompt tokens, answer tokens."""
        return self._one(self.prompt, draw), self._one(self.answer, draw)

    def _one(self, side: tuple[float, ...], draw: random.Random) -> int:
        if self.kind == "N":
            return max(1, min(round(draw.gauss(*side)), self.longest(side)))
        if self.kind == "Q":
            at = draw.random() * (len(side) - 1)
            low = int(at)
            return round(side[low] + (at - low) * (side[low + 1] - side[low]))
        return draw.randint(round(side[0]), round(side[1]))

    def mean(self, side: tuple[float, ...]) -> float:
        """Mean tokens of `prompt` or `answer`, as the notation says it."""
        return side[0] if self.kind == "N" else (sum(side) - (side[0] + side[-1]) / 2) / (len(side) - 1)

    def drawn(self, side: tuple[float, ...]) -> tuple[float, float]:
        """Mean of the tokens that are drawn for `prompt` or `answer`, and of their squares; those between quantiles as
        if they were not rounded."""
        if self.kind == "N":
            return cut_normal(side[0], side[1], self.longest(side))
        if self.kind == "Q":
            return self.mean(side), sum(a * a + a * b + b * b for a, b in pairwise(side)) / (3 * (len(side) - 1))
        low, high = map(round, side)
        middle = (low + high) / 2
        return middle, middle**2 + ((high - low + 1) ** 2 - 1) / 12

    def longest(self, side: tuple[float, ...]) -> int:
        """The most tokens of `prompt` or `answer`."""
        return round(side[0] + _SIGMAS * side[1]) if self.kind == "N" else round(side[-1])

    def __str__(self) -> str:
        if self.kind == "D":
            return f"D({self.prompt[0]:.12g},{self.answer[0]:.12g})"
        sides = (",".join(f"{number:.12g}" for number in side) for side in (self.prompt, self.answer))
        return "{}({})/({})".format(self.kind, *sides)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of prompts and answers: shapes with their weights, which add up to 1."""

    parts: tuple[tuple[float, Shape], ...]

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """Read the notation.

        Raises:
            InputError: the text is not of that form, or a range is empty.
        """
        # a plus inside a number (1e+3) joins no parts
        found = [_part(text, part) for part in re.split(r"\+(?!\d+\s*[,)])", text)]
        if not 0 < sum(weight for weight, _ in found) < math.inf:
            raise InputError.at(f"lengths {text[:80]!r}", "no weights that add up to a number above 0", _EXPECTED)
        check_shares(f"lengths {text[:80]!r}", [weight for weight, _ in found])
        return cls.mixed((weight, cls(((1.0, shape),))) for weight, shape in found)

    @classmethod
    def mixed(cls, parts: Iterable[tuple[float, Lengths]]) -> Lengths:
        """Each request of one of several lengths, in proportion to their weights, of which one at least is above 0."""
        found = [(weight * share, shape) for weight, lengths in parts for share, shape in lengths.parts]
        total = sum(weight for weight, _ in found)
        return cls(tuple((weight / total, shape) for weight, shape in found))

    def __str__(self) -> str:
        """The notation, such that `parse` reads the same lengths again."""
        if len(self.parts) == 1:
            return str(self.parts[0][1])
        return " + ".join(f"{weight:.12g} {shape}" for weight, shape in self.parts)

    def sample(self, n: int, seed: int) -> list[tuple[int, int]]:
        """`n` pairs (prompt tokens, answer tokens); the same for the same seed.

        Of a mix, every part has its share of them, to within one, in random order: a window of 30 requests that has
        them by chance would be of another mix.
        """
        draw = random.Random(f"lengths {seed}")
        ends = [round(n * weight) for weight in accumulate(weight for weight, _ in self.parts)]
        shapes = [shape for (_, shape), count in zip(self.parts, _steps(ends), strict=True) for _ in range(count)]
        if len(self.parts) > 1:
            draw.shuffle(shapes)
        if all(shape.kind == "D" for _, shape in self.parts):  # a tenth of the time, and nothing to draw
            return [(round(shape.prompt[0]), round(shape.answer[0])) for shape in shapes]
        return [shape.pair(draw) for shape in shapes]

    @property
    def isl(self) -> float:
        """Mean input length as the notation says it, tokens."""
        return sum(weight * shape.mean(shape.prompt) for weight, shape in self.parts)

    @property
    def osl(self) -> float:
        """Mean output length as the notation says it, tokens."""
        return sum(weight * shape.mean(shape.answer) for weight, shape in self.parts)

    @property
    def drawn(self) -> tuple[float, float]:
        """Mean input and output length of what is drawn: what is cut off at an end moves the mean away from it."""
        isl = sum(weight * shape.drawn(shape.prompt)[0] for weight, shape in self.parts)
        return isl, sum(weight * shape.drawn(shape.answer)[0] for weight, shape in self.parts)

    @property
    def deviation(self) -> float:
        """Standard deviation of the output lengths that are drawn, tokens."""
        square = sum(weight * shape.drawn(shape.answer)[1] for weight, shape in self.parts)
        return math.sqrt(max(square - self.drawn[1] ** 2, 0.0))

    def most(self) -> tuple[int, int]:
        """The longest prompt and the longest answer that it can give."""
        shapes = [shape for _, shape in self.parts]
        return max(each.longest(each.prompt) for each in shapes), max(each.longest(each.answer) for each in shapes)


def check_shares(where: str, weights: Sequence[float]) -> None:
    """Refuse weights that look like shares, all of several below 1, and are none, but for two digits that were rounded.

    Raises:
        InputError: they do not add up to 1.
    """
    total = sum(weights)
    if len(weights) > 1 and max(weights) < 1 and abs(total - 1.0) > _ROUNDED * len(weights):
        what = f"shares of {' + '.join(f'{weight:g}' for weight in weights)} = {total:g}"
        raise InputError.at(where, what, "shares that add up to 1, or weights from 1 on")


def _steps(ends: Sequence[int]) -> list[int]:
    return [end - start for start, end in pairwise([0, *ends])]


def _part(text: str, part: str) -> tuple[float, Shape]:
    where = f"lengths {text[:80]!r}"
    found = _FORM.fullmatch(part)
    kind = found[2].upper() if found else ""
    one, two = (_numbers(found[place]) for place in (3, 4)) if found else ((), ())
    if not found or not _fits(kind, one, two):
        raise InputError.at(where, "not a distribution", _EXPECTED)
    if kind == "D":
        one, two = (one[0], one[0]), (one[1], one[1])
    elif not two:
        one, two = (1.0, one[0]), (1.0, one[1])
    shape = Shape(kind, one, two)
    if not shape.is_possible:
        raise InputError.at(where, "an empty range", "lengths from 1 to 1e12, least before most")
    return float(found[1] or 1.0), shape


def _fits(kind: str, one: Sequence[float], two: Sequence[float]) -> bool:
    if kind == "Q":
        return len(one) > 1 and len(two) > 1
    return len(one) == 2 and len(two) in {"D": (0,), "N": (2,), "U": (0, 2)}[kind]


def _numbers(text: str | None) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(",")) if text else ()


def lengths_of(workload: Workload) -> Lengths:
    """The distribution of a workload: its `lengths`, else fixed at `isl` and `osl`.

    Raises:
        InputError: it has neither, or they cannot be read.
    """
    if workload.lengths is not None:
        return Lengths.parse(workload.lengths)
    if workload.isl is None or workload.osl is None:
        raise InputError.at("workload", "it has no lengths", "isl and osl, or lengths such as D(96,24)")
    return Lengths.parse(f"D({round(workload.isl)},{round(workload.osl)})")


def is_fixed(notation: str) -> bool:
    """Whether all requests of a notation, which may be read elsewhere, have the same lengths."""
    return _FIXED.fullmatch(notation) is not None


def longest(workload: Workload) -> tuple[int, int]:
    """The longest prompt and answer of a workload, tokens. Raises as `lengths_of`."""
    return lengths_of(workload).most()
