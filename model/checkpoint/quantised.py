"""Which number format each part of a checkpoint is in: what the `quantization_config` of a config.json says.

Dialects: compressed-tensors (`config_groups`, `ignore`), NVIDIA Model Optimizer (`quant_algo`, `ignore`,
`exclude_modules`, `quantized_layers`), fp8 (`modules_to_not_convert`, `ignored_layers`), AWQ and GPTQ
(`modules_to_not_convert`, `dynamic`), MXFP4. Their lists name modules: by whole components of the name, by a wildcard,
or by a regular expression. Each list is asked for modules of a few layers of each part.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

from model.checkpoint.parts import ATTENTION, DENSE_MLP, EXPERTS, LINEAR_ATTENTION, SHARED_EXPERTS, usual_format
from model.dtypes import dtype
from perfdb.errors import ModelError, UnknownNameError

Config = Mapping[str, Any]
Formats = tuple[tuple[str, str], ...]
"""(part, number format) of each part that is in another one than usual."""

_ALGORITHMS = {
    "FP8": "fp8", "FP8_PB_WO": "fp8_block", "FP8_PER_CHANNEL_PER_TOKEN": "fp8", "MXFP8": "fp8", "NVFP4": "nvfp4",
    "W4A16_NVFP4": "nvfp4_wo", "W4A16_AWQ": "int4", "W4A8_AWQ": "int4_fp8", "W4A16": "int4", "W8A16": "int8_wo",
    "W8A8_SQ_PER_CHANNEL": "int8",
}  # fmt: skip
"""What NVIDIA's Model Optimizer calls number formats."""
_LEFT_OUT = ("ignore", "ignored_layers", "exclude_modules", "modules_to_not_convert", "llm_int8_skip_modules")
_INTEGERS = {4: "int4", 8: "int8"}
_BESIDE_HALF = {"int8": "int8_wo"}
_EVERY_MODULE = {"Linear", "*"}
_MX_GROUP = 32
_ROOTS = ("model.layers", "layers", "model.language_model.layers", "language_model.model.layers")
_ROOT = re.compile(r"^(?:model\.|language_model\.)+(?=layers\.)")
_LAYERS_ASKED = 8


def _spelled(blocks: Iterable[str], modules: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(f"{block}.{name}" for block in blocks for name in names) for names in modules)


_MLP = (("gate_proj", "w1", "gate_up_proj"), ("up_proj", "w3", "gate_up_proj"), ("down_proj", "w2"))
_MLPS = ("mlp", "feed_forward", "block_sparse_moe")
_MODULES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    ATTENTION: _spelled(
        ("self_attn",), (("q_proj", "qkv_proj"), ("k_proj", "qkv_proj"), ("v_proj", "qkv_proj"), ("o_proj",))
    ),
    LINEAR_ATTENTION: _spelled(
        ("linear_attn",), (("in_proj_qkvz", "in_proj_qkv"), ("in_proj_qkvz", "in_proj_z"), ("out_proj",))
    ),
    DENSE_MLP: _spelled(("mlp", "feed_forward"), _MLP),
    SHARED_EXPERTS: _spelled([f"{mlp}.{name}" for mlp in _MLPS for name in ("shared_experts", "shared_expert")], _MLP),
    EXPERTS: _spelled([f"{mlp}.experts.0" for mlp in _MLPS] + [f"{mlp}.experts" for mlp in _MLPS], _MLP),
}
"""The matrices of one layer of each part, each with all names that families of models give it."""
_LATENT = _spelled(
    ("self_attn",),
    (("q_a_proj", "q_proj"), ("q_b_proj", "q_proj"), ("kv_a_proj_with_mqa",), ("kv_b_proj",), ("o_proj",)),
)


def weight_formats(config: Config, layers: Mapping[str, Sequence[int]], where: str) -> tuple[str, Formats]:
    """The format that a checkpoint is said to be in (of a mixture, that of its experts), and those of other parts.

    Args:
        config: the config.json of the text model.
        layers: part -> the numbers of the layers that have it.
        where: what errors say was read.

    Raises:
        ModelError: a format, or a list of modules, has no known meaning.
    """
    whole = _known(str(config.get("torch_dtype") or config.get("dtype") or "bf16").removeprefix("torch."), where)
    quantised = config.get("quantization_config")
    if not isinstance(quantised, Mapping):
        return whole, ()
    rules, otherwise = _rules(quantised, whole if dtype(whole).bytes <= 2 else "bf16", where)
    is_mixture = EXPERTS in layers
    latent = bool(config.get("kv_lora_rank"))
    if rules:
        found = {part: _format_in(_names(part, which, latent), rules, otherwise) for part, which in layers.items()}
        main = found[EXPERTS] if is_mixture else found.get(DENSE_MLP, otherwise)
    else:
        found, main = {}, otherwise
    return main, tuple((part, name) for part, name in found.items() if name != usual_format(main, part, is_mixture))


def _known(name: str, where: str) -> str:
    try:
        return dtype(name).name
    except UnknownNameError as error:
        raise ModelError(f"{where}: {error}") from error


@dataclass(frozen=True)
class _Rule:
    """Modules that a list names, and the format that they are in: `parts` of names, and a `pattern` of whole ones."""

    parts: frozenset[str]
    pattern: re.Pattern[str] | None
    format: str

    def holds(self, layer: int, spellings: Sequence[str]) -> bool:
        """Whether the list names a module that may be spelled in several ways."""
        return any(self._names(layer, name) for name in spellings)

    def _names(self, layer: int, name: str) -> bool:
        words = f"layers.{layer}.{name}".split(".")
        runs = (".".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1))
        if self.parts and not self.parts.isdisjoint(runs):
            return True
        return self.pattern is not None and any(self.pattern.match(f"{root}.{layer}.{name}") for root in _ROOTS)


def _rule(names: Iterable[str], number_format: str, where: str) -> _Rule:
    parts, patterns = set(), []
    for name in names:
        if name.startswith("re:"):
            patterns.append(name[3:])
        elif re.search(r"[*?\[]", name):
            patterns += [translate(name), translate(f"{name}.*")]
        else:
            parts.add(_ROOT.sub("", name.strip(".")))
    try:
        pattern = re.compile("|".join(f"(?:{text})" for text in patterns)) if patterns else None
    except re.error as error:
        raise ModelError.at(where, f"quantization_config names modules by a bad pattern ({error})", "a regex") from None
    return _Rule(frozenset(parts), pattern, number_format)


def _rules(quantised: Config, half: str, where: str) -> tuple[list[_Rule], str]:
    """What lists say, the first that names a module counting, and the format of all that no list names."""
    left = [name for key in _LEFT_OUT for name in _texts(quantised.get(key))]
    rules = [_rule(left, half, where)] if left else []
    for key, change in _mapping(quantised, "dynamic").items():
        sign, _, pattern = key.rpartition(":")
        bits = change.get("bits") if isinstance(change, Mapping) else None
        if sign == "-" or bits is not None:
            rules.append(_rule([f"re:{pattern}"], half if sign == "-" else _of_bits(bits, where), where))
    for name, layer in _mapping(quantised, "quantized_layers").items():
        algorithm = str(layer.get("quant_algo", "")).upper() if isinstance(layer, Mapping) else ""
        rules.append(_rule([name], _known(_ALGORITHMS.get(algorithm, algorithm), where), where))
    otherwise = _stated(quantised, half, where)
    for names, number_format in _groups(quantised, where):
        if not set(names) & _EVERY_MODULE:
            rules.append(_rule(names, number_format, where))
    return rules, otherwise


def _stated(quantised: Config, half: str, where: str) -> str:
    """The format of modules that no list names."""
    algorithm = str(quantised.get("quant_algo") or "").upper()
    if algorithm in _ALGORITHMS:
        return _ALGORITHMS[algorithm]
    if quantised.get("quantized_layers"):
        return half
    groups = list(_groups(quantised, where))
    if groups:
        return next((text for names, text in groups if set(names) & _EVERY_MODULE), half)
    bits = quantised.get("bits", quantised.get("weight_bits"))
    name = _INTEGERS.get(bits) if isinstance(bits, int) else None
    name = name or str(quantised.get("quant_method", ""))
    return "fp8_block" if name == "fp8" and quantised.get("weight_block_size") else _known(name, where)


def _groups(quantised: Config, where: str) -> Iterator[tuple[list[str], str]]:
    """The modules of each group of compressed-tensors, and their format."""
    for group in _mapping(quantised, "config_groups").values():
        if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping):
            yield _texts(group.get("targets")), _group_format(group["weights"], group.get("input_activations"), where)


def _group_format(weights: Config, activations: Config | None, where: str) -> str:
    bits, is_float = weights.get("num_bits"), weights.get("type") == "float"
    if bits == 4 and is_float:
        if weights.get("group_size") == _MX_GROUP:
            return "mxfp4"
        return "nvfp4" if activations else "nvfp4_wo"
    if bits == 8 and is_float:
        return "fp8_block" if weights.get("strategy") == "block" else "fp8"
    if bits == 4 and activations and activations.get("type") == "float":
        return "int4_fp8"
    name = _of_bits(bits, where)
    return name if activations else _BESIDE_HALF.get(name, name)


def _of_bits(bits: object, where: str) -> str:
    found = _INTEGERS.get(bits) if isinstance(bits, int) else None
    if found is None:
        raise ModelError.at(where, f"quantization_config has weights of {bits!r} bits", "4 or 8")
    return found


def _mapping(config: Config, name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _texts(found: object) -> list[str]:
    return [text for text in found if isinstance(text, str)] if isinstance(found, list | tuple) else []


def _names(part: str, layers: Sequence[int], latent: bool) -> Iterator[tuple[int, tuple[str, ...]]]:
    modules = _LATENT if latent and part == ATTENTION else _MODULES[part]
    asked = [layers[at * len(layers) // _LAYERS_ASKED] for at in range(_LAYERS_ASKED)]
    return ((layer, spellings) for layer in sorted(set(asked)) for spellings in modules)


def _format_in(modules: Iterable[tuple[int, tuple[str, ...]]], rules: Sequence[_Rule], otherwise: str) -> str:
    """The format of most of the modules."""
    found = (
        next((rule.format for rule in rules if rule.holds(layer, spellings)), otherwise) for layer, spellings in modules
    )
    return Counter(found).most_common(1)[0][0]
