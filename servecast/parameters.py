"""The parameters that a user names: by the engine's own names, and which of them the closed form sees."""

from __future__ import annotations

from collections.abc import Mapping

from model.knobs import ROLES
from perfdb.errors import InputError
from perfdb.facts.engines import EngineFacts
from perfdb.records import Scalar


def own_names(facts: EngineFacts, sets: Mapping[str, tuple[Scalar, ...]]) -> dict[str, tuple[Scalar, ...]]:
    """Parameters by the engine's own names.

    Raises:
        UnknownNameError: the engine has no such parameter. InputError: two names mean the same one.
    """
    found: dict[str, tuple[Scalar, ...]] = {}
    for text, values in sets.items():
        name = facts.parameter(text).name
        if name in found:
            raise InputError.at(f"--set {text}", f"{name} stands twice", "each parameter once")
        found[name] = values
    return found


def unseen_parameters(facts: EngineFacts, sets: Mapping[str, tuple[Scalar, ...]]) -> list[str]:
    """A sentence where some of the given parameters change nothing that the closed form knows of."""
    own = own_names(facts, sets)
    unseen = [facts.parameters[name] for name in own if not _is_seen(facts.parameters[name].role, own)]
    what = "not seen by the closed form, which only measured configs can tell apart by it"
    names = [", ".join(each.name for each in unseen if bool(each.role) == acts) for acts in (True, False)]
    ends = ("; servecast simulate acts on it", "")
    return [f"{some}: {what}{end}" for some, end in zip(names, ends, strict=True) if some]


def _is_seen(role: str, own: Mapping[str, tuple[Scalar, ...]]) -> bool:
    """SGLang's tokens of all prompts bound a step of the closed form only where prompts are prefilled whole."""
    return role in ROLES and (role != "prefill_tokens" or -1 in own.get("chunked_prefill_size", ()))
