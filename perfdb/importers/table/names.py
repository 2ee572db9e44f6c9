"""Model, hardware and engine names: known ones are spelled one way, unknown ones are kept as they are, aloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from perfdb.facts.engines import ENGINES
from perfdb.facts.models import canonical_model
from perfdb.facts.platforms import canonical_platform, other_variants
from perfdb.importers.table.dialect import squeeze
from perfdb.importers.table.frame import Frame, listing
from perfdb.importers.table.redact import redact
from perfdb.metrics import Statistic

_ENGINES = {
    squeeze(spelling): name
    for name, spellings in {
        "tgi": "tgi text-generation-inference hf-tgi",
        "deepspeed": "deepspeed deepspeed-inference",
        "deepspeed-mii": "deepspeed-mii mii deepspeed-fastgen",
        "lmdeploy": "lmdeploy turbomind lmdeploy-turbomind",
        "transformers": "transformers hf-transformers huggingface",
        "jetstream": "jetstream jetstream-maxtext",
        "mlc-llm": "mlc-llm mlc",
        "exllamav2": "exllamav2 exllama",
        "openvino": "openvino openvino-genai",
        "mlx": "mlx mlx-lm",
        "dynamo": "dynamo nvidia-dynamo",
        "trtllm": "trt tensorrt",
        "llamacpp": "llama-server llama-bench llama-cpp-python",
        **{name: name for name in ("sambaflow", "ollama", "lightllm", "ctranslate2", "optimum-habana", "nim")},
    }.items()
    for spelling in spellings.split()
} | {squeeze(spelling): facts.name for facts in ENGINES.values() for spelling in (facts.name, *facts.aliases)}
"""Spellings of the engines whose parameters we know, and of others: squeezed -> name."""


_MOST_NAMED = 20


def settle_names(frame: Frame) -> None:
    """Spell models, platforms and engines canonically; take a device count that is packed into the hardware's name."""
    _spell(frame, "model", canonical_model)
    _platforms(frame)
    _spell(frame, "engine", canonical_engine)
    for name, hint in (("model", "model=NAME"), ("platform", "platform=NAME"), ("engine", "engine=NAME")):
        absent = int((~frame.text(name).said()).sum())
        if absent:
            frame.warn(f"{name} is not said in {absent} row{'s' * (absent != 1)}: give it with --set {hint}")


def canonical_engine(text: str) -> str | None:
    """An engine's name as we spell it, whatever the case, blanks and dashes; None if we do not know it."""
    return _ENGINES.get(squeeze(text))


def _spell(frame: Frame, name: str, spell: Callable[[str], str | None]) -> None:
    given = frame.text(name).distinct()
    spelled = {text: spell(text) if text else "" for text in given.known}
    counts = np.bincount(given.codes, minlength=len(given.known))
    unknown = {
        redact(text): int(count) for text, count in zip(given.known, counts, strict=True) if spelled[text] is None
    }
    if unknown:
        frame.warn(f"unknown {name} names are stored as given: {listing(unknown, most=_MOST_NAMED)}")
    frame.texts[name] = given.map(lambda text: redact(text) if (found := spelled[text]) is None else found)


def _platforms(frame: Frame) -> None:
    given = frame.text("platform").distinct()
    read = {text: canonical_platform(text) for text in given.known}
    packed = given.numbers(lambda text: read[text][1])
    devices = frame.number("devices")
    frame.numbers[("devices", Statistic.VALUE)] = np.where(np.isnan(devices), packed, devices)
    frame.headers.setdefault(("devices", Statistic.VALUE), frame.headers.get(("platform", Statistic.VALUE), "platform"))
    merged = _merged({text: name for text, (name, _) in read.items() if name})
    # a cell may say more than a device's name ("8xH100 1FP8-meta")
    labels = given.map(lambda text: text if all(read[text]) or text in merged else "")
    if labels.said().any():
        frame.extra["hardware_label"] = labels
    if merged:
        frame.warn(f"several labels are one platform ({', '.join(sorted(merged))}): kept in extra as hardware_label")
    _spell(frame, "platform", lambda text: read[text][0])
    for text in given.known:
        others = other_variants(text) if read[text][0] else ""
        if others:
            hint = f"if it is {others}, say so with --set platform=NAME"
            frame.warn(f"hardware {text!r} was read as {read[text][0]}; {hint}")


def _merged(names: Mapping[str, str]) -> set[str]:
    """The labels that become one platform with another of the file: they may mean two things after all."""
    found: dict[str, dict[str, str]] = {}
    for text, name in names.items():
        found.setdefault(name, {})[squeeze(text)] = text
    return {text for texts in found.values() if len(texts) > 1 for text in texts.values()}
