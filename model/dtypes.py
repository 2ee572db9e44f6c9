"""Number formats: bytes per element, and in which format the multiplications run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from perfdb.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Dtype:
    """One number format. `bytes` per element include the scales of its blocks; `compute` lists the formats in which its
    products can be formed, best first: the first one that a platform has a rate for is taken."""

    name: str
    bytes: float
    compute: tuple[str, ...]


_HALF = ("bf16", "fp16", "fp32")
_GGUF = ("int8", *_HALF)
# Bits per weight. Block formats: ggml-common.h of llama.cpp (Q4_0 is 18 bytes for 32 weights); the mixtures ending in
# _S, _M and _L: llama.cpp's quantize README, Llama-3.1-8B.
_GGUF_BITS = {
    "q8_0": 8.5, "q6_k": 6.5625, "q5_1": 6.0, "q5_0": 5.5, "q5_k_m": 5.70, "q5_k_s": 5.57, "q5_k": 5.5,
    "q4_1": 5.0, "q4_0": 4.5, "q4_k_m": 4.89, "q4_k_s": 4.67, "q4_k": 4.5, "q3_k_l": 4.43, "q3_k_m": 4.0,
    "q3_k_s": 3.64, "q3_k": 3.4375, "q2_k": 3.16, "iq4_nl": 4.5, "iq4_xs": 4.46,
}  # fmt: skip
GGUF_BLOCKS = frozenset(_GGUF_BITS)
"""Formats that only files of llama.cpp are in."""
_ALL = (
    Dtype("fp32", 4.0, ("fp32",)),
    Dtype("bf16", 2.0, _HALF),
    Dtype("fp16", 2.0, ("fp16", "bf16", "fp32")),
    Dtype("fp8", 1.0, ("fp8", *_HALF)),
    # one 32-bit scale for each 128 x 128 weights: other kernels than those of a scale per tensor or channel
    Dtype("fp8_block", 1.0, ("fp8", *_HALF)),
    Dtype("int8", 1.0, ("int8", *_HALF)),
    # weights of 4 bits with one 16-bit scale and a zero point for each 128, multiplied in 16 bits
    Dtype("int4", 0.53, _HALF),
    Dtype("int8_wo", 1.0, _HALF),
    Dtype("int4_fp8", 0.53, ("fp8", *_HALF)),
    Dtype("nvfp4", 0.5625, ("fp4", "nvfp4", "fp8", *_HALF)),
    Dtype("mxfp4", 0.53125, ("fp4", "nvfp4", "fp8", *_HALF)),
    Dtype("nvfp4_wo", 0.5625, _HALF),
    Dtype("mxfp4_mxfp8", 0.53125, ("fp8", *_HALF)),
    *(Dtype(name, bits / 8, _GGUF) for name, bits in _GGUF_BITS.items()),
)
_ALIASES = {
    "float32": "fp32", "f32": "fp32", "bfloat16": "bf16", "float16": "fp16", "f16": "fp16", "half": "fp16",
    "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "fp8_static": "fp8", "modelopt": "fp8", "fbgemm_fp8": "fp8",
    "compressed-tensors": "fp8", "w8a8_fp8": "fp8", "w8a8": "int8", "w8a8_int8": "int8", "smoothquant": "int8",
    "awq": "int4", "gptq": "int4", "awq_marlin": "int4", "gptq_marlin": "int4", "bitsandbytes": "int4",
    "w4a16": "int4", "w4a16_awq": "int4", "auto-round": "int4", "modelopt_fp4": "nvfp4", "fp4": "nvfp4",
    "w4afp8": "int4_fp8", "fp4_e2m1": "mxfp4",
}  # fmt: skip
DTYPES: Mapping[str, Dtype] = {dtype.name: dtype for dtype in _ALL}


@lru_cache(maxsize=256)
def dtype(name: str) -> Dtype:
    """Look a number format up by its name or one of its synonyms, whatever the case.

    Raises:
        UnknownNameError: no format is called so.
    """
    key = name.strip().lower()
    try:
        return DTYPES[_ALIASES.get(key, key)]
    except KeyError:
        raise UnknownNameError.of("number format", name, DTYPES) from None


def peak_flops(flops: Mapping[str, float], number_format: Dtype) -> float:
    """FLOP/s of a platform (rates by format) for products of `number_format`; its fastest rate as a last resort."""
    rate = next((flops[name] for name in number_format.compute if name in flops), None)
    return rate if rate is not None else max(flops.values())
