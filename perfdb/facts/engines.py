"""What each engine calls its parameters, their defaults, how a change is applied, and what they mean to the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from perfdb.errors import UnknownNameError
from perfdb.facts.platforms import GIB, PlatformFacts
from perfdb.records import Scalar


class Applied(StrEnum):
    """What it takes to change a parameter: a new server, a call to the running one, or a field of each request."""

    RESTART = "restart"
    LIVE = "live"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class EngineParameter:
    """One parameter of an engine. `role` is the model's word for it ("tp", "max_num_seqs", …), empty if it has none.

    `larger` are the defaults on GPUs of at least so many GiB, `since` those from a version of the engine on, ascending;
    `values` the words that it takes, where there are only some.
    """

    name: str
    default: Scalar
    applied: Applied = Applied.RESTART
    role: str = ""
    meaning: str = ""
    larger: tuple[tuple[float, Scalar], ...] = ()
    since: tuple[tuple[str, Scalar], ...] = ()
    values: tuple[str, ...] = ()

    @property
    def shown_default(self) -> str:
        """The default as text, with those on larger GPUs; empty where there is none."""
        start = "" if self.default is None else str(self.default)
        more = (f"; {value} from {gib:g} GiB" for gib, value in self.larger)
        later = (f"; {value} from {version}" for version, value in self.since)
        return "".join([start, *more, *later]).removeprefix("; ")


@dataclass(frozen=True)
class EngineFacts:
    """One engine. `launches` says whether this product can start it by itself; platforms whose names begin with one of
    `counted_small` have the defaults of small ones. Checkpoints with weights in one of the formats `fp8_cache_of` hold
    scales for a KV cache in fp8, which the engine then keeps where it is told "auto"."""

    name: str
    parameters: Mapping[str, EngineParameter]
    launches: bool
    source: str
    aliases: tuple[str, ...] = field(default=())
    counted_small: tuple[str, ...] = ()
    fp8_cache_of: tuple[str, ...] = ()

    def on(self, platform: PlatformFacts) -> EngineFacts:
        """The engine with the defaults that it takes on a platform."""
        if platform.kind == "cpu" or platform.name.startswith(self.counted_small or ("\0",)):
            return self
        parameters = dict(self.parameters)
        for name, parameter in self.parameters.items():
            for gib, value in parameter.larger:
                if platform.memory_bytes >= gib * GIB:
                    parameters[name] = replace(parameter, default=value)
        return replace(self, parameters=parameters)

    def at(self, version: str | None) -> EngineFacts:
        """The engine with the defaults of one of its versions, None for the newest."""
        parameters = dict(self.parameters)
        for name, parameter in self.parameters.items():
            for first, value in parameter.since:
                if version is None or is_untagged(version) or _release(version) >= _release(first):
                    parameters[name] = replace(parameter, default=value)
        return replace(self, parameters=parameters)

    def parameter(self, name: str) -> EngineParameter:
        """A parameter by its name, its name with dashes, or the model's word for it ("tp").

        Raises:
            UnknownNameError: the engine has no such parameter.
        """
        plain = name.strip().lstrip("-").replace("-", "_")
        by_role = {p.role: p for p in reversed(list(self.parameters.values())) if p.role}
        found = self.parameters.get(plain) or by_role.get(plain)
        if found is None:
            raise UnknownNameError.of(f"parameter of {self.name}", name, self.parameters)
        return found

    def defaults(self) -> dict[str, Scalar]:
        """Parameter -> the value that the engine takes when it is not told."""
        return {name: parameter.default for name, parameter in self.parameters.items()}


def is_untagged(version: str) -> bool:
    """Whether a version is what setuptools-scm calls a build of sources without tags, as 0.1.dev19262+gb6bbf29: its
    number says nothing of the release that it comes near to."""
    return re.match(r"0\.1\.dev\d+\+", version) is not None


def _release(version: str) -> tuple[int, ...]:
    """The numbers that order releases: of 0.14.1.dev1+g0a1b2c, (0, 14, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"\.dev|rc|\+", version)[0]))


def _engine(
    name: str,
    launches: bool,
    source: str,
    *parameters: EngineParameter,
    aliases: tuple[str, ...] = (),
    counted_small: tuple[str, ...] = (),
    fp8_cache_of: tuple[str, ...] = (),
) -> EngineFacts:
    return EngineFacts(name, {p.name: p for p in parameters}, launches, source, aliases, counted_small, fp8_cache_of)


_P = EngineParameter

_DRAFTS = (
    _P(
        "acceptance_rate",
        0.7,
        role="acceptance",
        meaning="share of drafted tokens that are right: of the models, no flag",
    ),
    _P(
        "draft_layers", 1, role="draft_layers", meaning="layers that draft: 1 for MTP and EAGLE, 0 for n-grams; no flag"
    ),
)
"""What speculative decoding yields depends on the models: said here, since no flag says it."""

_GGML_CACHES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


def _kv_cache_dtype(*words: str) -> EngineParameter:
    return _P("kv_cache_dtype", "auto", role="kv_dtype", meaning="dtype of the KV cache", values=("auto", *words))


ENGINES: dict[str, EngineFacts] = {
    facts.name: facts
    for facts in (
        _engine(
            "llamacpp",
            True,
            "llama.cpp server README, common/common.h",
            _P("n_parallel", 4, role="max_num_seqs", meaning="slots: requests decoded together"),
            _P("n_batch", 2048, role="max_num_batched_tokens", meaning="most tokens of one logical batch"),
            _P("n_ubatch", 512, role="prefill_chunk", meaning="most tokens of one physical batch"),
            _P("threads", None, role="threads", meaning="CPU threads; None: one per core"),
            _P("cache_type_k", "f16", role="kv_dtype", meaning="dtype of the K cache", values=_GGML_CACHES),
            _P("cache_type_v", "f16", meaning="dtype of the V cache", values=_GGML_CACHES),
            _P("kv_type", "f16", role="kv_dtype", meaning="dtype of both caches", values=_GGML_CACHES),
            _P("cont_batching", True, role="continuous_batching", meaning="admit requests while others decode"),
            _P("quantization", None, role="weight_dtype", meaning="which of the model's files is loaded"),
            _P("n_ctx", None, role="max_model_len", meaning="context tokens over all slots; None: as the load needs"),
            _P("cache_prompt", False, Applied.REQUEST, meaning="reuse the KV cache of a common prefix"),
            aliases=("llama.cpp", "llama_cpp", "llama-cpp"),
        ),
        _engine(
            "vllm",
            False,
            "vLLM engine arguments, docs.vllm.ai",
            _P("tensor_parallel_size", 1, role="tp", meaning="devices that share each layer"),
            _P("pipeline_parallel_size", 1, role="pp", meaning="groups of layers"),
            _P("data_parallel_size", 1, role="dp", meaning="replicas; of a mixture of experts they share the experts"),
            _P("enable_expert_parallel", False, role="expert_parallel", meaning="spread whole experts over devices"),
            _P(
                "all2all_backend",
                "allgather_reducescatter",
                role="all_to_all",
                meaning="how tokens reach spread experts; or deepep_high_throughput, deepep_low_latency",
            ),
            _P("max_num_seqs", 256, role="max_num_seqs", meaning="sequences in one step", larger=((70, 1024),)),
            _P(
                "max_num_batched_tokens",
                2048,
                role="max_num_batched_tokens",
                meaning="tokens in one step",
                larger=((70, 8192),),
            ),
            _P("enable_chunked_prefill", True, role="chunked_prefill", meaning="split prefills over steps"),
            _P("gpu_memory_utilization", 0.9, role="memory_fraction", meaning="share of device memory"),
            _kv_cache_dtype("float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "nvfp4"),
            _P("quantization", None, role="weight_dtype", meaning="quantisation of the weights"),
            _P("max_model_len", None, role="max_model_len", meaning="longest sequence"),
            _P("block_size", 16, role="block_size", meaning="tokens in a block of the KV cache"),
            _P("num_gpu_blocks_override", None, role="kv_blocks", meaning="blocks of the KV cache, as its log tells"),
            _P("enable_prefix_caching", True, role="prefix_caching", meaning="reuse the KV cache of common prefixes"),
            _P("long_prefill_token_threshold", 0, role="prefill_threshold", meaning="most tokens of one prompt a step"),
            _P("enforce_eager", False, role="eager", meaning="no CUDA graphs"),
            _P("num_speculative_tokens", 0, role="draft_tokens", meaning="tokens drafted a step (speculative_config)"),
            *_DRAFTS,
            _P(
                "async_scheduling",
                False,
                role="async_scheduling",
                meaning="decide a step while another runs",
                # github.com/vllm-project/vllm/pull/27614
                since=(("0.14.0", True),),
            ),
            _P("scheduling_policy", "fcfs", role="policy", meaning="who goes first", values=("fcfs", "priority")),
            aliases=("vLLM",),
            counted_small=("a100", "a800"),
            # made with NVIDIA's Model Optimizer, whose default is an fp8 cache; quantization=fp8 may be done on loading
            fp8_cache_of=("nvfp4",),
        ),
        _engine(
            "sglang",
            False,
            "SGLang server arguments, docs.sglang.ai; defaults of 0.5.9, srt/server_args.py",
            _P("tp_size", 1, role="tp", meaning="devices that share each layer"),
            _P("pp_size", 1, role="pp", meaning="groups of layers"),
            _P("dp_size", 1, role="dp", meaning="replicas, or ranks of attention under enable_dp_attention"),
            _P("ep_size", 1, role="ep", meaning="devices over which whole experts are spread"),
            _P("enable_dp_attention", False, role="dp_attention", meaning="dp_size ranks share tp_size devices"),
            _P("moe_a2a_backend", "none", role="all_to_all", meaning="how tokens reach spread experts; or deepep"),
            _P("max_running_requests", 2048, role="max_num_seqs", meaning="sequences in one step"),
            _P(
                "chunked_prefill_size",
                2048,
                role="max_num_batched_tokens",
                meaning="prefill tokens in one step",
                larger=((35, 4096), (60, 8192), (160, 16384)),
            ),
            _P("mem_fraction_static", 0.88, role="memory_fraction", meaning="share of device memory"),
            _kv_cache_dtype("bf16", "bfloat16", "fp8_e4m3", "fp8_e5m2", "fp4_e2m1"),
            _P("quantization", None, role="weight_dtype", meaning="quantisation of the weights"),
            _P("max_prefill_tokens", 16384, role="prefill_tokens", meaning="tokens of all prompts in one step"),
            _P("max_total_tokens", None, role="kv_tokens", meaning="tokens of the KV cache, as its log tells"),
            _P("page_size", 1, role="block_size", meaning="tokens in a page of the KV cache"),
            _P("disable_radix_cache", False, role="no_prefix_caching", meaning="compute common prefixes anew"),
            _P("enable_mixed_chunk", False, role="mixed_chunk", meaning="decode along with the parts of a prompt"),
            _P("disable_overlap_schedule", False, role="no_overlap", meaning="decide on a step after the last one"),
            _P(
                "schedule_policy",
                "fcfs",
                role="policy",
                meaning="who goes first; simulated are fcfs, lpm (longest prefix) and lof (longest output)",
                values=("fcfs", "lpm", "lof", "dfs-weight", "random", "priority", "routing-key"),
            ),
            _P(
                "schedule_conservativeness",
                1.0,
                role="conservativeness",
                meaning="how much of the tokens to come must fit before a prompt is let in",
            ),
            _P("disable_cuda_graph", False, role="eager", meaning="no CUDA graphs"),
            _P("speculative_num_steps", 0, role="draft_tokens", meaning="tokens drafted a step, in one chain"),
            *_DRAFTS,
            _P("context_length", None, role="max_model_len", meaning="longest sequence"),
            aliases=("SGLang",),
            fp8_cache_of=("nvfp4",),
        ),
        _engine(
            "trtllm",
            False,
            "TensorRT-LLM trtllm-serve reference",
            _P("tp_size", 1, role="tp", meaning="devices that share each layer"),
            _P("pp_size", 1, role="pp", meaning="groups of layers"),
            _P("ep_size", 1, role="ep", meaning="devices over which whole experts are spread"),
            _P(
                "enable_attention_dp", False, role="dp_attention", meaning="every device attends to requests of its own"
            ),
            _P("max_draft_len", 0, role="draft_tokens", meaning="tokens drafted a step (speculative_config)"),
            *_DRAFTS,
            _P("enable_block_reuse", True, role="prefix_caching", meaning="reuse the KV cache of common prefixes"),
            _P("max_batch_size", 2048, role="max_num_seqs", meaning="sequences in one step"),
            _P("max_num_tokens", 8192, role="max_num_batched_tokens", meaning="tokens in one step"),
            _P("kv_cache_free_gpu_memory_fraction", 0.9, role="memory_fraction", meaning="share of free memory for KV"),
            _kv_cache_dtype("int8", "fp8", "nvfp4"),
            _P("quantization", None, role="weight_dtype", meaning="quantisation of the weights"),
            aliases=("tensorrt-llm", "TensorRT-LLM", "trt-llm"),
            # it quantises nothing on loading: such weights come from Model Optimizer
            fp8_cache_of=("fp8", "nvfp4"),
        ),
    )
}
_BY_ALIAS = {alias.lower(): facts for facts in ENGINES.values() for alias in (facts.name, *facts.aliases)}


def engine(name: str) -> EngineFacts:
    """Look an engine up by name or alias, whatever the case.

    Raises:
        UnknownNameError: no engine is called so.
    """
    try:
        return _BY_ALIAS[name.strip().lower()]
    except KeyError:
        raise UnknownNameError.of("engine", name, ENGINES) from None
