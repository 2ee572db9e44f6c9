"""PyTorch's kernels on this CPU or on the first CUDA device.

Products are those of nn.Linear: the weights lie as n×k. Attention is `scaled_dot_product_attention` with fewer KV heads
than query heads; in generation the queries that share a KV head are the rows of one product, as serving engines have
them. On CUDA the executions of a repeat are replays of a CUDA graph between two events (a loop between them where a
call cannot be captured: "_eager"), on a CPU a loop by the host's clock.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

_BLOCK = 2**16
_MOST_COPIES = 128
_GRAPH_WARM_UP = 3
_NAMES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp8": "float8_e4m3fn", "int8": "int8"}
_WITH_FP8 = (8, 9)
_CLOCKS = "clocks.sm,clocks.max.sm,clocks.mem,power.limit,driver_version"
_CLOCKS_S = 20.0
_HOW = """Products are those of a linear layer (weights n×k), in fp8 with one scale for each matrix, in int8 with 32-bit
sums; quantising is not in them. Attention is scaled_dot_product_attention with fewer KV heads than query heads;
generation has the queries of a KV head as rows of one product."""

Call = Callable[[], object]
Run = Callable[[int], float]
Clock = Callable[[Sequence[Call]], Run]


def open_library(
    device: str, threads: int, cold_bytes: int, clock: Clock
) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], tuple[str, Run]]]:
    """What torch is here, and how a case becomes the kernel's name and what times it.

    Raises:
        ImportError: there is no torch. RuntimeError: it sees no such device.
    """
    torch: Any = import_module("torch")
    torch.set_grad_enabled(False)
    if device == "cpu":
        torch.set_num_threads(threads)
        about = {
            "build": torch.backends.cpu.get_cpu_capability(),
            "formats": _formats("bf16", "fp16", "fp32", "int8"),
            "usual": ["bf16", "fp32", "int8"],
        }
    else:
        about, cold_bytes = _cuda(torch)
    kernels = _Kernels(torch, device, cold_bytes)

    def prepare(case: Mapping[str, Any]) -> tuple[str, Run]:
        kernel, calls = kernels.of(case)
        return (kernel, clock(calls)) if device == "cpu" else by_events(torch, kernel, calls)

    return {"version": torch.__version__, "how": _HOW, **about}, prepare


def _formats(*gemm: str) -> dict[str, list[str]]:
    half = [name for name in gemm if name in {"bf16", "fp16"}]
    return {"gemm": list(gemm), "context_attention": half, "generation_attention": half}


def _cuda(torch: Any) -> tuple[dict[str, Any], int]:
    """What the device says of itself, and twice its cache."""
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} sees no CUDA device; expected one, or --device cpu")
    facts, capability = torch.cuda.get_device_properties(0), torch.cuda.get_device_capability(0)
    fp8 = ["fp8"] if capability >= _WITH_FP8 else []
    about = {
        "device": torch.cuda.get_device_name(0),
        "build": "CUDA {}, cuDNN {}, sm_{}{}".format(torch.version.cuda, torch.backends.cudnn.version(), *capability),
        "clocks": _clocks(),
        "formats": _formats("bf16", "fp16", "fp32", *fp8, "int8"),
        "usual": ["bf16", *fp8],
    }
    return about, 2 * int(facts.L2_cache_size)


def _clocks() -> str:
    """What nvidia-smi says of clocks and power, "" where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    asked = [program, f"--query-gpu={_CLOCKS}", "--format=csv", "--id=0"]
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=_CLOCKS_S).stdout
        names, values = (line.split(", ") for line in said.splitlines()[:2])
        return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
    return ""


def by_events(torch: Any, kernel: str, calls: Sequence[Call]) -> tuple[str, Run]:
    """The calls in turn on the device, between two of its events; a kernel that no graph holds is called "_eager"."""
    graph = _captured(torch, calls)
    once = graph or partial(_each, calls)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def run(times: int) -> float:
        rounds = math.ceil(times / len(calls))
        start.record()
        for _ in range(rounds):
            once()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / (rounds * len(calls))

    return kernel if graph else f"{kernel}_eager", run


def _each(calls: Sequence[Call]) -> None:
    for call in calls:
        call()


def _captured(torch: Any, calls: Sequence[Call]) -> Call | None:
    """All calls as one CUDA graph, None where one cannot be captured."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_GRAPH_WARM_UP):
            _each(calls)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            _each(calls)
    except RuntimeError:
        torch.cuda.synchronize()
        return None
    replay: Call = graph.replay
    return replay


class _Kernels:
    """Operands of cases, and calls of kernels on them."""

    def __init__(self, torch: Any, device: str, cold_bytes: int) -> None:
        self.torch, self.device, self.cold_bytes = torch, device, cold_bytes

    def of(self, case: Mapping[str, Any]) -> tuple[str, list[Call]]:
        """The kernel's name, and one call for each copy of what it reads."""
        dtype = getattr(self.torch, _NAMES[case["dtype"]])
        if case["op"] == "gemm":
            return self._gemm(case["dtype"], dtype, case["m"], case["n"], case["k"])
        return self._attention(dtype, case)

    def _gemm(self, name: str, dtype: Any, m: int, n: int, k: int) -> tuple[str, list[Call]]:
        torch, left = self.torch, self._filled(dtype, m, k)
        weights = [right.t() for right in self._copies(self._filled(dtype, n, k))]
        if name == "fp8":
            one = torch.ones((), device=self.device)
            how = {"scale_a": one, "scale_b": one, "out_dtype": torch.bfloat16}
            return "scaled_mm", [partial(torch._scaled_mm, left, right, **how) for right in weights]
        if name == "int8":
            return "int_mm", [partial(torch._int_mm, left, right) for right in weights]
        out = torch.empty((m, n), dtype=dtype, device=self.device)
        return "mm", [partial(torch.mm, left, right, out=out) for right in weights]

    def _attention(self, dtype: Any, case: Mapping[str, Any]) -> tuple[str, list[Call]]:
        batch, isl, prefix = case["batch_size"], case["isl"], case["prefix"]
        heads, kv_heads, width = case["heads"], case["kv_heads"], case["head_dim"]
        both = self._copies(self._filled(dtype, 2, batch, kv_heads, prefix + isl, width))
        attend = import_module("torch.nn.functional").scaled_dot_product_attention
        if case["op"] == "generation_attention":
            queries = self._filled(dtype, batch, kv_heads, heads // kv_heads, width)
            return "sdpa_grouped", [partial(attend, queries, keys, values) for keys, values in both]
        queries, how = self._filled(dtype, batch, heads, isl, width), {"enable_gqa": kv_heads < heads}
        if not prefix:
            return "sdpa", [partial(attend, queries, keys, values, is_causal=True, **how) for keys, values in both]
        # the last query sees the last key: not what is_causal means where there are more keys than queries
        seen = import_module("torch.nn.attention.bias").causal_lower_right(isl, prefix + isl)
        if self.device == "cpu":  # there it would be made anew in each call
            seen = self.torch.ones(isl, prefix + isl, dtype=self.torch.bool).tril(prefix)
        return "sdpa_masked", [partial(attend, queries, keys, values, attn_mask=seen, **how) for keys, values in both]

    def _filled(self, dtype: Any, *shape: int) -> Any:
        """A block of normal numbers repeated: large operands would take longer to draw than to measure."""
        size, scale = math.prod(shape), 1.0 if dtype.is_floating_point else 16.0
        drawn = (self.torch.randn(_BLOCK, device=self.device) * scale).to(dtype)
        return drawn.repeat(-(-size // _BLOCK))[:size].view(shape)

    def _copies(self, operand: Any) -> list[Any]:
        size = operand.numel() * operand.element_size()
        return [operand, *(operand.clone() for _ in range(min(self.cold_bytes // size, _MOST_COPIES)))]
