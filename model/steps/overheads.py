"""What an engine adds to the kernels of its steps, and to its requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.checkpoint.architecture import Architecture
from model.prediction import Floats


@dataclass(frozen=True, slots=True)
class Overheads:
    """Seconds that an engine adds: per request (HTTP, queue), output token, layer and step, sequence and step, step."""

    request_s: float
    token_s: float
    layer_s: float
    sequence_s: float
    step_s: float

    @property
    def between_kernels(self) -> Overheads:
        """The same without what it adds to each layer, for steps whose small kernels are counted by themselves."""
        return Overheads(self.request_s, self.token_s, 0.0, self.sequence_s, self.step_s)


# A published joint fit to vLLM on H100: 15.6 ms per request, 46 µs per token, 32 µs per layer, 4.4 µs per sequence,
# 126 µs per step. Several change sign between GPUs: the learned residual has the last word.
_VLLM = Overheads(15.6e-3, 46e-6, 32e-6, 4.4e-6, 126e-6)
# llama.cpp's server on 2 CPU cores, 45 M parameters in Q4_0: steps of 1, 4 and 8 sequences took 6.7, 11.7 and 18.2 ms.
_LLAMA_CPP = Overheads(4e-3, 0.1e-3, 20e-6, 0.4e-3, 1e-3)
OVERHEADS: Mapping[str, Overheads] = {"vllm": _VLLM, "sglang": _VLLM, "trtllm": _VLLM, "llamacpp": _LLAMA_CPP}


_EAGER_LAYER_S = 0.3e-3


def launching_s(model: Architecture, eager: Floats) -> Floats:
    """Seconds in which a host launches the kernels of one step without CUDA graphs (`eager` 1), 0 with them; `n`.

    0.3 ms a layer, a prior: published single-sequence steps took 0.26 (Llama-3.1-8B, H100) to 0.8 ms (7B, A800).
    """
    return eager * _EAGER_LAYER_S * model.layers


def overheads(engine: str) -> Overheads:
    """The priors of an engine, vLLM's for one that is not known."""
    return OVERHEADS.get(engine, _VLLM)
