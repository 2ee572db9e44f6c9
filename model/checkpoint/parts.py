"""The parts of a model whose weights may be in number formats of their own, and what those usually are."""

from __future__ import annotations

from model.dtypes import dtype

ATTENTION = "attention"
LINEAR_ATTENTION = "linear_attention"
DENSE_MLP = "mlp"
SHARED_EXPERTS = "shared_experts"
ROUTER = "router"
EXPERTS = "experts"
HEAD = "head"
QUANTISED = (ATTENTION, LINEAR_ATTENTION, DENSE_MLP, SHARED_EXPERTS, EXPERTS)
"""Parts that a checkpoint may have in fewer bits; a router never is, an output matrix hardly ever."""
_WHOLE_BYTES = 2.0


def usual_format(number_format: str, part: str, is_mixture: bool) -> str:
    """The format of a part of a checkpoint that is said to be in `number_format`, and says nothing of the part.

    Of mixtures of experts, those in NVFP4 leave attention in 16 bits (github.com/NVIDIA/Model-Optimizer/issues/150,
    sgl-project/sglang pull requests 18189, 22618), those in MXFP4 all but the experts (openai/gpt-oss-120b), and those
    with 4-bit experts beside 8-bit activations have the rest in block-scaled FP8 (W4AFP8 of DeepSeek-R1).

    Raises:
        UnknownNameError: no such number format.
    """
    known = dtype(number_format)
    if known.bytes >= _WHOLE_BYTES:
        return known.name
    if part in {ROUTER, HEAD}:
        return "bf16"
    if not is_mixture or part == EXPERTS:
        return known.name
    if known.name == "mxfp4" or (known.name == "nvfp4" and part in {ATTENTION, LINEAR_ATTENTION}):
        return "bf16"
    return "fp8_block" if known.name == "int4_fp8" else known.name
