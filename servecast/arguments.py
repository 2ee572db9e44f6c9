"""Arguments of Python functions, whose types nobody has checked: each one right, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real

from perfdb.errors import InputError
from perfdb.records import Scalar

_MOST = 1e9


def text(name: str, value: object) -> str:
    """A name or an expression.

    Raises:
        InputError: it is no text.
    """
    if not isinstance(value, str):
        raise InputError.at(name, f"{value!r} is no text", "a string")
    return value


def number(name: str, value: object) -> float:
    """A number above 0.

    Raises:
        InputError: it is no number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) <= _MOST:
        raise InputError.at(name, f"{value!r}", f"a number above 0 and up to {_MOST:.0e}")
    return float(value)


def count(name: str, value: object) -> int:
    """A whole number from 1 on.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= int(value) <= _MOST:
        raise InputError.at(name, f"{value!r}", "a whole number, at least 1")
    return int(value)


def shared(name: str, value: object, isl: float) -> float:
    """Tokens that prompts of `isl` tokens have in common, fewer than these.

    Raises:
        InputError: it is no number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < isl:
        raise InputError.at(name, f"{value!r}", f"a number from 0 to less than isl, {isl:g}")
    return float(value)


def checked_config(name: str, value: object) -> Mapping[str, Scalar]:
    """Parameters and their values, which are numbers, texts, booleans or None.

    Raises:
        InputError: it is no mapping of these.
    """
    if not isinstance(value, Mapping):
        raise InputError.at(name, f"{value!r} is no mapping", 'parameters and values such as {"tp": 2}')
    found: dict[str, Scalar] = {}
    for key, given in value.items():
        if not isinstance(given, bool | Real | str | None):
            raise InputError.at(f"{name} {key}", f"{given!r}", "one value: a number, a text, a boolean or None")
        found[text(name, key)] = _plain(given)
    return found


def _plain(value: bool | Real | str | None) -> Scalar:
    """A value without the types that numpy and others have for numbers."""
    if value is None or isinstance(value, bool | str | int | float):
        return value
    return int(value) if isinstance(value, Integral) else float(value)
