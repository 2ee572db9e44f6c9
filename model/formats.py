"""What the number formats that a config asks for mean: of the weights, of the KV cache, and the rates that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.checkpoint.architecture import Architecture
from model.dtypes import DTYPES, GGUF_BLOCKS, Dtype, dtype, peak_flops
from model.prediction import Bools, Floats
from perfdb.errors import UnknownNameError
from perfdb.facts.engines import EngineFacts
from perfdb.facts.platforms import PlatformFacts

Roles = dict[str, tuple[npt.NDArray[Any] | None, Any]]
"""Role of a parameter -> the grid's column, if it has one, and the engine's default."""
_SCALED_BY_BLOCK: Mapping[str, str] = {"fp8": "fp8_block", "fp4": "mxfp4"}
"""What a format asked for means where the checkpoint is in it already: nothing is scaled anew."""
_HALVES = ("bf16", "fp16")


@dataclass(frozen=True)
class _Known:
    """What an engine calls formats: a `kind` of name, `words` that it takes, what these are (None: any is taken)."""

    kind: str
    words: tuple[str, ...]
    formats: frozenset[str] | None = None

    def format_of(self, name: Any) -> Dtype:
        """The format of a word.

        Raises:
            UnknownNameError: the engine has no such format.
        """
        try:
            found = dtype(str(name))
        except UnknownNameError:
            raise UnknownNameError.of(self.kind, str(name), self.words) from None
        if self.formats is not None and found.name not in self.formats:
            raise UnknownNameError.of(self.kind, str(name), self.words)
        return found


def _weights_of(engine: EngineFacts) -> _Known:
    has_blocks = engine.name == "llamacpp"
    names = tuple(name for name in DTYPES if name in _HALVES or (name in GGUF_BLOCKS) == has_blocks)
    return _Known("number format", names)


def _caches_of(engine: EngineFacts) -> _Known:
    """The words of an engine's own list; each also takes 16 bits by either name, as collections of runs write them."""
    told = next((each for each in engine.parameters.values() if each.role == "kv_dtype" and each.values), None)
    if told is None:
        return _weights_of(engine)
    formats = {dtype(word).name for word in told.values if word != "auto"}
    return _Known(f"KV cache dtype of {engine.name}", told.values, frozenset({*formats, *_HALVES}))


def in_formats(
    roles: Roles, share: Floats, engine: EngineFacts, platform: PlatformFacts, architecture: Architecture
) -> dict[str, Any]:
    """What the number formats of weights and KV cache decide, for n rows that use a `share` (`n`) of the device.

    Raises:
        UnknownNameError: the engine has no such format.
    """
    weights, weight_row = _formats(roles.get("weight_dtype"), architecture.dtype, len(share), _weights_of(engine))
    has_scales = np.array([item.name in engine.fp8_cache_of for item in weights])[weight_row]
    caches, cache_row = _cache_formats(roles.get("kv_dtype"), _half(architecture.dtype), has_scales, _caches_of(engine))
    sizes = np.array([architecture.bytes_per_weight(item.name) for item in weights])[weight_row]
    return {
        "layer_bytes": np.ascontiguousarray(sizes[:, 0]),
        "head_bytes": np.ascontiguousarray(sizes[:, 1]),
        "kv_bytes": np.array([item.bytes for item in caches])[cache_row],
        "gemm_flops": np.array([peak_flops(platform.flops, item) for item in weights])[weight_row] * share,
        "attention_flops": peak_flops(platform.flops, dtype("bf16")) * share,
        "weight_names": tuple(item.name for item in weights),
        "cache_names": tuple(item.name for item in caches),
        "weight_row": weight_row,
        "cache_row": cache_row,
    }


def _half(number_format: str) -> str:
    return "fp32" if number_format == "fp32" else "bf16"


def _formats(
    found: tuple[npt.NDArray[Any] | None, Any] | None, own: str, n: int, known: _Known
) -> tuple[list[Dtype], npt.NDArray[np.int64]]:
    """The distinct formats and each row's index into them. "auto" and None: the checkpoint's own."""
    column, default = found or (None, None)
    if column is None:
        return [_format(default, own, known)], np.zeros(n, np.int64)
    names = column.tolist()
    distinct = {name: index for index, name in enumerate(dict.fromkeys(names))}
    formats = [_format(default if name is None else name, own, known) for name in distinct]
    return formats, np.array([distinct[name] for name in names], np.int64)


def _cache_formats(
    found: tuple[npt.NDArray[Any] | None, Any] | None, own: str, has_scales: Bools, known: _Known
) -> tuple[list[Dtype], npt.NDArray[np.int64]]:
    """As `_formats`; but "auto" is fp8 where the checkpoint has scales for it (`has_scales`, `n`)."""
    formats, rows = _formats(found, own, len(has_scales), known)
    if not has_scales.any():
        return formats, rows
    scaled, _ = _formats(found, "fp8", len(has_scales), known)
    if has_scales.all():
        return scaled, rows
    return [*formats, *scaled], np.where(has_scales, rows + len(formats), rows)


def _format(name: Any, own: str, known: _Known) -> Dtype:
    if name is None or name in {"auto", "none", ""}:
        return dtype(own)
    is_own = isinstance(name, str) and own == _SCALED_BY_BLOCK.get(name.strip().lower())
    return dtype(own) if is_own else known.format_of(name)
