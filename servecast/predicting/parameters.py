"""The parameters that a user names: by the engine's own names, and which of them the closed form sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from model.knobs import ROLES
from perfdb.errors import InputError
from perfdb.facts.engines import EngineFacts
from perfdb.records import Scalar

_Said = TypeVar("_Said")


def own_names(facts: EngineFacts, sets: Mapping[str, _Said], flag: str = "--set") -> dict[str, _Said]:
    """What is said of parameters, by the engine's own names of them; `flag` says in errors what named them.

    Raises:
        UnknownNameError: the engine has no such parameter. InputError: two names mean the same one.
    """
    found: dict[str, _Said] = {}
    for text, values in sets.items():
        name = facts.parameter(text).name
        if name in found:
            raise InputError.at(f"{flag} {text}".strip(), f"{name} stands twice", "each parameter once")
        found[name] = values
    return found


def unseen_parameters(facts: EngineFacts, sets: Mapping[str, tuple[Scalar, ...]]) -> list[str]:
    """A sentence where some of the given parameters change nothing that the closed form knows of."""
    own = own_names(facts, sets)
    unseen = [facts.parameters[name] for name in own if not _is_seen(facts.parameters[name].role, own)]
    what = "not seen by the closed form, which only measured configs can tell apart by it"
    names = [", ".join(each.name for each in unseen if bool(each.role) == acts) for acts in (True, False)]
    ends = ("; servecast simulate acts on it, or says why it cannot", "")
    return [f"{some}: {what}{end}" for some, end in zip(names, ends, strict=True) if some]


def _is_seen(role: str, own: Mapping[str, tuple[Scalar, ...]]) -> bool:
    """SGLang's tokens of all prompts bound a step of the closed form only where prompts are prefilled whole."""
    return role in ROLES and (role != "prefill_tokens" or -1 in own.get("chunked_prefill_size", ()))
