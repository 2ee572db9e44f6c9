"""Weighted mixes of lengths, as task and workload files list them: each request is of one part, by weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from perfdb.errors import InputError
from perfdb.lengths import Lengths, check_shares

Weight = Annotated[float, Field(gt=0, lt=1e12)]


class PartSpec(BaseModel):
    """One part of a mix: its weight, in whatever unit all have, and its lengths."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: Weight
    lengths: str


def mixed(parts: Sequence[PartSpec]) -> Lengths:
    """The lengths of a mix.

    Raises:
        InputError: those of a part cannot be read, or weights that look like shares are none.
    """
    check_shares("mix", [part.weight for part in parts])
    return Lengths.mixed((part.weight, Lengths.parse(part.lengths)) for part in parts)


def without_files(parts: object, where: str, lengths_in: Callable[[str], Lengths]) -> object:
    """A mix as it is written, with the lengths of each workload file that it names in the file's place.

    Raises:
        InputError: a part has both, or what it names is no path; and what `lengths_in` raises.
    """
    if not isinstance(parts, list):
        return parts
    found: list[object] = []
    for number, part in enumerate(parts, 1):
        if not isinstance(part, dict) or "workload" not in part:
            found.append(part)
            continue
        place, name = f"{where}, part {number}", part["workload"]
        if "lengths" in part:
            raise InputError.at(place, "lengths beside workload", "one of both")
        if not isinstance(name, str):
            raise InputError.at(f"{place}: workload", f"{name!r} is no path", "a workload file")
        others = {field: value for field, value in part.items() if field != "workload"}
        found.append({**others, "lengths": str(lengths_in(name))})
    return found
