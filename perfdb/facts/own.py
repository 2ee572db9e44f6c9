"""The user's own platforms and models: one YAML file beside the facts that ship with the product.

It is the file that SERVECAST_FACTS names (empty: none at all), else ~/.config/servecast/facts.yaml where there is one.
The format is described in docs/facts.md. A file is read again when it changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from perfdb.errors import InputError
from perfdb.facts.models import BUILT_IN_MODELS, model_key
from perfdb.facts.own_fields import known_fields, mapping, platform_of, text_of
from perfdb.facts.platforms import BUILT_IN_PLATFORMS, LOCAL, PlatformFacts, platform_key

VARIABLE = "SERVECAST_FACTS"
_SECTIONS = ("platforms", "models")


@dataclass(frozen=True)
class OwnFacts:
    """What `file` says: platform name -> facts, model name -> its config.json (an absolute path).

    The keys are those of `platform_key` and `model_key` -> name, of all names and aliases.
    """

    platforms: Mapping[str, PlatformFacts] = field(default_factory=dict)
    models: Mapping[str, Path] = field(default_factory=dict)
    platform_keys: Mapping[str, str] = field(default_factory=dict)
    model_keys: Mapping[str, str] = field(default_factory=dict)
    file: str = ""


def own_facts() -> OwnFacts:
    """The user's facts; empty where there is no file.

    Raises:
        InputError: the file cannot be read as YAML; a field is missing, of the wrong kind, or cannot be in its unit; a
            name is taken. Never a FileError: whoever imports a file must not take it for that file's fault.
        UnknownNameError: a section or a field has a name that is not known.
    """
    named = os.environ.get(VARIABLE)
    if named is not None and not named.strip():
        return OwnFacts()
    path = Path(named).expanduser() if named else _default()
    try:
        state = path.stat()
    except OSError as error:
        if named is None:
            return OwnFacts()
        raise InputError.at(f"{VARIABLE}={named}", f"cannot be read ({error.strerror})", "a YAML file") from error
    return _read(path.absolute(), state.st_mtime_ns, state.st_size)


def _default() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(home) / "servecast" / "facts.yaml"


@lru_cache(maxsize=8)
def _read(path: Path, _mtime_ns: int, _size: int) -> OwnFacts:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError.at(str(path), f"cannot be read ({reason})", "YAML with platforms and models") from error
    for name in _repeated(yaml.compose(text)):
        raise InputError.at(str(path), f"{name!r} stands twice", "each name once")
    sections = mapping(content if content is not None else {}, str(path), "platforms and models")
    known_fields(sections, _SECTIONS, str(path))
    platforms = {
        name: platform_of(name, given, path)
        for name, given in mapping(sections.get("platforms") or {}, f"{path}: platforms", "NAME: fields").items()
    }
    models = {
        name: _model(name, given, path)
        for name, given in mapping(sections.get("models") or {}, f"{path}: models", "NAME: config.json").items()
    }
    aliases = [(alias, facts.name) for facts in platforms.values() for alias in (facts.name, *facts.aliases)]
    platform_keys = _free(f"{path}: platform", aliases, platform_key, {**BUILT_IN_PLATFORMS, LOCAL: LOCAL})
    model_keys = _free(f"{path}: model", [(name, name) for name in models], model_key, BUILT_IN_MODELS)
    return OwnFacts(platforms, models, platform_keys, model_keys, str(path))


def _repeated(node: Any) -> Iterator[str]:
    """Keys that stand twice in one mapping: YAML itself would quietly take the last."""
    if node is None or node.id != "mapping":
        return
    keys = [key.value for key, _ in node.value]
    yield from (key for key in keys if keys.count(key) > 1)
    for _, value in node.value:
        yield from _repeated(value)


def _free(
    where: str, names: Iterable[tuple[str, str]], key: Callable[[str], str], taken: Mapping[str, str]
) -> dict[str, str]:
    """Key of each name or alias -> what it names; refuses those that name something else already."""
    found: dict[str, str] = {}
    for alias, name in names:
        if not key(alias):
            raise InputError.at(f"{where} {name!r}", f"{alias!r} says nothing but a maker or a variant", "a name")
        owner = taken.get(key(alias)) or found.get(key(alias))
        if owner is not None and (owner != name or alias == name):
            raise InputError.at(f"{where} {name!r}", f"the name {alias!r} is taken by {owner}", "a name of its own")
        found[key(alias)] = name
    return found


def _model(name: str, given: Any, path: Path) -> Path:
    where = f"{path}: model {name!r}"
    text = text_of(given, where, name)
    if text.endswith(".gguf"):
        raise InputError.at(
            where, "a GGUF file names itself", "its path where a model is asked for (--model FILE.gguf)"
        )
    file = (path.parent / Path(text).expanduser()).resolve()
    return file / "config.json" if file.is_dir() else file
