"""Request lengths in the field's notation: D(96,24) fixed, N(480,240)/(300,150) normal, U(1,9)/(1,9) uniform."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from perfdb.errors import InputError
from perfdb.records import Workload

_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_PAIR = rf"\({_NUMBER},{_NUMBER}\)"
_FORM = re.compile(rf"\s*([DNU])\s*{_PAIR}\s*(?:/\s*{_PAIR})?\s*", re.IGNORECASE)
_SIGMAS = 3.0


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of prompts and answers: `prompt` and `answer` are (mean, deviation) for kind N, (least, most) else."""

    kind: str
    prompt: tuple[float, float]
    answer: tuple[float, float]

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """Read the notation. U(a,b) alone means U(1,a)/(1,b); N is cut at 1 token and at 3 standard deviations.

        Raises:
            InputError: the text is not of that form, or a range is empty.
        """
        found = _FORM.fullmatch(text)
        kind = found[1].upper() if found else ""
        if not found or (kind == "D" and found[4]) or (kind == "N" and not found[4]):
            raise InputError.at(
                f"lengths {text!r}", "not a distribution", "D(96,24), N(480,240)/(300,150) or U(1,9)/(1,9)"
            )
        one, two = float(found[2]), float(found[3])
        if kind == "D":
            return cls(kind, (one, one), (two, two)).checked(text)
        if found[4] is None:
            return cls(kind, (1.0, one), (1.0, two)).checked(text)
        return cls(kind, (one, two), (float(found[4]), float(found[5]))).checked(text)

    def checked(self, text: str) -> Lengths:
        """Itself, if every length it can give is at least one token.

        Raises:
            InputError: it is not so.
        """
        for least, most in (self.prompt, self.answer):
            if least < 1 or (self.kind != "N" and most < least):
                raise InputError.at(f"lengths {text!r}", "an empty range", "lengths of at least 1, least before most")
        return self

    def sample(self, n: int, seed: int) -> list[tuple[int, int]]:
        """`n` pairs (prompt tokens, answer tokens); the same for the same seed."""
        draw = random.Random(f"lengths {seed}")
        return [(self._one(self.prompt, draw), self._one(self.answer, draw)) for _ in range(n)]

    def _one(self, pair: tuple[float, float], draw: random.Random) -> int:
        if self.kind == "N":
            return max(1, min(round(draw.gauss(*pair)), _most(self.kind, pair)))
        return draw.randint(round(pair[0]), round(pair[1]))

    @property
    def isl(self) -> float:
        """Mean input length, tokens."""
        return _mean(self.kind, self.prompt)

    @property
    def osl(self) -> float:
        """Mean output length, tokens."""
        return _mean(self.kind, self.answer)

    def most(self) -> tuple[int, int]:
        """The longest prompt and the longest answer that it can give."""
        return _most(self.kind, self.prompt), _most(self.kind, self.answer)


def _mean(kind: str, pair: tuple[float, float]) -> float:
    return sum(pair) / 2 if kind == "U" else pair[0]


def _most(kind: str, pair: tuple[float, float]) -> int:
    return round(pair[0] + _SIGMAS * pair[1]) if kind == "N" else round(pair[1])


def lengths_of(workload: Workload) -> Lengths:
    """The distribution of a workload: its `lengths`, else fixed at `isl` and `osl`.

    Raises:
        InputError: it has neither, or they cannot be read.
    """
    if workload.lengths is not None:
        return Lengths.parse(workload.lengths)
    if workload.isl is None or workload.osl is None:
        raise InputError.at("workload", "it has no lengths", "isl and osl, or lengths such as D(96,24)")
    isl, osl = round(workload.isl), round(workload.osl)
    return Lengths("D", (isl, isl), (osl, osl)).checked(f"D({isl},{osl})")


def longest(workload: Workload) -> tuple[int, int]:
    """The longest prompt and answer of a workload, tokens. Raises as `lengths_of`."""
    return lengths_of(workload).most()
