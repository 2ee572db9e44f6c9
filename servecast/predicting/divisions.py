"""The ways in which an engine can divide a model among devices, as configs by the engine's own names."""

from __future__ import annotations

from collections.abc import Iterator

from model.checkpoint.architecture import Architecture
from model.memory import RESERVES_SLOTS
from perfdb.facts.engines import EngineFacts
from perfdb.records import Scalar

DEVICES_OF_A_NODE = 8
_MOST_SLOTS = 256

Division = dict[str, Scalar]


def divisions(facts: EngineFacts, model: Architecture, devices: int) -> list[Division]:
    """All ways that take at most so many `devices`, in powers of two; those that cannot be served are among them.

    Within a node tensors are divided, beyond it layers. The experts of a mixture may be spread as wholes, also where
    ranks of attention share them. llama.cpp divides no model here: its context is divided, among slots.
    """
    if facts.name == RESERVES_SLOTS:
        return [{facts.parameter("max_num_seqs").name: slots} for slots in _powers(_MOST_SLOTS)]
    tp, pp = facts.parameter("tp").name, facts.parameter("pp").name
    found: list[Division] = []
    for groups in (size for size in _powers(devices) if size <= model.layers):
        within = _powers(min(devices // groups, DEVICES_OF_A_NODE))
        found += [{tp: split, pp: groups} for split in within if model.heads % split == 0]
        if model.moe_layers:
            found += [{**way, pp: groups} for size in within if size > 1 for way in _spread(facts, model, size)]
    return found


def _spread(facts: EngineFacts, model: Architecture, size: int) -> Iterator[Division]:
    """Ways in which `size` devices share the experts of each layer."""
    names = {parameter.role: parameter.name for parameter in facts.parameters.values() if parameter.role}
    tp, ep = names["tp"], names.get("ep")
    # vLLM's switch spreads experts over all devices that share them, the others say over how many
    whole: Division = {names["expert_parallel"]: True} if ep is None else {ep: size}
    if model.heads % size == 0:
        yield {tp: size, **whole}
    for ranks in _powers(size)[1:]:
        if model.heads % (size // ranks):
            continue
        if ep is None:
            yield {tp: size // ranks, names["dp"]: ranks, **whole}
        elif "dp" in names:
            yield {tp: size, names["dp"]: ranks, names["dp_attention"]: True, **whole}
        elif ranks == size:
            yield {tp: size, names["dp_attention"]: True, **whole}


def _powers(most: int) -> list[int]:
    return [2**power for power in range(most.bit_length())]
