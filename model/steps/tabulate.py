"""What the steps of one config take: its kernels asked for once on grids, so that a step is a few look-ups then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.architecture import Architecture
from model.dtypes import dtype
from model.prediction import Floats
from model.simulate.costs import APART, Apart, StepCosts, chunk_coordinate
from model.steps.bundle import Bundle, find_bundle
from model.steps.layers import (
    Attention,
    Call,
    LatentAttention,
    Message,
    Mixture,
    Product,
    Send,
    Sharding,
    Traffic,
    calls,
)
from model.steps.overheads import Overheads
from model.steps.small import OURS, SmallKernels
from model.tables.answer import Answer
from model.tables.library import Tables
from perfdb.facts.platforms import PlatformFacts

_BATCH: Floats = 2.0 ** np.arange(0, 9, dtype=np.float64)
_CHUNK = np.array(
    [1, 16, 32, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 10240, 12288, 16384, 32768.0]
)
_PAST = np.concatenate([[0.0], 1024.0 * 2.0 ** np.arange(0, 8)])
_DECODES: Floats = np.concatenate([[0.0], 2.0 ** np.arange(0, 12, dtype=np.float64)])
_CACHED: Floats = 2.0 ** np.arange(0, 18, dtype=np.float64)
_SEND_S = 10e-6
_WHOLE_BYTES = 2.0
_MESSAGES = {"dispatch", "combine"}
_NO_JOINT = np.array([0.0, 1.0])


@dataclass(frozen=True)
class Part:
    """One kind of call in n steps: `seconds` in all, `rel_sd` of them and provenance `code`, each `n`."""

    name: str
    seconds: Floats
    rel_sd: Floats
    code: np.ndarray


@dataclass(frozen=True)
class StepModel:
    """The steps of a model on one replica: weights in `weight_dtype`, the cache in `kv_dtype`.

    The host needs `host_s` to launch a step's kernels (0 where they are captured in a graph): no step is shorter.
    """

    tables: Tables
    model: Architecture
    sharding: Sharding
    weight_dtype: str
    kv_dtype: str
    head_dtype: str
    overheads: Overheads
    small: SmallKernels = OURS
    host_s: float = 0.0

    @cached_property
    def _calls(self) -> tuple[Call, ...]:
        return tuple(calls(self.model, self.sharding))

    def by_tokens(self, tokens: Floats) -> Iterator[Part]:
        """What grows with the tokens of a step, `n`, one part per kind of call."""
        for call in self._calls:
            if not isinstance(call, Attention | LatentAttention) and not (
                isinstance(call, Product) and call.of_sequences
            ):
                yield self._part(call, tokens)

    def by_sequences(self, sequences: Floats) -> Iterator[Part]:
        """What grows with the sequences of a step that need a next token, `n`."""
        for call in self._calls:
            if isinstance(call, Product) and call.of_sequences:
                yield self._part(call, sequences)

    def prompts(self, batch: Floats, chunk: Floats, past: Floats) -> Iterator[Part]:
        """Attention of `batch` prompts of `chunk` new tokens after `past` others each, `n`."""
        for call in self._calls:
            if isinstance(call, Attention):
                found = self.tables.query_attention("context", self.kv_dtype, call.heads, batch, chunk, past)
                yield self._counted(f"context_{call.name}", call.count, found, self.small.attention_s)
            elif isinstance(call, LatentAttention):
                yield self._latent("context", call, batch, chunk, past)

    def decoding(self, decodes: Floats, cached: Floats) -> Iterator[Part]:
        """Attention of `decodes` sequences with `cached` tokens each, `n`."""
        for call in self._calls:
            if isinstance(call, Attention):
                found = self.tables.query_attention("generation", self.kv_dtype, call.heads, decodes, cached)
                yield self._counted(f"generation_{call.name}", call.count, found)
            elif isinstance(call, LatentAttention):
                yield self._latent("generation", call, decodes, cached, 0.0)

    def _latent(self, phase: str, call: LatentAttention, batch: Floats, tokens: Floats, past: Floats | float) -> Part:
        formats = (self.weight_dtype, self.kv_dtype)
        found = self.tables.query_latent_attention(phase, formats, call.layer, call.heads, batch, tokens, past)
        return self._counted(f"{phase}_{call.name}", call.count, found)

    def costs(self, most_tokens: int, most_seqs: int) -> StepCosts:
        """Tables for steps of up to so many tokens and sequences; the model's own layers where they were measured."""
        if self.bundle is None:
            costs = self._of_kernels(most_tokens, most_seqs)
        else:
            costs = self.bundle.costs(most_tokens, most_seqs)
            costs = costs._replace(tokens=costs.tokens + self._named({"all_reduce", *_MESSAGES}, most_tokens))
        return costs._replace(tokens=np.maximum(costs.tokens, self.host_s * (np.arange(most_tokens + 1) > 0)))

    def together(self, most_tokens: int) -> Floats:
        """Seconds of what ranks of attention do together where each brings up to so many tokens: experts, messages."""
        if self.bundle is None:
            return self._named({"experts", *_MESSAGES}, most_tokens)
        experts = self.bundle.experts_s(np.arange(most_tokens + 1, dtype=np.float64))
        return np.asarray(experts + self._named(_MESSAGES, most_tokens))

    @cached_property
    def bundle(self) -> Bundle | None:
        """The model's own measured layers, if there are any."""
        return find_bundle(self.tables, self.model, self.sharding, (self.weight_dtype, self.kv_dtype))

    def _named(self, names: set[str], most_tokens: int) -> Floats:
        """Seconds of the kinds of calls so named by tokens, 0 where there are none."""
        some = _sampled(most_tokens)
        chosen = [call for call in self._calls if call.name in names]
        seconds = np.sum([self._part(call, some).seconds for call in chosen], axis=0) if chosen else np.zeros(len(some))
        found = np.interp(np.arange(most_tokens + 1), some, seconds)
        found[0] = 0.0
        return np.asarray(found)

    def _of_kernels(self, most_tokens: int, most_seqs: int) -> StepCosts:
        tokens, seqs = np.arange(most_tokens + 1, dtype=np.float64), np.arange(most_seqs + 1, dtype=np.float64)
        some, few = _sampled(most_tokens), _sampled(most_seqs)
        dense = np.interp(tokens, some, _total(self.by_tokens(some)))
        head = np.interp(seqs, few, _total(self.by_sequences(few)))
        dense[0] = head[0] = 0.0
        added = self.overheads
        step = added.step_s + added.layer_s * self.model.layers
        return StepCosts(
            dense, head + added.sequence_s * seqs, _NO_JOINT, _NO_JOINT, _NO_JOINT, _NO_JOINT, APART, step, self._apart
        )

    @cached_property
    def _apart(self) -> Apart:
        batch, chunk, past = (axis.ravel() for axis in np.meshgrid(_BATCH, _CHUNK, _PAST, indexing="ij"))
        context = _total(self.prompts(batch, chunk, past)).reshape(len(_BATCH), len(_CHUNK), len(_PAST))
        decodes, cached = (axis.ravel() for axis in np.meshgrid(_DECODES[1:], _CACHED, indexing="ij"))
        generation = _total(self.decoding(decodes, cached)).reshape(len(_DECODES) - 1, len(_CACHED))
        generation = np.concatenate([np.zeros((1, len(_CACHED))), generation])
        place = chunk_coordinate.taking(1e-5)
        coordinate = np.array([place(length) for length in _CHUNK.tolist()])
        return Apart(_BATCH, coordinate, _PAST, context, _DECODES, _CACHED, generation)

    def _part(self, call: Call, rows: Floats) -> Part:
        match call:
            case Product():
                number_format = self.head_dtype if call.of_sequences else product_format(self.weight_dtype, call.name)
                found = self.tables.query_gemm(number_format, rows, call.n, call.k)
                return self._counted(call.name, call.count, found)
            case Mixture():
                number_format = expert_format(self.weight_dtype, self.tables.engine, self.tables.platform)
                found = self.tables.query_experts(number_format, call.layer, rows * call.ranks)
                return self._counted(call.name, call.count, found)
            case Message():
                found = self.tables.query_message(call.op, rows * call.token_bytes, call.devices)
                return self._counted(call.name, call.count, found)
            case Traffic() | Send():
                return self._counted(call.name, call.count, self._estimated(call, rows))
        raise TypeError(call)  # attention does not grow with rows

    def _estimated(self, call: Traffic | Send, rows: Floats) -> Answer:
        if isinstance(call, Send):
            return self.tables.estimate(_SEND_S, rows * call.token_bytes / self.tables.link)
        rate = self.tables.platform.bandwidth_bytes_s * self.small.share
        return self.tables.estimate(self.small.launch_s, rows * call.token_bytes / rate)

    def _counted(self, name: str, count: float, found: Answer, more_s: float = 0.0) -> Part:
        return Part(name, count * (found.latency_s + more_s), found.rel_sd, found.code)


def head_format(model: Architecture, weight_format: str) -> str:
    """The format of the output matrix: formats below 16 bits leave it in 16, but for weight files that say themselves.

    Raises:
        UnknownNameError: no such number format.
    """
    is_whole = dtype(weight_format).bytes >= _WHOLE_BYTES or model.file_layer_bytes is not None
    return weight_format if is_whole else "bf16"


def product_format(weight_format: str, name: str) -> str:
    """The format of a product: routers stay in 16 bits, and of checkpoints in MXFP4 all but the experts."""
    return "bf16" if name == "router" or weight_format == "mxfp4" else weight_format


def expert_format(weight_format: str, engine: str, platform: PlatformFacts) -> str:
    """The format of the experts: TensorRT-LLM multiplies MXFP4 with activations in MXFP8 on devices with FP4 units."""
    is_mixed = weight_format == "mxfp4" and engine == "trtllm" and "fp4" in platform.flops
    return "mxfp4_mxfp8" if is_mixed else weight_format


def _sampled(most: int) -> Floats:
    """Counts at which products are asked for: each of the first, then both sides of every tile."""
    grid = np.concatenate(
        [np.arange(129), np.arange(128, 512, 16), np.arange(512, 8193, 64), np.arange(8192, most, 256)]
    )
    both = np.unique(np.concatenate([grid, grid + 1, [most]]))
    return both[(both >= 1) & (both <= most)].astype(np.float64) if most > 1 else np.ones(1)


def _total(parts: Iterator[Part]) -> Floats:
    return np.asarray(np.sum([part.seconds for part in parts], axis=0), dtype=np.float64)
