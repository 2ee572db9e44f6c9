"""Compiled kernels, kept on disk under a name that changes with any of their sources.

Numba itself looks only at the file of the outermost function: a kernel that calls one of another file would go on
with what that was when it was compiled. And processes that need one kernel at the same time would all compile it: here
one does, and the others wait for it. Every kernel takes `njit` from here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numba
from numba import config
from numba.core.caching import FunctionCache

from perfdb.kept import cache_folder

__all__ = ["inner_njit", "is_kept", "njit", "outer_njit"]

_ROOMS = ("model", "search")
_KEPT = 4
"""Compiled states that are kept: of as many versions or checkouts."""
_MOST_WAITED_S, _POLLED_S = 120.0, 0.05
"""For how long a process waits for another that compiles: no kernel takes so long, but it may have been interrupted."""


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


def is_kept(kernel: Any) -> bool:
    """Whether a kernel was compiled before, by this process or another: else its first call takes a while."""
    folder = kernel.stats.cache_path
    if kernel.signatures or folder is None:
        return bool(kernel.signatures)
    return any(Path(folder).glob(f"*.{kernel.__name__}-*.nbi"))


class _CompiledOnce:
    """Numba's cache of one kernel; who finds nothing in it holds a lock until the kernel is compiled and kept."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._kept = FunctionCache(function)
        self._path = Path(self._kept.cache_path) / f"{function.__module__}.{function.__qualname__}.lock"
        self._lock: int | None = None

    def __getattr__(self, name: str) -> Any:
        """What else numba asks of a cache."""
        return getattr(self._kept, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was kept for a signature, by now; with None the caller compiles it."""
        found = self._kept.load_overload(sig, target_context)
        if found is None and self._lock is None:
            self._lock = _locked(self._path)
            found = self._kept.load_overload(sig, target_context)
            if found is not None:
                self._release()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled."""
        self._kept.save_overload(sig, data)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _locked(path: Path) -> int | None:
    """An open file that only this process has locked; None where none can be, or another keeps it for too long."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:
        return None
    deadline = time.monotonic() + _MOST_WAITED_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_POLLED_S)
        else:
            return file
    os.close(file)
    return None


def njit(signature: str | Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """`numba.njit`; with `cache=True` one process compiles the function and others wait for what it keeps."""
    if callable(signature):
        return _kernel(signature, None, options)
    return partial(_kernel, signature=signature, options=options)


def _kernel(function: Callable[..., Any], signature: str | None, options: Mapping[str, Any]) -> Any:
    kernel = numba.njit(**options)(function)
    if options.get("cache"):
        kernel._cache = _CompiledOnce(function)
    if signature is not None:
        kernel.compile(signature)
        kernel.disable_compile()
    return kernel


_OUTER = {"cache": True, "error_model": "numpy"}
_INNER = {**_OUTER, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def outer_njit(function: Callable[..., Any], /) -> Any:
    """A kernel of which Python calls only this, and this others; dividing by zero answers as numpy does."""
    return njit(function, **_OUTER)


def inner_njit(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """A kernel that only kernels call: what calls it from Python, often more than itself, is not compiled."""
    return njit(function, **{**_INNER, **options})
