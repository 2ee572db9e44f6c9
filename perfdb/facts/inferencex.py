"""How the public sweeps of InferenceX (once InferenceMAX) start their servers: settings that its exports do not hold.

Source: the launch scripts under `benchmarks/` of github.com/SemiAnalysisAI/InferenceX and its `perf-changelog.yaml`
(Apache-2.0), read in 2026. Only settings that stood in the scripts of the engine version are listed; none are guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NAMES: Mapping[str, tuple[str, str, str, str]] = {
    "vllm": ("kv_cache_dtype", "gpu_memory_utilization", "max_num_batched_tokens", "max_num_seqs"),
    "sglang": ("kv_cache_dtype", "mem_fraction_static", "chunked_prefill_size", "max_running_requests"),
    "trtllm": ("kv_cache_dtype", "kv_cache_free_gpu_memory_fraction", "max_num_tokens", "max_batch_size"),
}


@dataclass(frozen=True, slots=True)
class _Launch:
    """The settings of one script. `models`, `platforms` are how names begin, `versions` those of the engine, each empty
    for all; `tokens` a step's, "2 isl" twice the prompt; `sequences` 0: as many as are kept in flight."""

    engine: str
    models: tuple[str, ...]
    precision: str
    platforms: tuple[str, ...]
    cache: str = ""
    memory: float | None = None
    tokens: int | str | None = None
    sequences: int | None = None
    versions: tuple[str, ...] = ()
    tp: int | None = None

    def serves(self, engine: str, model: str, precision: str, platform: str, version: str, tp: int | None) -> bool:
        """Whether a run was started by this script."""
        return (
            (engine, precision) == (self.engine, self.precision)
            and model.rsplit("/", maxsplit=1)[-1].startswith(self.models)
            and platform.startswith(self.platforms)
            and (not self.versions or version.startswith(self.versions))
            and self.tp in (None, tp)
        )


_DEEPSEEK = ("DeepSeek-R1", "DeepSeek-V3")
_LAUNCHES = (
    _Launch("vllm", ("Llama-3.1-70B",), "fp8", ("h",), "fp8", 0.9, 8192, 0),
    _Launch("vllm", ("Llama-3.1-70B",), "fp8", ("b200",), "fp8", 0.9, 8192, 512),
    _Launch("vllm", ("Llama-3.1-70B",), "fp4", ("b200",), "fp8", 0.9, 8192, 512),
    _Launch("vllm", ("gpt-oss",), "fp4", ("h",), "", 0.9, 8192, 0),
    _Launch("vllm", ("gpt-oss",), "fp4", ("b200",), "fp8", 0.9, 8192, 512),
    _Launch("vllm", ("MiniMax-M2.5",), "fp8", ("b200",), "", 0.95, versions=("0.15", "0.16", "0.17")),
    _Launch("vllm", ("MiniMax-M2.5",), "fp8", ("b200", "b300"), "fp8", 0.9, "2 isl", versions=("0.19", "nightly")),
    _Launch("vllm", ("MiniMax-M2.5",), "fp4", ("b200", "b300"), "fp8", 0.9, "2 isl", versions=("0.19", "nightly")),
    _Launch("vllm", ("MiniMax-M2.5",), "fp8", ("h100",), "", 0.9, sequences=256),
    _Launch("vllm", ("Kimi-K2.5",), "fp4", ("b200", "b300"), "", 0.9, sequences=0),
    _Launch("vllm", ("Kimi-K2.5",), "int4", ("h200",), "", 0.95, sequences=0),
    _Launch("sglang", _DEEPSEEK, "fp8", ("b200", "b300"), "fp8", 0.95, 8192, 32, tp=4),
    _Launch("sglang", _DEEPSEEK, "fp8", ("b200", "b300"), "fp8", 0.82, 32768),
    _Launch("sglang", _DEEPSEEK, "fp4", ("b200", "b300"), "fp8", 0.85, 16384, 256),
    _Launch("sglang", _DEEPSEEK, "fp8", ("h200",), "", 0.82, 32768),
    _Launch("sglang", ("Qwen3.5-397B",), "bf16", ("b200",), "", 0.82, 32768),
    _Launch("sglang", ("Qwen3.5-397B",), "fp8", ("b200",), "fp8", 0.82, 32768),
    _Launch("sglang", ("Qwen3.5-397B",), "fp8", ("b300", "h200"), "fp8", 0.8, 16384),
    _Launch("sglang", ("Qwen3.5-397B",), "fp4", ("b200", "b300"), "fp8", 0.85, 32768),
    _Launch("trtllm", ("Llama-3.1-70B",), "fp8", ("b200",), "fp8", tokens=16384),
    _Launch("trtllm", ("Llama-3.1-70B",), "fp8", ("h200",), "fp8"),
    _Launch("trtllm", ("Llama-3.1-70B",), "fp4", ("b200",), "fp8"),
    _Launch("trtllm", ("gpt-oss",), "fp4", ("b200",), "fp8", 0.85, 20000, 512),
    _Launch("trtllm", ("gpt-oss",), "fp4", ("h200",), "", 0.85, 20000, 0),
    _Launch("trtllm", _DEEPSEEK, "fp8", ("h200",), "fp8", 0.75),
    _Launch("trtllm", _DEEPSEEK, "fp8", ("b200",), "fp8"),
    _Launch("trtllm", _DEEPSEEK, "fp4", ("b200",), "fp8", 0.8),
)


def launched(
    engine: str, model: str, precision: str, platform: str, version: str, *, tp: int | None, isl: int, in_flight: int
) -> dict[str, str]:
    """Parameter -> value as text that a point of the sweeps was started with; empty where its script was not read.

    `precision` is the sweeps' word ("fp8", "fp4", "bf16", "int4"), `version` the engine's, "" where it is not told.
    """
    found = next((item for item in _LAUNCHES if item.serves(engine, model, precision, platform, version, tp)), None)
    if found is None:
        return {}
    tokens = 2 * isl if found.tokens == "2 isl" else found.tokens
    sequences = in_flight if found.sequences == 0 else found.sequences
    values = (found.cache, found.memory, tokens, sequences)
    return {name: str(value) for name, value in zip(_NAMES[engine], values, strict=True) if value not in ("", None)}
