"""Model, hardware and engine names: known ones are spelled one way, unknown ones are kept as they are, aloud."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from perfdb.errors import UnknownNameError
from perfdb.facts.engines import engine
from perfdb.facts.models import canonical_model
from perfdb.facts.platforms import canonical_platform, other_variants
from perfdb.importers.table.cells import Texts, factorize
from perfdb.importers.table.frame import Frame, listing
from perfdb.importers.table.redact import redact
from perfdb.metrics import Statistic


def settle_names(frame: Frame) -> None:
    """Spell models, platforms and engines canonically; take a device count that is packed into the hardware's name."""
    _models(frame)
    _platforms(frame)
    _engines(frame)
    for name, hint in (("model", "model=NAME"), ("platform", "platform=NAME"), ("engine", "engine=NAME")):
        absent = int((frame.text(name) == "").sum())
        if absent:
            frame.warn(f"{name} is not said in {absent} row{'s' * (absent != 1)}: give it with --set {hint}")


def _mapped(frame: Frame, name: str, spell: Callable[[str], str | None]) -> Texts:
    codes, uniques = factorize(frame.text(name))
    counts = np.bincount(codes, minlength=len(uniques)) if len(uniques) else np.zeros(0, dtype=int)
    answers = np.empty(len(uniques), dtype=object)
    unknown: dict[str, int] = {}
    for place, text in enumerate(uniques):
        found = spell(text) if text else ""
        if found is None:
            unknown[redact(text)] = int(counts[place])
        answers[place] = redact(text) if found is None else found
    if unknown:
        frame.warn(f"unknown {name} names are stored as given: {listing(unknown, most=len(unknown))}")
    frame.texts[name] = answers[codes] if len(uniques) else frame.text(name)
    return frame.texts[name]


def _models(frame: Frame) -> None:
    _mapped(frame, "model", canonical_model)


def _platforms(frame: Frame) -> None:
    given = frame.text("platform")
    codes, uniques = factorize(given)
    counts = [canonical_platform(text)[1] for text in uniques]
    packed = np.array([np.nan if count is None else count for count in counts], dtype=np.float64)[codes]
    devices = frame.number("devices")
    frame.numbers[("devices", Statistic.VALUE)] = np.where(np.isnan(devices), packed, devices)
    frame.headers.setdefault(("devices", Statistic.VALUE), frame.headers.get(("platform", Statistic.VALUE), "platform"))
    labels = np.array([text if _is_packed(text) else "" for text in uniques], dtype=object)[codes]
    if (labels != "").any():
        frame.extra["hardware_label"] = labels
    _mapped(frame, "platform", lambda text: canonical_platform(text)[0])
    for text in uniques:
        others = other_variants(text)
        if others:
            name = canonical_platform(text)[0]
            frame.warn(f"hardware {text!r} was read as {name}; if it is {others}, say so with --set platform=NAME")


def _is_packed(text: str) -> bool:
    """Whether a hardware cell says more than a device's name ("8xH100 1FP8-meta")."""
    name, count = canonical_platform(text)
    return bool(name) and count is not None


def _engines(frame: Frame) -> None:
    def spell(text: str) -> str | None:
        try:
            return engine(text).name
        except UnknownNameError:
            return None

    _mapped(frame, "engine", spell)
