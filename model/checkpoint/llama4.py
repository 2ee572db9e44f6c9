"""Llama-4's config.json under the names that other families give the same facts.

Source: `Llama4TextConfig` of `transformers` (models/llama4/configuration_llama4.py): `intermediate_size` is the width
of an expert and of the shared one, `intermediate_size_mlp` that of a dense MLP; layers without rotary positions attend
to all tokens, the others to those of their own chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfdb.errors import ModelError

Config = Mapping[str, Any]

_EVERY = 4
"""Every so many layers have no rotary positions, unless the config lists them."""


def plain_fields(config: Config, layers: int, where: str) -> Config:
    """The fields of a text model; those of other families as they are.

    Raises:
        ModelError: a field is not of the kind it must be.
    """
    if config.get("intermediate_size_mlp") is None:
        return config
    mixtures = _mixtures(config, layers, where)
    return {
        **config,
        **(_experts(config, where) if mixtures else {"num_local_experts": 0}),
        "intermediate_size": config["intermediate_size_mlp"],
        "interleave_moe_layer_step": 1,
        "mlp_only_layers": sorted(set(range(layers)) - mixtures),
        "layer_types": config.get("layer_types") or _kinds(config, layers, where),
    }


def _experts(config: Config, where: str) -> Config:
    """Number and width of the experts, and the width of the shared one."""
    count, width = config.get("num_local_experts"), config.get("intermediate_size")
    for name, value in (("num_local_experts", count), ("intermediate_size", width)):
        if not value:
            raise ModelError.at(where, f"field {name!r} is missing or zero", "a whole number above zero")
    return {
        "num_local_experts": count,
        "moe_intermediate_size": width,
        "shared_expert_intermediate_size": width,
    }


def _mixtures(config: Config, layers: int, where: str) -> set[int]:
    """The numbers of the layers with experts."""
    listed = config.get("moe_layers")
    if listed is not None:
        return set(_numbers(listed, "moe_layers", layers - 1, where))
    [step] = _numbers([config.get("interleave_moe_layer_step", 1)], "interleave_moe_layer_step", layers, where)
    return set(range(step - 1, layers, step)) if step else set()


def _kinds(config: Config, layers: int, where: str) -> list[str]:
    """What each layer attends to. The list says 1 of layers with rotary positions, which attend in chunks."""
    listed = _numbers(config.get("no_rope_layers") or [], "no_rope_layers", 1, where)
    if listed and len(listed) != layers:
        raise ModelError.at(where, f"field 'no_rope_layers' has {len(listed)} items", f"{layers}, one for each layer")
    [every] = _numbers([config.get("no_rope_layer_interval") or _EVERY], "no_rope_layer_interval", 10**6, where)
    is_local = listed or [(layer + 1) % every for layer in range(layers)]
    chunked = "chunked_attention" if config.get("attention_chunk_size") else "full_attention"
    return [chunked if local else "full_attention" for local in is_local]


def _numbers(found: Any, name: str, most: int, where: str) -> list[int]:
    """Whole numbers up to `most`."""
    if not isinstance(found, list):
        raise ModelError.at(where, f"field {name!r} is {found!r}", "a list")
    wrong = [value for value in found if type(value) is not int or not 0 <= value <= most]
    if wrong:
        raise ModelError.at(where, f"field {name!r} has {wrong[0]!r}", f"whole numbers from 0 to {most}")
    return found
