"""The fields of a platform in the user's own file: each of the right kind, in the right unit, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfdb.errors import InputError, UnknownNameError
from perfdb.facts.platforms import DTYPES, GIB, GIGA, TERA, PlatformFacts

_KINDS = ("gpu", "tpu", "accelerator", "cpu")
_NAME = re.compile(r"[A-Za-z0-9][\w.+/-]*")


@dataclass(frozen=True, slots=True)
class _Number:
    """A field of a platform: its factor to our unit, and the range outside which it is surely in another unit."""

    scale: float
    least: float
    most: float
    unit: str


_NUMBERS = {
    "memory_gib": _Number(GIB, 0.5, 16384, "GiB"),
    "bandwidth_gb_s": _Number(GIGA, 5, 100_000, "GB/s"),
    "link_gb_s": _Number(GIGA, 0.1, 10_000, "GB/s, one direction"),
    "usd_per_hour": _Number(1.0, 0, 1000, "dollars per device and hour"),
}
_RATE = _Number(TERA, 0.001, 1_000_000, "TFLOP/s, dense")
_OPTIONAL = ("link_gb_s", "usd_per_hour", "vendor", "aliases")
_REQUIRED = ("kind", "memory_gib", "bandwidth_gb_s", "tflops", "source")


def mapping(given: Any, where: str, right: str) -> Mapping[str, Any]:
    """What was given, where it is a mapping from names; `right` says in the error what was wanted.

    Raises:
        InputError: it is no mapping, or a key of it is no name.
    """
    if not isinstance(given, Mapping):
        raise InputError.at(where, f"{given!r} is no mapping", right)
    for name in given:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError.at(where, f"{name!r} is no name", "letters, digits, and . _ + / - between them")
    return given


def known_fields(given: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """Refuse a field that is not one of `names`.

    Raises:
        UnknownNameError: it lists the known ones, the closest first.
    """
    for name in given:
        if name not in names:
            raise UnknownNameError(f"{where}: {UnknownNameError.of('field', name, names)}")


def platform_of(name: str, given: Any, path: Path) -> PlatformFacts:
    """The facts of one platform of the file `path`, in bytes, bytes/s and FLOP/s.

    Raises:
        InputError: a field is missing, of the wrong kind, or outside of what its unit can mean.
        UnknownNameError: a field, a number format or the kind is not known.
    """
    where = f"{path}: platform {name!r}"
    fields = mapping(given, where, f"a mapping with {', '.join(_REQUIRED)}")
    known_fields(fields, (*_REQUIRED, *_OPTIONAL), where)
    for needed in _REQUIRED:
        if needed not in fields:
            raise InputError.at(where, f"field {needed!r} is missing", f"all of {', '.join(_REQUIRED)}")
    numbers = {key: _number(fields[key], unit, where, key) for key, unit in _NUMBERS.items() if key in fields}
    rates = mapping(fields["tflops"], f"{where}: tflops", "a mapping such as {bf16: 989, fp8: 1979}")
    known_fields(rates, DTYPES, f"{where}: tflops")
    if not rates:
        raise InputError.at(f"{where}: tflops", "it is empty", "the dense rate of at least one number format")
    kind = text_of(fields["kind"], where, "kind")
    if kind not in _KINDS:
        raise UnknownNameError(f"{where}: {UnknownNameError.of('kind', kind, _KINDS)}")
    return PlatformFacts(
        name=name,
        vendor=text_of(fields.get("vendor", "unknown"), where, "vendor"),
        kind=kind,
        memory_bytes=numbers["memory_gib"],
        bandwidth_bytes_s=numbers["bandwidth_gb_s"],
        flops={dtype: _number(value, _RATE, f"{where}: tflops", dtype) for dtype, value in rates.items()},
        link_bytes_s=numbers.get("link_gb_s"),
        source=text_of(fields["source"], where, "source"),
        usd_per_hour=numbers.get("usd_per_hour"),
        aliases=_aliases(fields.get("aliases", []), where),
        origin=str(path),
    )


def _number(value: Any, unit: _Number, where: str, name: str) -> float:
    right = f"{name} in {unit.unit}, from {unit.least:g} to {unit.most:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError.at(where, f"field {name!r} is {value!r}, no number", right)
    if not unit.least <= value <= unit.most:
        raise InputError.at(where, f"field {name!r} is {value!r}, which is no value in that unit", right)
    return float(value) * unit.scale


def text_of(value: Any, where: str, name: str) -> str:
    """The text of a field.

    Raises:
        InputError: it is no text, or blank.
    """
    if not isinstance(value, str) or not value.strip():
        raise InputError.at(where, f"field {name!r} is {value!r}", "a text")
    return value.strip()


def _aliases(given: Any, where: str) -> tuple[str, ...]:
    if not isinstance(given, list):
        raise InputError.at(where, f"field 'aliases' is {given!r}", "a list of names")
    return tuple(text_of(alias, where, "aliases") for alias in given)
