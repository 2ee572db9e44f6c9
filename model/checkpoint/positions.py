"""How long a sequence of a model may be, as vLLM works it out of a config.json.

Source: `_get_and_verify_max_len` of vllm/config/model.py; SGLang's `get_context_length` (srt/hf_transformers_utils.py)
finds the same in the configs of today.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfdb.errors import ModelError

_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_sequence_length",
)
_COUNTED_ALREADY = frozenset({"su", "longrope", "llama3"})
"""Ways of scaling positions whose configs tell the length that they lead to."""
_YARN = "yarn"


def max_positions(config: Mapping[str, Any], where: str) -> int:
    """Tokens of the longest sequence, 0 where the config does not say it; `where` says in errors what is read.

    Raises:
        ModelError: a number is none, or not above zero.
    """
    said = [_positive(config[name], name, where) for name in _NAMES if config.get(name) is not None]
    if not said:
        return 0
    longest, factor = min(said), 1.0
    if "gemma3" in str(config.get("model_type", "")):
        return int(longest)
    for scaling in _scalings(config):
        kind = scaling.get("rope_type") or scaling.get("type")
        if kind in _COUNTED_ALREADY:
            continue
        original = scaling.get("original_max_position_embeddings")
        if kind == _YARN and original is not None:
            longest = _positive(original, "original_max_position_embeddings", where)
        if scaling.get("factor") is not None:
            factor = _positive(scaling["factor"], "factor of rope_scaling", where)
    return int(longest * factor)


def _scalings(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """How positions are scaled: of all layers, or of each kind of them."""
    found = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(found, Mapping):
        return []
    kinds = [each for each in found.values() if isinstance(each, Mapping)]
    return kinds or [found]


def _positive(value: Any, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ModelError.at(where, f"field {name!r} is {value!r}", "a number above zero")
    return float(value)
