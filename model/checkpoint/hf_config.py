"""Read a Hugging Face config.json: each fact under the names that model families give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.checkpoint.families import refuse_undescribed
from model.checkpoint.llama4 import plain_fields
from model.checkpoint.parts import ATTENTION, DENSE_MLP, EXPERTS, LINEAR_ATTENTION, SHARED_EXPERTS
from model.checkpoint.positions import max_positions
from model.checkpoint.quantised import weight_formats
from perfdb.errors import ModelError

Config = Mapping[str, Any]

_MOST, _MOST_LAYERS = 1e12, 10_000
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads")
_KV_HEADS = (
    "num_key_value_heads",
    "num_key_value_heads_per_layer",
    "num_kv_heads",
    "n_head_kv",
    "multi_query_group_num",
)
_INTERMEDIATE = ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "ffn_hidden_dim")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_TOP_K = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k", "moe_k")
_SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
_EXPERT_WIDTH = ("moe_intermediate_size", "expert_intermediate_size", "intermediate_size")
# These families have two matrices in the MLP, an inner width of 4·h unless told, and share the embedding.
_TWO_MATRICES = frozenset(
    {"gpt2", "gptj", "gpt_neox", "gpt_bigcode", "opt", "bloom", "falcon", "phi", "phi-msft", "starcoder2", "codegen",
     "nemotron", "arcee", "apertus"}
)  # fmt: skip
_TIED_UNLESS_TOLD = frozenset(
    {"gpt2", "opt", "bloom", "falcon", "gemma", "gemma2", "gemma3", "gemma3_text", "cohere", "cohere2"}
)
_EVERY_SECOND_IS_FULL = frozenset({"gemma2", "gpt_oss"})


def architecture_fields(config: Config, where: str) -> dict[str, Any]:
    """The fields of an `Architecture` but its name; `where` says in errors what is read. Multimodal: the text model.

    Raises:
        ModelError: a field is missing, or is not of the kind it must be.
    """
    nested = config.get("text_config")
    text: Config = {**config, **nested} if isinstance(nested, Mapping) else config
    refuse_undescribed({**text, "outer_model_type": config.get("model_type")}, where)
    hidden, layers = _need(text, _HIDDEN, where), _need(text, _LAYERS, where)
    if layers > _MOST_LAYERS:
        raise ModelError.at(where, f"{layers:g} layers", f"at most {_MOST_LAYERS:,}")
    text = plain_fields(text, layers, where)
    heads = _need(text, _HEADS, where)
    family = str(text.get("model_type", ""))
    gated = family not in _TWO_MATRICES
    moe = _moe(text, layers, where)
    inner = _first(text, _INTERMEDIATE)
    if inner is None and gated and moe.get("moe_layers") != layers:
        _need(text, _INTERMEDIATE, where)
    head_dim = _integer(text.get("head_dim"), "head_dim", where) or hidden // heads
    number_format, formats = weight_formats(text, _parts(text, layers, moe, where), where)
    return dict(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=_kv_heads(text, heads, where),
        head_dim=head_dim,
        intermediate=_integer(inner, _INTERMEDIATE[0], where) or 4 * hidden,
        vocab=_need(text, ("vocab_size",), where),
        gated=gated,
        tied=bool(text.get("tie_word_embeddings", family in _TIED_UNLESS_TOLD)),
        max_positions=max_positions(text, where),
        dtype=number_format,
        formats=formats,
        **moe,
        **_mla(text, layers, where),
        **_layer_kinds(text, layers, where),
    )


def _parts(config: Config, layers: int, moe: Mapping[str, int], where: str) -> dict[str, list[int]]:
    """Part -> the numbers of the layers that have it."""
    every = set(range(layers))
    mixtures = set(_mixtures(config, layers, where)) if moe else set()
    linear = set(_linear_layers(config, layers, where))
    found = {
        ATTENTION: every - linear,
        LINEAR_ATTENTION: linear,
        DENSE_MLP: every - mixtures,
        SHARED_EXPERTS: mixtures if moe.get("shared_intermediate") else set(),
        EXPERTS: mixtures,
    }
    return {part: sorted(which) for part, which in found.items() if which}


def _first(config: Config, names: tuple[str, ...]) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)


def _integer(value: Any, name: str, where: str) -> int | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _MOST or value != int(value):
        raise ModelError.at(where, f"field {name!r} is {value!r}", f"a whole number from 0 to {_MOST:g}")
    return int(value)


def _need(config: Config, names: tuple[str, ...], where: str) -> int:
    value = _integer(_first(config, names), names[0], where)
    if not value:
        others = f" (also known as {', '.join(names[1:])})" if names[1:] else ""
        raise ModelError.at(where, f"field {names[0]!r}{others} is missing or zero", "a whole number above zero")
    return value


def _kv_heads(config: Config, heads: int, where: str) -> float:
    value = _first(config, _KV_HEADS)
    if isinstance(value, list) and value:
        counts = [_integer(item, "num_key_value_heads", where) or 0 for item in value]
        return sum(counts) / len(counts)
    if value is None and config.get("multi_query"):
        return 1.0
    return float(_integer(value, _KV_HEADS[0], where) or heads)


def _moe(config: Config, layers: int, where: str) -> dict[str, int]:
    experts = _integer(_first(config, _EXPERTS), _EXPERTS[0], where) or 0
    if experts < 2:
        return {}
    top_k = _need(config, _TOP_K, where)
    width = _need(config, _EXPERT_WIDTH, where)
    shared = _integer(config.get("shared_expert_intermediate_size"), "shared_expert_intermediate_size", where)
    if shared is None:
        count = _integer(_first(config, _SHARED), "n_shared_experts", where) or 0
        shared = count * width
    return {
        "experts": experts,
        "top_k": top_k,
        "expert_intermediate": width,
        "shared_intermediate": shared,
        "moe_layers": len(_mixtures(config, layers, where)),
    }


def _mixtures(config: Config, layers: int, where: str) -> list[int]:
    """The numbers of the layers with experts."""
    every = _first(config, ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq"))
    if isinstance(every, list):
        return [layer for layer, has_experts in enumerate(every[:layers]) if has_experts]
    every = _integer(every, "moe_layer_freq", where)
    first = _integer(_first(config, ("first_k_dense_replace", "moe_layer_start_index")), "", where) or 0
    dense = set(config.get("mlp_only_layers") or ())
    step = max(every or 1, 1)
    return [layer for layer in range(first, layers) if (layer - first + 1) % step == 0 and layer not in dense]


def _mla(config: Config, layers: int, where: str) -> dict[str, int]:
    rank = _integer(config.get("kv_lora_rank"), "kv_lora_rank", where)
    if not rank:
        return {}
    found = {
        "kv_lora_rank": rank,
        "q_lora_rank": _integer(config.get("q_lora_rank"), "q_lora_rank", where) or 0,
        "qk_rope_dim": _need(config, ("qk_rope_head_dim",), where),
        "qk_nope_dim": _need(config, ("qk_nope_head_dim",), where),
        "v_head_dim": _need(config, ("v_head_dim",), where),
    }
    return found | (_indexer(config, layers, where) if config.get("index_topk") else {})


def _indexer(config: Config, layers: int, where: str) -> dict[str, int]:
    """Sparse attention (DeepSeek-V3.2); some layers of GLM-5.2 share the choice of the last one before that made it."""
    kinds = config.get("indexer_types")
    every = _integer(config.get("index_topk_freq"), "index_topk_freq", where) or 1
    first = _integer(config.get("index_skip_topk_offset"), "index_skip_topk_offset", where) or 0
    own = [layer for layer in range(layers) if layer < first or (layer + 1 - first) % every == 0]
    return {
        "index_topk": _need(config, ("index_topk",), where),
        "index_heads": _need(config, ("index_n_heads",), where),
        "index_dim": _need(config, ("index_head_dim",), where),
        "index_layers": kinds.count("full") if isinstance(kinds, list) else len(own),
    }


def _layer_kinds(config: Config, layers: int, where: str) -> dict[str, int]:
    """Which layers slide a window, and which keep a state of fixed size instead of a KV cache.

    Layers that attend to the tokens of their own chunk are read as if it were a window: up to its length they do the
    same, on longer sequences they see half as much on average.
    """
    kinds = _kinds(config)
    is_chunked = "chunked_attention" in kinds
    name = "attention_chunk_size" if is_chunked else "sliding_window"
    window = _integer(config.get(name), name, where) or 0
    if config.get("use_sliding_window") is False and not is_chunked:
        window = 0
    local = "chunked_attention" if is_chunked else "sliding_attention"
    sliding = kinds.count(local) if kinds else layers - _full_layers(config, layers, where)
    linear = len(_linear_layers(config, layers, where))
    found = {"sliding_window": window, "sliding_layers": sliding if window else 0}
    return found | (_linear(config, linear, where) if linear else {})


def _kinds(config: Config) -> list[str]:
    kinds = config.get("layer_types")
    return [str(kind) for kind in kinds] if isinstance(kinds, list) else []


def _linear_layers(config: Config, layers: int, where: str) -> list[int]:
    """The numbers of the layers that keep a state instead of a KV cache."""
    kinds = _kinds(config)
    interval = _integer(config.get("full_attention_interval"), "full_attention_interval", where)
    if not kinds and interval and "linear_num_value_heads" in config:
        return [layer for layer in range(layers) if (layer + 1) % interval]
    return [layer for layer, kind in enumerate(kinds) if kind == "linear_attention"]


def _full_layers(config: Config, layers: int, where: str) -> int:
    """Layers of full attention in a model with a sliding window that does not list its layers."""
    pattern = _integer(config.get("sliding_window_pattern"), "sliding_window_pattern", where)
    pattern = pattern or (2 if config.get("model_type") in _EVERY_SECOND_IS_FULL else 0)
    return layers // pattern if pattern else 0


def _linear(config: Config, layers: int, where: str) -> dict[str, int]:
    """Gated delta net (Qwen3-Next): query, key, value and gate projections, two scalars per head, output."""
    hidden = _need(config, _HIDDEN, where)
    keys = _need(config, ("linear_num_key_heads",), where) * _need(config, ("linear_key_head_dim",), where)
    value_heads = _need(config, ("linear_num_value_heads",), where)
    values = value_heads * _need(config, ("linear_value_head_dim",), where)
    params = hidden * (2 * keys + 2 * values + 2 * value_heads) + values * hidden
    return {
        "linear_layers": layers,
        "linear_params": params,
        "linear_state": values * _need(config, ("linear_key_head_dim",), where),
    }
