"""Known model architectures as config.json-like mappings, so that a name is enough where no folder is at hand.

The numbers stand in `models.csv`, each row with its source: the public config.json of the Hugging Face repository of
that name. Older families (bloom, gptj, gpt_neox, opt, falcon, t5) have their own key names there and the common ones
here. A row whose `unsupported` names a kind of layer that no config of ours can describe is known by its name alone:
its measurements are imported under one spelling, and whoever asks for its architecture is told why there is none.
`max_position_embeddings` is the longest that the names of a row have, scaling counted; there is none where public runs
went beyond it. The user's own models (`perfdb.facts.own`) stand beside them.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perfdb.errors import FileError, ModelError, UnknownNameError
from perfdb.facts.platforms import BUILT_IN

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


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One known model: the fields of its config.json that decide its operations, and where they are from.

    `unsupported` names the kind of layer for which there are no such fields, and is empty for all others. `origin` is
    "built in", or the user's file that says it.
    """

    name: str
    config: Mapping[str, Any]
    source: str
    unsupported: str = ""
    origin: str = BUILT_IN


def _facts(row: Mapping[str, str]) -> ModelFacts:
    numbers = {name: int(row[name]) for name in _INTEGERS if row[name]}
    texts = {"model_type": row["model_type"], "hidden_act": row["hidden_act"]}
    tied = {"tie_word_embeddings": row["tie_word_embeddings"] == "true"}
    more = json.loads(row["more"]) if row["more"] else {}
    if row["model_type"] in _ALTERNATING:
        pair = ["sliding_attention", "full_attention"]
        more["layer_types"] = pair * (numbers["num_hidden_layers"] // 2)
    config = MappingProxyType({**texts, **numbers, **tied, **more})
    return ModelFacts(row["name"], config, row["source"], row["unsupported"])


def model_key(name: str) -> str:
    """The last path component, lower case, without separators, "Meta-" and endings that do not change the shape."""
    last = re.split(r"[/\\]", name.strip().rstrip("/\\"))[-1].lower()
    letters = re.sub(r"[\s_.-]", "", last).removeprefix("meta")
    while _VARIANT.search(letters):
        letters = _VARIANT.sub("", letters)
    return letters


def _load() -> tuple[dict[str, ModelFacts], dict[str, str]]:
    with Path(__file__).with_name("models.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys: dict[str, str] = {}
    for row in rows:
        for alias in (row["name"], *filter(None, row["aliases"].split(";"))):
            keys.setdefault(model_key(alias), row["name"])
    return {row["name"]: _facts(row) for row in rows}, keys


_LOADED = _load()
MODELS: dict[str, ModelFacts] = _LOADED[0]
"""Canonical name (the Hugging Face id) -> what is known of the model."""
BUILT_IN_MODELS: dict[str, str] = _LOADED[1]
"""Key of each name and alias -> name in `MODELS`."""


def canonical_model(text: str) -> str | None:
    """The name of a known model, one of the user's own too, that `text` means, None if unknown.

    Case, organisation, a path before the name, "Meta-" and the endings -hf, -chat, -it, -base and -Instruct do not
    matter: they leave the shape, and so the speed, as it is. A quantised variant (-FP8, -AWQ) is another model.
    """
    from perfdb.facts.own import own_facts

    key = model_key(text)
    return BUILT_IN_MODELS.get(key) or own_facts().model_keys.get(key)


def model_facts(name: str) -> ModelFacts:
    """What is known of a model; of one of the user's own, the content of its config.json.

    Raises:
        UnknownNameError: no known model is called so; a folder with a config.json serves for any other.
        FileError: the config.json of one of the user's own models cannot be read.
    """
    from perfdb.facts.own import own_facts

    found = canonical_model(name)
    if found in MODELS:
        return MODELS[found]
    own = own_facts()
    if found is None:
        raise UnknownNameError.of("model", name, [*MODELS, *own.models])
    path = own.models[found]
    return ModelFacts(found, _own_config(found, path), source=str(path), origin=own.file)


def known_models() -> list[str]:
    """The names of all known models: those built in, then the user's own."""
    from perfdb.facts.own import own_facts

    return [*MODELS, *own_facts().models]


def model_config(name: str) -> Mapping[str, Any]:
    """The architecture of a known model, as the fields of its config.json. Read-only.

    Raises:
        UnknownNameError: no known model is called so; a folder with a config.json serves for any other.
        FileError: the config.json of one of the user's own models cannot be read.
        ModelError: its layers are of a kind that has no description; the sentence names it.
    """
    facts = model_facts(name)
    if facts.unsupported:
        raise ModelError.at(
            facts.name, f"its architecture cannot be predicted: {facts.unsupported}", "GQA, MLA or gated delta layers"
        )
    return facts.config


def _own_config(name: str, path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError.at(
            f"model {name!r}: {path}", f"cannot be read ({error})", "a Hugging Face config.json"
        ) from error
    if not isinstance(content, Mapping):
        raise FileError.at(f"model {name!r}: {path}", "not a JSON object", "a Hugging Face config.json")
    return MappingProxyType(dict(content))
