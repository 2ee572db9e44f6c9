"""What the steps of one config take: its kernels asked for once on grids, so that a step is a few look-ups then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from model.checkpoint.architecture import Architecture
from model.checkpoint.parts import ATTENTION, EXPERTS
from model.prediction import Floats
from model.simulate.costs import APART, Apart, StepCosts, chunk_coordinate
from model.steps.bundle import Bundle, find_bundle
from model.steps.hosts import HOP_S, across_s, hosts_passed, network_bytes_s, says_network, spread_over
from model.steps.layers import (
    Attention,
    Call,
    Dispatch,
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
from model.steps.small import OURS, SmallKernels, p2p_s
from model.tables.answer import ROOFLINE, Answer
from model.tables.library import Key, Tables
from model.tables.said import listening, say
from perfdb.facts.platforms import PlatformFacts

_BATCH: Floats = 2.0 ** np.arange(0, 9, dtype=np.float64)
_CHUNK = np.array(
    [1, 16, 32, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 10240, 12288, 16384, 32768.0]
)
_PAST = np.concatenate([[0.0], 1024.0 * 2.0 ** np.arange(0, 8)])
_DECODES: Floats = np.concatenate([[0.0], 2.0 ** np.arange(0, 12, dtype=np.float64)])
_CACHED: Floats = 2.0 ** np.arange(0, 18, dtype=np.float64)
_MESSAGES = {"dispatch", "combine"}
_NETWORK: Key = ("network", "", "")
_SPREAD: Key = ("experts spread", "", "")
_NO_SPREAD = (
    "no table says what spreading whole experts (expert parallelism) changes: it is taken to cost what dividing does"
)
_NO_JOINT = np.array([0.0, 1.0])
_NO_OVERHEADS = Overheads(0.0, 0.0, 0.0, 0.0, 0.0)


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
        formats = (self._format(ATTENTION), self.kv_dtype)
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

    @property
    def _apart(self) -> Apart:
        """Attention of prompts and of decoding sequences; configs that divide it in the same way share it."""
        weights = self.weight_dtype if self.model.is_mla else ""  # only latent attention has its projections with it
        alike = replace(self, weight_dtype=weights, head_dtype="", overheads=_NO_OVERHEADS, host_s=0.0)
        apart, said = _attending(replace(alike, sharding=Sharding(self.sharding.tp)))
        say(said)
        return apart

    def _part(self, call: Call, rows: Floats) -> Part:
        match call:
            case Product():
                number_format = self.head_dtype if call.of_sequences else self._format(call.part)
                found = self.tables.query_gemm(number_format, rows, call.n, call.k)
                return self._counted(call.name, call.count, found)
            case Mixture():
                number_format = expert_format(self._format(EXPERTS), self.tables.engine, self.tables.platform)
                found = self.tables.query_experts(number_format, call.layer, rows * call.ranks)
                if call.layer.moe_ep > 1 and (found.code == ROOFLINE).all():
                    self._say(_SPREAD, _NO_SPREAD)
                return self._counted(call.name, call.count, found)
            case Message():
                return self._counted(call.name, call.count, self._collective(call, rows * call.token_bytes))
            case Dispatch():
                # a rank's tp devices bring its tokens in equal parts
                own = rows / self.sharding.tp
                found = self.tables.query_exchange(call.op, call.way, self._sent(call.op), call.layer, own)
                return self._counted(call.name, call.count, found)
            case Traffic():
                rate = self.tables.platform.bandwidth_bytes_s * self.small.share
                found = self.tables.estimate(self.small.launch_s, rows * call.token_bytes / rate)
                return self._counted(call.name, call.count, found)
            case Send():
                return self._sending(call, rows * call.token_bytes)
        raise TypeError(call)  # attention does not grow with rows

    def _format(self, part: str) -> str:
        return self.model.format_of(part, self.weight_dtype)

    def _sent(self, op: str) -> str:
        """Tokens are sent in 4 bits where the experts multiply them so, results in 16."""
        experts = self._format(EXPERTS)
        return experts if op == "moe_dispatch" and experts == "nvfp4" else "bf16"

    def _collective(self, call: Message, size: Floats) -> Answer:
        """Within a host as measured; ranks of attention stand `tp` devices apart."""
        platform, stride = self.tables.platform, self.sharding.tp if call.name in _MESSAGES else 1
        hosts, members = spread_over(call.devices, stride, platform)
        if hosts == 1:
            return self.tables.query_message(call.op, size, call.devices)
        self._say(_NETWORK, says_network(self.tables.platform))
        across = self.tables.estimate(0.0, across_s(call.op, size, hosts, members, platform))
        if members == 1:
            return across
        within = self.tables.query_message(call.op, size, members)
        total = within.latency_s + across.latency_s
        spread = (within.latency_s * within.rel_sd + across.latency_s * across.rel_sd) / total
        return Answer(total, spread, across.code)

    def _sending(self, call: Send, size: Floats) -> Part:
        """From stage to stage, over a link or the network."""
        platform = self.tables.platform
        each = self.sharding.tp * self.sharding.attention_dp
        passed = hosts_passed(self.sharding.pp, each, platform)
        if passed:
            self._say(_NETWORK, says_network(self.tables.platform))
        here, there = p2p_s(size, self.tables.link), HOP_S + size / network_bytes_s(platform)
        mean = (here * (call.count - passed) + there * passed) / call.count
        return self._counted(call.name, call.count, self.tables.estimate(0.0, mean))

    def _say(self, about: Key, sentence: str) -> None:
        self.tables.warnings[about] = sentence
        say([sentence])

    def _counted(self, name: str, count: float, found: Answer, more_s: float = 0.0) -> Part:
        return Part(name, count * (found.latency_s + more_s), found.rel_sd, found.code)


@lru_cache(maxsize=512)
def _attending(steps: StepModel) -> tuple[Apart, frozenset[str]]:
    """The attention of a step on grids, and what its tables say."""
    with listening() as said:
        batch, chunk, past = (axis.ravel() for axis in np.meshgrid(_BATCH, _CHUNK, _PAST, indexing="ij"))
        context = _total(steps.prompts(batch, chunk, past)).reshape(len(_BATCH), len(_CHUNK), len(_PAST))
        decodes, cached = (axis.ravel() for axis in np.meshgrid(_DECODES[1:], _CACHED, indexing="ij"))
        generation = _total(steps.decoding(decodes, cached)).reshape(len(_DECODES) - 1, len(_CACHED))
    generation = np.concatenate([np.zeros((1, len(_CACHED))), generation])
    place = chunk_coordinate.taking(1e-5)
    coordinate = np.array([place(length) for length in _CHUNK.tolist()])
    return Apart(_BATCH, coordinate, _PAST, context, _DECODES, _CACHED, generation), frozenset(said)


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
