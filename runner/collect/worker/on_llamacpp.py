"""llama.cpp's own kernels (ggml) on this CPU, called in the shared library of the package xllamacpp.

Weights lie where llama.cpp puts them: repacked where it has a layout for this processor. Activations are fp32, and a
product quantises them itself. Attention is flash attention over keys and values in fp16, with a mask.
"""

from __future__ import annotations

import array
import ctypes
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from typing import Any

Run = Callable[[int], float]
_BLOCK = 2**16
_MOST_COPIES = 128
_TYPES = {"fp32": 0, "fp16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}
"""enum ggml_type of ggml.h."""
_FP32, _FP16 = _TYPES["fp32"], _TYPES["fp16"]
_UNSEEN = b"\x00\xfc"
"""Minus infinity in fp16."""
_BLOCKS_OF = {"q4_0": 32, "q8_0": 32}
_ENV = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "GGML_NO_BACKTRACE": "1"}
"""As servers of llama.cpp are started here; and no debugger is called where it aborts."""
_HOW = """Products quantise their activations themselves, which is part of the time; weights are repacked where
llama.cpp has a layout for this processor ("mul_mat_repacked"). Attention is flash_attn_ext over keys and values in fp16
with a mask. A repeat computes graphs of one operation for each copy."""
_EXTRA = b"ggml_backend_dev_get_extra_bufts"
_P, _I, _L, _S, _F = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_float


class _Params(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = (("mem_size", _S), ("mem_buffer", _P), ("no_alloc", ctypes.c_bool))


_FUNCTIONS: Mapping[str, tuple[Any, ...]] = {
    "ggml_init": (_P, _Params),
    "ggml_free": (None, _P),
    "ggml_tensor_overhead": (_S,),
    "ggml_graph_overhead_custom": (_S, _S, ctypes.c_bool),
    "ggml_new_tensor_4d": (_P, _P, _I, _L, _L, _L, _L),
    "ggml_new_graph_custom": (_P, _P, _S, ctypes.c_bool),
    "ggml_build_forward_expand": (None, _P, _P),
    "ggml_mul_mat": (_P, _P, _P, _P),
    "ggml_flash_attn_ext": (_P, _P, _P, _P, _P, _P, _F, _F, _F),
    "ggml_nbytes": (_S, _P),
    "ggml_row_size": (_S, _I, _L),
    "ggml_quantize_chunk": (_S, _I, _P, _P, _L, _L, _L, _P),
    "ggml_backend_cpu_init": (_P,),
    "ggml_backend_cpu_reg": (_P,),
    "ggml_backend_cpu_set_n_threads": (None, _P, _I),
    "ggml_backend_reg_dev_get": (_P, _P, _S),
    "ggml_backend_reg_get_proc_address": (_P, _P, ctypes.c_char_p),
    "ggml_backend_alloc_ctx_tensors": (_P, _P, _P),
    "ggml_backend_alloc_ctx_tensors_from_buft": (_P, _P, _P),
    "ggml_backend_supports_op": (ctypes.c_bool, _P, _P),
    "ggml_backend_tensor_set": (None, _P, ctypes.c_char_p, _S, _S),
    "ggml_backend_graph_compute": (_I, _P, _P),
    "ggml_backend_buffer_free": (None, _P),
    "llama_print_system_info": (ctypes.c_char_p,),
}
"""What is called: the type of the result, then those of the arguments."""


def open_library(
    device: str, threads: int, cold_bytes: int, _clock: object
) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], tuple[str, Run]]]:
    """What llama.cpp is here, and how a case becomes the kernel's name and what times it.

    Raises:
        ImportError: there is no xllamacpp. RuntimeError: the device is no CPU, or the library has other functions.
    """
    if device != "cpu":
        raise RuntimeError("llamacpp is measured on CPUs only; expected --library torch for other devices")
    os.environ.update(_ENV)
    ggml = _bound(ctypes.CDLL(str(import_module("xllamacpp.xllamacpp").__file__)))
    kernels = _Kernels(ggml, threads, cold_bytes)
    about = {
        "version": f"xllamacpp {metadata.version('xllamacpp')}",
        "build": ggml.llama_print_system_info().decode().strip(" |"),
        "formats": {"gemm": list(_TYPES), "context_attention": ["fp16"], "generation_attention": ["fp16"]},
        "usual": ["fp16", "q8_0", "q4_0"],
        "how": _HOW,
    }
    return about, kernels.prepare


def _bound(library: Any) -> Any:
    for name, (result, *arguments) in _FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise RuntimeError(f"this xllamacpp has no function {name}; expected another version") from error
        function.restype, function.argtypes = result, arguments
    return library


class _Kernels:
    """Graphs of one case at a time: the memory of the one before is given back."""

    def __init__(self, ggml: Any, threads: int, cold_bytes: int) -> None:
        self.ggml, self.cold_bytes = ggml, cold_bytes
        self.backend = ggml.ggml_backend_cpu_init()
        ggml.ggml_backend_cpu_set_n_threads(self.backend, threads)
        drawn = random.Random(0)
        self.numbers = array.array("f", (drawn.gauss(0.0, 1.0) for _ in range(_BLOCK)))
        self._contexts: list[int] = []
        self._buffers: list[int] = []

    def prepare(self, case: Mapping[str, Any]) -> tuple[str, Run]:
        """The kernel's name and what times it."""
        self._free()
        return self._gemm(case) if case["op"] == "gemm" else self._attention(case)

    def _free(self) -> None:
        for buffer in self._buffers:
            self.ggml.ggml_backend_buffer_free(buffer)
        for context in self._contexts:
            self.ggml.ggml_free(context)
        self._buffers, self._contexts = [], []

    def _gemm(self, case: Mapping[str, Any]) -> tuple[str, Run]:
        m, n, k = case["m"], case["n"], case["k"]
        kind, block = _TYPES[case["dtype"]], _BLOCKS_OF.get(case["dtype"], 1)
        if k % block:
            raise ValueError(f"k is no multiple of the {block} weights of a block")
        copies = 1 + min(self.cold_bytes // (n * self.ggml.ggml_row_size(kind, k)), _MOST_COPIES)
        for place in (*self._extra_places(), None):
            held, made = self._context(copies), self._context(copies + 1)
            weights = [self._tensor(held, kind, k, n) for _ in range(copies)]
            self._allocate(held, place)
            left = self._tensor(made, _FP32, k, m)
            products = [self.ggml.ggml_mul_mat(made, right, left) for right in weights]
            if place is None or self.ggml.ggml_backend_supports_op(self.backend, products[0]):
                break
            self._free()
        self._allocate(made, None)
        self._fill([left], _FP32, k)
        self._fill(weights, kind, k)
        return "mul_mat" if place is None else "mul_mat_repacked", self._timed(products)

    def _extra_places(self) -> list[int]:
        """Where weights lie otherwise than as rows, best first."""
        register = self.ggml.ggml_backend_cpu_reg()
        address = self.ggml.ggml_backend_reg_get_proc_address(register, _EXTRA)
        if not address:
            return []
        listed = ctypes.CFUNCTYPE(ctypes.POINTER(_P), _P)(address)(self.ggml.ggml_backend_reg_dev_get(register, 0))
        places: list[int] = []
        while listed and listed[len(places)]:
            places.append(listed[len(places)])
        return places

    def _attention(self, case: Mapping[str, Any]) -> tuple[str, Run]:
        batch, isl, seen, width = case["batch_size"], case["isl"], case["prefix"] + case["isl"], case["head_dim"]
        size = 4 * batch * seen * case["kv_heads"] * width
        copies = 1 + min(self.cold_bytes // size, _MOST_COPIES)
        made = self._context(3 * copies + 2)
        queries = self._tensor(made, _FP32, width, isl, case["heads"], batch)
        mask = self._tensor(made, _FP16, seen, isl)
        shape = (width, seen, case["kv_heads"], batch)
        cached = [(self._tensor(made, _FP16, *shape), self._tensor(made, _FP16, *shape)) for _ in range(copies)]
        scale = 1.0 / math.sqrt(width)
        attended = [
            self.ggml.ggml_flash_attn_ext(made, queries, keys, values, mask, scale, 0.0, 0.0) for keys, values in cached
        ]
        self._allocate(made, None)
        self._fill([queries], _FP32, width)
        self._fill([tensor for pair in cached for tensor in pair], _FP16, width)
        rows = b"".join(bytes(2 * (row + 1)) + _UNSEEN * (seen - row - 1) for row in range(case["prefix"], seen))
        self.ggml.ggml_backend_tensor_set(mask, rows, 0, len(rows))
        return "flash_attn_ext", self._timed(attended)

    def _context(self, tensors: int) -> int:
        room = (2 * tensors + 2) * self.ggml.ggml_tensor_overhead()
        room += self.ggml.ggml_graph_overhead_custom(2 * tensors + 2, False)
        context: int = self.ggml.ggml_init(_Params(room, None, True))
        self._contexts.append(context)
        return context

    def _tensor(self, context: int, kind: int, *shape: int) -> int:
        made: int = self.ggml.ggml_new_tensor_4d(context, kind, *shape, *(1,) * (4 - len(shape)))
        return made

    def _allocate(self, context: int, place: int | None) -> None:
        if place is None:
            buffer = self.ggml.ggml_backend_alloc_ctx_tensors(context, self.backend)
        else:
            buffer = self.ggml.ggml_backend_alloc_ctx_tensors_from_buft(context, place)
        if not buffer:
            raise MemoryError("not enough memory")
        self._buffers.append(buffer)

    def _fill(self, tensors: Sequence[int], kind: int, width: int) -> None:
        """Each with one block of normal numbers, again and again."""
        rows = max(_BLOCK // width, 1)
        numbers = (self.numbers * math.ceil(rows * width / _BLOCK))[: rows * width]
        block = ctypes.create_string_buffer(rows * self.ggml.ggml_row_size(kind, width))
        self.ggml.ggml_quantize_chunk(kind, numbers.buffer_info()[0], block, 0, rows, width, None)
        size = self.ggml.ggml_nbytes(tensors[0])
        filled = (block.raw * math.ceil(size / len(block)))[:size]
        for tensor in tensors:
            self.ggml.ggml_backend_tensor_set(tensor, filled, 0, size)

    def _timed(self, operations: Sequence[int]) -> Run:
        graph = self.ggml.ggml_new_graph_custom(self._contexts[-1], 2 * len(operations) + 2, False)
        for operation in operations:
            self.ggml.ggml_build_forward_expand(graph, operation)

        def run(times: int) -> float:
            rounds = math.ceil(times / len(operations))
            start = time.perf_counter()
            for _ in range(rounds):
                if self.ggml.ggml_backend_graph_compute(self.backend, graph):
                    raise RuntimeError("the graph was not computed")
            return (time.perf_counter() - start) / (rounds * len(operations))

        return run
