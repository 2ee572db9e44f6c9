"""One JSON object to one record: what is known gets its canonical name, everything else is kept as "extra.NAME"."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from perfdb.errors import UnknownNameError
from perfdb.facts.platforms import platform
from perfdb.importers.documents import flat

_TRADE_NAMES = re.compile(r"\((r|tm)\)|\b(tesla|\d+-core processor|cpu)\b|@.*$", re.IGNORECASE)


def part(document: Any, name: str) -> Mapping[str, Any]:
    """The object under `name`, empty where there is none."""
    found = document.get(name) if isinstance(document, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def renamed(document: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """{canonical name: value} of the names (own -> canonical) under which the object holds a scalar."""
    found = {names[own]: document[own] for own in names if own in document}
    return {name: value for name, value in found.items() if isinstance(value, str | int | float | bool)}


def aside(document: Mapping[str, Any], known: Collection[str] = (), under: str = "") -> dict[str, Any]:
    """The object without its `known` names, flattened, as extra.NAME or extra.UNDER.NAME; lists are left out."""
    prefix = f"extra.{under}." if under else "extra."
    rest = {name: value for name, value in document.items() if name not in known}
    return {f"{prefix}{name}": value for name, value in flat(rest).items()}


def known_device(text: Any) -> str | None:
    """The text, without trade marks, if a platform of that very name is known; None if its name says more or other.

    "NVIDIA GeForce RTX 4090 Laptop GPU" is no RTX 4090, although it starts like one.
    """
    plain = " ".join(_TRADE_NAMES.sub(" ", str(text)).split())
    try:
        return plain if platform(plain).kind else None
    except UnknownNameError:
        return None
