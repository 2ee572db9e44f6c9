"""The nouns of operation tables: what is measured, by which arguments, and how number formats are spelled.

A row of `op_measurements` is one latency of one operation. Its texts say where and what was measured, its arguments
are whole numbers, each in a column of its own; an argument that the operation does not have is NULL. What only some
rare operation has stands in `more`, a canonical JSON object. `OPERATIONS` names the arguments of each operation in
order; one that it does not name is kept all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perfdb.errors import UnknownNameError

TEXTS: Mapping[str, str] = {
    "platform": "device, a name of `facts.platforms` where known",
    "engine": "serving engine or library whose kernel ran (vllm, trtllm, nccl)",
    "engine_version": "its version",
    "op": "operation, a name of `OPERATIONS` where known",
    "phase": "context, generation or verify, where the operation's name does not say it",
    "dtype": "number format of the operation: of weights, or of both sides where one name tells only one",
    "kv_dtype": "number format of the KV cache",
    "gemm_dtype": "number format of the projections within a whole attention module",
    "kernel": "which implementation ran, as its source calls it",
    "distribution": "how tokens spread over experts (balanced, power_law_1.2)",
    "model": "model whose shapes these are",
    "statistic": "what the latency is of several repeats (median, mean), where said",
    "origin": "measured, or derived from measurements",
    "more": "further arguments, a canonical JSON object",
}
"""Text columns and what they say."""

ARGUMENTS: Mapping[str, str] = {
    "m": "rows of the left matrix (tokens)",
    "n": "columns of the right matrix",
    "k": "inner dimension of the product",
    "batch_size": "sequences",
    "isl": "new tokens of each sequence, 1 in generation",
    "prefix": "tokens of each sequence that the KV cache holds before",
    "heads": "query heads on this device",
    "kv_heads": "KV heads on this device",
    "head_dim": "width of a head",
    "window_size": "tokens that a sliding window sees; 0: all",
    "decode_batch": "sequences that decode in the same step",
    "decode_kv": "KV tokens of each of those, their mean",
    "tokens": "tokens on this device",
    "hidden": "hidden size of the model",
    "inter": "width of the MLP, or of one expert, before it is divided",
    "topk": "experts that each token goes to",
    "experts": "experts in all",
    "active_experts": "experts that get a token",
    "tp": "devices that share the operation (tensor parallelism)",
    "moe_tp": "devices that share one expert",
    "moe_ep": "devices over which experts are spread",
    "devices": "devices of a collective",
    "nodes": "machines of a collective",
    "elements": "numbers in the message, counted as nccl-tests counts its size",
    "bytes": "the same in bytes",
}
"""Integer columns and what they count."""

VALUES: Mapping[str, str] = {
    "latency_s": "seconds",
    "spread": "standard deviation over mean of the repeats",
}
"""Measured columns."""

COLUMNS = (*TEXTS, *ARGUMENTS, *VALUES, "measured_at")
"""What a row says, apart from the file that it is from. `measured_at` is a time in UTC."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of operation: its arguments in order, and what is timed."""

    arguments: tuple[str, ...]
    about: str


_SEQUENCES = ("batch_size", "isl", "prefix", "heads")
_ATTENTION = (*_SEQUENCES, "kv_heads", "head_dim", "window_size")
_MODULE = (*_SEQUENCES, "tp")
_EXPERTS = ("tokens", "hidden", "inter", "topk", "experts", "moe_tp", "moe_ep")
_EXCHANGE = ("tokens", "hidden", "topk", "experts", "moe_ep", "nodes")
_COLLECTIVE = ("elements", "bytes", "devices", "nodes")
_LAYER = ("tokens", "hidden", "inter", "tp")


def _named(arguments: tuple[str, ...], **about: str) -> dict[str, Operation]:
    return {name: Operation(arguments, text) for name, text in about.items()}


OPERATIONS: Mapping[str, Operation] = {
    **_named(("m", "n", "k"), gemm="a product of an m×k and a k×n matrix"),
    **_named(
        _ATTENTION,
        context_attention="attention of prompts, the kernel alone",
        generation_attention="attention of decoding sequences, the kernel alone",
        encoder_attention="attention without a mask (vision towers)",
    ),
    **_named(
        ("isl", "prefix", "decode_batch", "decode_kv", "heads", "kv_heads", "head_dim", "tp"),
        mixed_attention="attention of one step: a prefill chunk and decoding sequences together",
        skewed_attention="the same where the decoding sequences differ in length",
    ),
    **_named(
        _MODULE,
        context_mla="multi-head latent attention of prompts, the kernel alone",
        generation_mla="multi-head latent attention of decoding sequences, the kernel alone",
        mla_context_module="a whole MLA layer with its projections, prompts",
        mla_generation_module="a whole MLA layer with its projections, decoding",
        wideep_context_mla="a whole MLA layer under wide expert parallelism, prompts",
        wideep_generation_mla="a whole MLA layer under wide expert parallelism, decoding",
        dsa_context_module="a whole layer of sparse attention with an indexer (DeepSeek V3.2), prompts",
        dsa_context_module_skip_indexer="the same without its indexer",
        dsa_generation_module="a whole layer of sparse attention with an indexer, decoding",
        dsa_generation_module_skip_indexer="the same without its indexer",
        msa_context_module="a whole layer of block-sparse attention (MiniMax M3), prompts",
        msa_generation_module="a whole layer of block-sparse attention, decoding",
        dsv4_csa_context_module="a whole layer of compressed sparse attention (DeepSeek V4), prompts",
        dsv4_csa_generation_module="a whole layer of compressed sparse attention, decoding",
        dsv4_hca_context_module="a whole layer of heavily compressed attention (DeepSeek V4), prompts",
        dsv4_hca_generation_module="a whole layer of heavily compressed attention, decoding",
        dsv4_hca_attn_module="its attention kernel",
        dsv4_paged_mqa_logits_module="the logits of its indexer",
        dsv4_csa_topk_calib="its choice of blocks, for calibration",
        glm5_dsa_attn_module="the attention kernel of GLM 5",
        glm5_mqa_logits_module="the logits of its indexer",
        glm5_topk_module="its choice of tokens",
    ),
    **_named(
        ("tokens", "heads"),
        mla_bmm_pre="absorbed projection of queries before MLA decoding",
        mla_bmm_post="absorbed projection of values after MLA decoding",
    ),
    **_named(
        _EXPERTS,
        moe="grouped products of all experts, with their permutation",
        moe_grouped_gemm="the grouped products alone",
        wideep_moe="experts under wide expert parallelism",
        wideep_moe_eplb="the same with balanced experts",
        wideep_context_moe="experts after a DeepEP exchange, prompts",
        wideep_generation_moe="experts after a DeepEP exchange, decoding",
        dsv4_megamoe_module="dispatch, experts and combine in one kernel",
        router="the product that scores experts",
        router_topk="the choice of experts",
        moe_shuffle="tokens ordered by expert",
    ),
    **_named(
        _EXCHANGE,
        moe_prepare="counts before an exchange between experts",
        moe_dispatch="tokens to their experts",
        moe_combine="results back to their tokens",
        moe_combine_low_precision="the same in fewer bits",
    ),
    **_named(
        _COLLECTIVE,
        all_reduce="the sum of a message on each device; size: the message",
        all_gather="all parts on each device; size: all parts",
        reduce_scatter="a part of the sum on each device; size: all parts",
        all_to_all="a part of each to each; size: what a device sends",
        p2p="a message from one device to another",
    ),
    **_named(
        ("m", "k"),
        compute_scale="the scale of a matrix before it is quantised: the difference of two measurements",
        scale_matrix="a matrix quantised with a known scale",
    ),
    **_named(
        _LAYER,
        embedding="rows of the embedding",
        norm="a normalisation",
        input_norm="the normalisation before attention",
        post_attention_norm="the normalisation after attention",
        final_norm="the normalisation before lm_head",
        qk_norm="normalisations of queries and keys",
        qkv_proj="the product that makes queries, keys and values",
        o_proj="the product after attention",
        rope="rotary positions",
        kv_cache_write="keys and values written to the cache",
        attention_input_reshape="inputs of attention in the order its kernel wants",
        attention_output_reshape="its outputs in the order the next product wants",
        gate_up_proj="the first product of an MLP",
        activation="the activation of an MLP",
        down_proj="the second product of an MLP",
        residual_add="a residual added",
        mtp_fusion_proj="the product before a multi-token-prediction layer",
        wideep_context_mlp="a whole MLP, prompts",
        wideep_generation_mlp="a whole MLP, decoding",
    ),
    **_named(
        ("batch_size", "hidden", "tp"),
        lm_head="the product that makes logits, one row per sequence",
        sampler="a token chosen per sequence",
    ),
    **_named(
        ("batch_size", "isl", "tokens", "hidden", "heads", "head_dim"),
        gdn="a kernel of gated delta networks",
        kda="a kernel of Kimi delta attention",
        mamba2="a kernel of Mamba 2",
    ),
    **_named(
        ("tokens", "hidden"),
        mhc_pre="manifold-constrained hyper-connections before a layer (DeepSeek V4)",
        mhc_post="the same after it",
    ),
}
"""Every operation that we know, by its name in `op`."""

_SPELLINGS: Mapping[str, str] = {
    "fp32": "float float32 f32",
    "fp16": "float16 half f16",
    "bf16": "bfloat16",
    "fp8": "fp8_e4m3 float8_e4m3fn e4m3",
    **dict.fromkeys(("fp8_block", "fp8_static", "fp4", "q4_0", "q8_0"), ""),
    "int8": "w8a8 sq smoothquant w8a8_int8",
    "int8_wo": "w8a16",
    "int4": "int4_wo w4a16",
    "int4_fp8": "w4afp8 w4a8",
    "nvfp4": "w4a4_nvfp4",
    "nvfp4_wo": "w4a16_nvfp4",
    "mxfp4": "w4a16_mxfp4",
    "mxfp4_mxfp8": "w4a8_mxfp4_mxfp8",
}
_DTYPES = {word: name for name, words in _SPELLINGS.items() for word in (name, *words.split())}

DTYPE_BYTES: Mapping[str, float] = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1}
"""Bytes of one number in a message."""


def canonical_dtype(word: str) -> str | None:
    """A number format as we spell it, whatever the case; None if we do not know it.

    Names of one format say it of weights and activations alike; "_wo" is weights only, "a_b" weights in a, activations
    in b, "_block" a scale per block; int4 and mxfp4 are weights beside 16-bit activations.
    """
    return _DTYPES.get(word.strip().lower())


@dataclass(frozen=True, slots=True)
class OperationSet:
    """`rows` measurements of one operation on one platform in the same formats, the shortest of them `least_s` (0: not
    known); None where the source did not say."""

    engine: str | None
    engine_version: str | None
    op: str
    dtype: str | None
    kv_dtype: str | None
    rows: int
    least_s: float = 0.0


@dataclass(frozen=True)
class OperationTable:
    """n measured operations as columns: texts are objects (None where unknown), numbers float64 (NaN).

    A column that says nothing in any row may be left out of `columns`; asked for by name it is there.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    rows: int

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """One column, `n`.

        Raises:
            UnknownNameError: no column is called so.
        """
        found = self.columns.get(name)
        if found is not None:
            return found
        if name not in {*COLUMNS, "source"}:
            raise UnknownNameError.of("column of operation tables", name, (*COLUMNS, "source"))
        return np.full(self.rows, None if name in TEXTS else np.nan, dtype=object if name in TEXTS else np.float64)

    def where(self, **key: str | float) -> OperationTable:
        """The rows whose columns have these values, in order.

        Raises:
            UnknownNameError: no column is called so.
        """
        places = np.arange(self.rows)
        # numbers first: they compare fastest, and leave few texts
        for name in sorted(key, key=lambda name: (name in TEXTS, name)):
            places = places[self[name][places] == key[name]]
        return OperationTable({name: column[places] for name, column in self.columns.items()}, len(places))
