"""Input and output lengths, plain or in one of the field's notations."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from perfdb.errors import InputError
from perfdb.importers.table.cells import Floats
from perfdb.importers.table.frame import Frame, Key
from perfdb.lengths import Lengths
from perfdb.metrics import Statistic
from perfdb.texts import Bools, TextColumn

_NUMBER = r"\d+(?:\.\d+)?"
_PAIR = re.compile(rf"^({_NUMBER})\s*[/:x]\s*({_NUMBER})$")
_PREFILL = re.compile(rf"^pp({_NUMBER})(?:\s*@\s*d({_NUMBER}))?$", re.IGNORECASE)
_DECODE = re.compile(rf"^tg({_NUMBER})(?:\s*@\s*d({_NUMBER}))?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CellLengths:
    """Nominal mean lengths in tokens, and the distribution in the field's notation ("" where only one was told)."""

    isl: float
    osl: float
    notation: str = ""


def parse_lengths(text: str) -> CellLengths | None:
    """Read "128/2048", "D(100,1000)", "N(480,240)/(300,150)", "U(1,9)/(1,9)", "pp2048 @ d32768" or "tg128".

    The mean of N is its first number, of U the middle of both. A depth ("@ d") counts as input. None: no such notation.
    """
    plain = text.strip()
    if found := _PAIR.match(plain):
        return CellLengths(float(found[1]), float(found[2]), f"D({found[1]},{found[2]})")
    if found := _PREFILL.match(plain):
        return CellLengths(float(found[1]) + float(found[2] or 0), 0.0)
    if found := _DECODE.match(plain):
        return CellLengths(float(found[2] or 0), float(found[1]))
    try:
        lengths = Lengths.parse(plain)
    except InputError:
        return None
    return CellLengths(lengths.isl, lengths.osl, plain)


def settle_lengths(frame: Frame) -> None:
    """Fill isl, osl and lengths from notations, and from a column that means both at once."""
    both = frame.numbers.pop(("io_len", Statistic.VALUE), None)
    for name in ("isl", "osl"):
        if both is not None:
            _fill(frame, name, both)
            frame.headers.setdefault((name, Statistic.VALUE), frame.headers[("io_len", Statistic.VALUE)])
    for key in (("io_len", Statistic.VALUE), ("isl", Statistic.VALUE), ("osl", Statistic.VALUE)):
        _from_notation(frame, key)
    if "lengths" in frame.texts:
        _read_notation(frame, frame.texts["lengths"], np.ones(frame.n, dtype=bool))


def _fill(frame: Frame, name: str, values: Floats) -> None:
    known = frame.number(name)
    frame.numbers[(name, Statistic.VALUE)] = np.where(np.isnan(known), values, known)


def _from_notation(frame: Frame, key: Key) -> None:
    """A length column may hold "128/2048": cells that are no numbers get a second look."""
    wrong = frame.wrong.get(key)
    if wrong is None or not wrong.any():
        return
    frame.wrong[key] = wrong & ~_read_notation(frame, frame.column(frame.headers[key]), wrong)


def _read_notation(frame: Frame, text: TextColumn, where: Bools) -> Bools:
    """Fill the lengths of the rows in `where` whose text is a notation; answers which were."""
    parsed = {cell: parse_lengths(cell) for cell in set(text.known)}
    is_read = where & text.mask(parsed.get)
    isl = text.numbers(lambda cell: getattr(parsed[cell], "isl", None))
    osl = text.numbers(lambda cell: getattr(parsed[cell], "osl", None))
    _fill(frame, "isl", np.where(is_read, isl, np.nan))
    _fill(frame, "osl", np.where(is_read, osl, np.nan))
    notation = text.map(lambda cell: getattr(parsed[cell], "notation", ""))
    frame.texts["lengths"] = notation.where(is_read & notation.said(), frame.text("lengths"))
    return is_read


def tokens_per_request(frame: Frame, name: str) -> Floats:
    """Tokens per request, `n`, for "isl" or "osl": what was really sent or generated where known, else nominal."""
    real = frame.value({"isl": "input_tokens", "osl": "output_tokens"}[name])
    return np.where(np.isnan(real), frame.number(name), real)
