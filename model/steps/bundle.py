"""A model's own layers, measured as it runs them: what some collections have instead of tables of single kernels.

Notation: products and small kernels are measured over tokens T, the head and sampler over sequences S; attention of
prompts and decoding sequences together over (chunk, past, decodes, cached) as `model.simulate.costs` has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.checkpoint.architecture import Architecture
from model.prediction import Floats
from model.simulate.costs import StepCosts
from model.steps.layers import Sharding
from model.tables.library import Tables
from model.tables.sources import choose
from perfdb.facts.models import canonical_model
from perfdb.operations import OperationTable

_PER_LAYER = ("qkv_proj", "o_proj", "rope", "qk_norm")
_DENSE = ("gate_up_proj", "activation", "down_proj")
_ONCE = ("embedding", "final_norm")
_OF_SEQUENCES = ("lm_head", "sampler")
_JOINT = "mixed_attention"
_HALVES = {"bf16", "fp16"}
_AXES = ("isl", "prefix", "decode_batch", "decode_kv")


@dataclass(frozen=True)
class Curve:
    """Seconds of one layer's operation at ascending `counts` of tokens or sequences; linear between, and beyond them
    as between the last two."""

    counts: Floats
    seconds: Floats

    def at(self, counts: Floats) -> Floats:
        """Seconds, `n`."""
        inside = np.interp(counts, self.counts, self.seconds)
        if len(self.counts) < 2:
            return inside
        slope = (self.seconds[-1] - self.seconds[-2]) / (self.counts[-1] - self.counts[-2])
        return np.asarray(inside + np.maximum(counts - self.counts[-1], 0.0) * max(slope, 0.0))


@dataclass(frozen=True)
class Bundle:
    """The measured layers of one model: `curves` by operation, `experts` seconds over tokens × experts that get one
    (None where there are none), `knots` and `attention` of one layer's joint attention. Whole experts are spread over
    `ranks` of attention data parallelism."""

    model: Architecture
    curves: Mapping[str, Curve]
    experts: tuple[Floats, Floats, Floats] | None
    knots: tuple[Floats, ...]
    attention: Floats
    ranks: int = 1

    def costs(self, most_tokens: int, most_seqs: int) -> StepCosts:
        """Tables for steps of up to so many tokens and sequences; nothing is added for the engine."""
        tokens, seqs = np.arange(most_tokens + 1, dtype=np.float64), np.arange(most_seqs + 1, dtype=np.float64)
        dense, head = (
            np.sum(list(parts.values()), axis=0) for parts in (self.by_tokens(tokens), self.by_sequences(seqs))
        )
        dense[0] = head[0] = 0.0
        chunk, past, decodes, cached = self.knots
        return StepCosts(dense, head, chunk, past, decodes, cached, self.attention * self.model.attention_layers, 0.0)

    def by_tokens(self, tokens: Floats) -> dict[str, Floats]:
        """Operation -> seconds of what grows with the tokens of a step, all layers together, `n` each."""
        model = self.model
        counts = dict.fromkeys(_PER_LAYER, model.layers) | dict.fromkeys(_ONCE, 1) | {"norm": 2 * model.layers}
        counts |= dict.fromkeys(_DENSE, model.layers - model.moe_layers)
        found = {op: float(count) * self.curves[op].at(tokens) for op, count in counts.items() if op in self.curves}
        return found if self.experts is None else {**found, "experts": self.experts_s(tokens)}

    def by_sequences(self, sequences: Floats) -> dict[str, Floats]:
        """Operation -> seconds of what grows with the sequences of a step, `n` each."""
        return {op: self.curves[op].at(sequences) for op in _OF_SEQUENCES if op in self.curves}

    def experts_s(self, tokens: Floats) -> Floats:
        """Seconds of the experts of all layers, each rank bringing T tokens, `n`: r·T tokens that choose evenly reach
        E·(1 − (1 − k/E)^(r·T)) of them, of which every rank has as many. A rank's kernels take the rows of all tokens,
        and skip the choices that others have only in their products."""
        if self.experts is None:
            return np.zeros(len(tokens))
        counts, active, seconds = self.experts
        share = self.model.top_k / self.model.experts
        brought = np.maximum(tokens, 1.0) * self.ranks
        reached = self.model.experts / self.ranks * -np.expm1(brought * np.log1p(-share))
        lines: Floats = np.stack([Curve(counts, line).at(brought) for line in seconds.T], axis=1)
        at = np.clip(np.searchsorted(active, reached) - 1, 0, len(active) - 2)
        way = np.clip((reached - active[at]) / (active[at + 1] - active[at]), 0.0, 1.0)
        rows = np.arange(len(tokens))
        return np.asarray(self.model.moe_layers * ((1.0 - way) * lines[rows, at] + way * lines[rows, at + 1]))


def find_bundle(
    tables: Tables, model: Architecture, sharding: Sharding, formats: tuple[str, str] = ("bf16", "bf16")
) -> Bundle | None:
    """The measured layers of a model so divided, None where its attention or a product was never measured so.

    Layers are measured in 16 bits: `formats` of weights and cache must be that.
    """
    ranks = sharding.attention_dp
    whole = Sharding(sharding.tp) if ranks == 1 else Sharding(1, 1, ranks, ranks)
    if sharding != whole or not set(formats) <= _HALVES:
        return None
    joint = _rows(tables, _JOINT, model, sharding.tp)
    if joint is None:
        return None
    curves = {}
    for op in (*_PER_LAYER, *_DENSE, *_ONCE, *_OF_SEQUENCES, "norm"):
        rows = _rows(tables, op, model, sharding.tp)
        if rows is not None:
            curves[op] = _curve(rows, "batch_size" if op in _OF_SEQUENCES else "tokens")
    experts = _experts(_rows(tables, "moe", model, sharding.tp)) if model.moe_layers else None
    if not {"qkv_proj", "o_proj", "lm_head"} <= set(curves) or (model.moe_layers and experts is None):
        return None
    knots, attention = _joint(joint)
    return Bundle(model, curves, experts, knots, attention, ranks)


def _rows(tables: Tables, op: str, model: Architecture, tp: int) -> OperationTable | None:
    choice = choose(tables.sets, op, tables.engine, tables.version, "bf16", None)
    if choice is None:
        return None
    table = tables.fetch(
        platform=tables.platform.name, engine=choice.engine, engine_version=choice.version, op=op, dtype=choice.dtype
    )
    name = canonical_model(model.name) or model.name
    same = [word for word in set(table["model"].tolist()) if word and (canonical_model(word) or word) == name]
    found = table.where(model=same[0], tp=tp) if same else None
    return found if found is not None and len(found) else None


def _curve(rows: OperationTable, axis: str) -> Curve:
    counts, place = np.unique(rows[axis], return_inverse=True)
    sums = np.bincount(place, weights=rows["latency_s"])
    return Curve(counts, sums / np.bincount(place))


def _experts(rows: OperationTable | None) -> tuple[Floats, Floats, Floats] | None:
    """Seconds by tokens and experts that get one; places that cannot be (more experts than choices) as the nearest."""
    if rows is None or not np.isfinite(rows["active_experts"]).all():
        return None
    counts, at = np.unique(rows["tokens"], return_inverse=True)
    active, place = np.unique(rows["active_experts"], return_inverse=True)
    seconds = np.full((len(counts), len(active)), np.nan)
    seconds[at, place] = rows["latency_s"]
    for line in seconds:
        known = np.isfinite(line)
        line[:] = np.interp(np.arange(len(line)), np.flatnonzero(known), line[known])
    return counts, active, seconds


def _joint(rows: OperationTable) -> tuple[tuple[Floats, ...], Floats]:
    """The grid of joint attention; what was not measured is the sum of its prompt part and its decoding part."""
    columns = [rows[name] for name in _AXES]
    # rows that say more were timed otherwise (to see what unequal lengths cost), up to three times as long
    on_grid = np.array([said is None for said in rows["more"].tolist()])
    for values in columns:
        on_grid &= (values == 0) | (np.log2(np.maximum(values, 1.0)) % 1.0 == 0)
    columns = [values[on_grid] for values in columns]
    knots = [np.unique(values) for values in columns]
    table = np.full([len(axis) for axis in knots], np.nan)
    table[tuple(np.searchsorted(axis, values) for axis, values in zip(knots, columns, strict=True))] = rows[
        "latency_s"
    ][on_grid]
    prompts = _along(table[:, :, 0, 0])
    decoding = _along(table[0, 0])
    prompts[0], decoding[0] = 0.0, 0.0
    parts = prompts[:, :, None, None] + decoding[None, None]
    table = np.where(np.isfinite(table), table, parts)
    table[0], table[:, :, 0] = decoding, prompts[:, :, None]
    return tuple(knots), np.ascontiguousarray(table)


def _along(plane: Floats) -> Floats:
    """Unknown places carried on from the last known one in proportion to its place along the second axis, or held."""
    filled = plane.copy()
    for line in filled:
        known = np.flatnonzero(np.isfinite(line))
        if len(known):
            line[:] = np.interp(np.arange(len(line)), known, line[known])
    return np.nan_to_num(filled)
