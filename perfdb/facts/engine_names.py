"""How users and result files name an engine, its version, and the libraries whose kernels stand beside engines'."""

from __future__ import annotations

import re

from perfdb.errors import InputError
from perfdb.facts.engines import engine

_NEWEST = "latest"


def name_and_version(text: str) -> tuple[str, str | None]:
    """What "vllm:0.24.0" says: the engine as it is spelled, and its version; None for the newest ("vllm:latest").

    Raises:
        InputError: nothing, or nothing with a digit, follows the colon.
    """
    name, colon, version = (part.strip() for part in text.partition(":"))
    if not colon or version.lower() == _NEWEST:
        return name, None
    if not any(letter.isdigit() for letter in version):
        raise InputError.at(
            f"engine {text!r}", f"the version is {version!r}", f"{name}, {name}:0.24.0 or {name}:latest"
        )
    return name, re.sub(r"^v(?=\d)", "", version)


LIBRARIES = frozenset({"nccl", "numpy", "oneccl", "rccl", "torch"})
"""Whose kernels operation tables may hold beside those of engines."""


def kernels_of(name: str) -> str:
    """Whose kernels `name` means: an engine by name or alias, or one of `LIBRARIES`.

    Raises:
        UnknownNameError: neither is called so.
    """
    word = name.strip().lower()
    return word if word in LIBRARIES else engine(name).name
