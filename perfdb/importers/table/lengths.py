"""Input and output lengths, plain or in one of the field's notations."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from perfdb.errors import InputError
from perfdb.importers.table.cells import Bools, Floats, Texts, factorize
from perfdb.importers.table.frame import Frame, Key
from perfdb.lengths import Lengths
from perfdb.metrics import Statistic

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
    header = frame.headers[key]
    text = next(column.text for column in frame.columns if column.header == header)
    frame.wrong[key] = wrong & ~_read_notation(frame, text, wrong)


def _read_notation(frame: Frame, text: Texts, where: Bools) -> Bools:
    """Fill the lengths of the rows in `where` whose text is a notation; answers which were."""
    codes, uniques = factorize(text)
    parsed = [parse_lengths(cell) for cell in uniques]
    is_read: Bools = where & np.array([lengths is not None for lengths in parsed], dtype=bool)[codes]
    for name in ("isl", "osl"):
        numbers = np.array([getattr(lengths, name) if lengths else np.nan for lengths in parsed], dtype=np.float64)
        _fill(frame, name, np.where(is_read, numbers[codes], np.nan))
    notations = np.array([lengths.notation if lengths else "" for lengths in parsed], dtype=object)[codes]
    frame.texts["lengths"] = np.where(is_read & (notations != ""), notations, frame.text("lengths"))
    return is_read
