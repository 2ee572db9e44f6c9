"""Compiled kernels, kept on disk under a name that changes with any of their sources.

Numba itself looks only at the file of the outermost function: a kernel that calls one of another file would go on
with what that was when it was compiled. Every kernel takes `njit` from here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from numba import config, njit

from perfdb.kept import cache_folder

__all__ = ["inner_njit", "njit"]

_ROOMS = ("model", "search")
_KEPT = 4
"""Compiled states that are kept: of as many versions or checkouts."""


def _sources() -> str:
    """A digest of all files that hold kernels."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            text = path.read_bytes()
            if b"njit" in text or b"@loop" in text:
                digest.update(text)
    return digest.hexdigest()[:16]


def _folder() -> Path | None:
    """Where compiled kernels of these sources are kept, None where nothing can be written."""
    try:
        kernels = cache_folder("kernels")
        folder = kernels / _sources()
        if not folder.is_dir():
            folder.mkdir(parents=True)
            others = sorted(kernels.iterdir(), key=lambda path: path.stat().st_mtime)
            for old in others[:-_KEPT]:
                shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return None
    return folder


if not os.environ.get("NUMBA_CACHE_DIR"):
    found = _folder()
    if found is not None:
        config.CACHE_DIR = str(found)

inner_njit = njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""For kernels that only kernels call: what it takes to call them from Python is not compiled."""
