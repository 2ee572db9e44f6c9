"""Known model architectures as config.json-like mappings, so that a name is enough where no folder is at hand.

The numbers stand in `models.csv`; each row's source is the public config.json of the Hugging Face repository of that
name. Older families (bloom, gptj, gpt_neox, opt) have their own key names there and the common ones here.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perfdb.errors import UnknownNameError

_INTEGERS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
)
_ALTERNATING = frozenset({"gemma2", "gpt_oss"})  # every other layer attends to a window only
_VARIANT = re.compile(r"(instruct|chat|hf|it|base)$")


def _config(row: Mapping[str, str]) -> Mapping[str, Any]:
    numbers = {name: int(row[name]) for name in _INTEGERS if row[name]}
    texts = {"model_type": row["model_type"], "hidden_act": row["hidden_act"]}
    tied = {"tie_word_embeddings": row["tie_word_embeddings"] == "true"}
    more = json.loads(row["more"]) if row["more"] else {}
    if row["model_type"] in _ALTERNATING:
        pair = ["sliding_attention", "full_attention"]
        more["layer_types"] = pair * (numbers["num_hidden_layers"] // 2)
    return MappingProxyType({**texts, **numbers, **tied, **more})


def _load() -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    with Path(__file__).with_name("models.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys: dict[str, str] = {}
    for row in rows:
        for alias in (row["name"], *filter(None, row["aliases"].split(";"))):
            keys.setdefault(_key(alias), row["name"])
    return {row["name"]: _config(row) for row in rows}, keys


def _key(name: str) -> str:
    """The last path component, lower case, without separators, "Meta-" and endings that do not change the shape."""
    last = re.split(r"[/\\]", name.strip().rstrip("/\\"))[-1].lower()
    letters = re.sub(r"[\s_.-]", "", last).removeprefix("meta")
    while _VARIANT.search(letters):
        letters = _VARIANT.sub("", letters)
    return letters


_LOADED = _load()
MODELS: dict[str, Mapping[str, Any]] = _LOADED[0]
"""Canonical name (the Hugging Face id) -> the fields of its config.json that decide its operations."""
_BY_KEY: dict[str, str] = _LOADED[1]


def canonical_model(text: str) -> str | None:
    """The name in `MODELS` that `text` means, None if unknown.

    Case, organisation, a path before the name, "Meta-" and the endings -hf, -chat, -it, -base and -Instruct do not
    matter: they leave the shape, and so the speed, as it is. A quantised variant (-FP8, -AWQ) is another model.
    """
    return _BY_KEY.get(_key(text))


def model_config(name: str) -> Mapping[str, Any]:
    """The architecture of a known model, as the fields of its config.json. Read-only.

    Raises:
        UnknownNameError: no known model is called so; a folder with a config.json serves for any other.
    """
    found = canonical_model(name)
    if found is None:
        raise UnknownNameError.of("model", name, MODELS)
    return MODELS[found]
