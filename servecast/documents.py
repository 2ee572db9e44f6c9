"""Documents that people write: YAML or JSON in, and one sentence on the first thing that is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from perfdb.errors import FileError, InputError

_TYPE_NAMES = {"bool", "int", "float", "str", "none", "literal"}
"""Parts of a path that name a branch of a union, which no task file shows."""


def first_problem(error: ValidationError, where: str, whole: str, known: Iterable[str]) -> str:
    """One sentence on the first wrong field of a document, which is called `whole` and has the fields `known`."""
    problem = error.errors()[0]
    parts = [str(part) for part in problem["loc"]]
    path = ".".join(part for part in parts if "[" not in part and part not in _TYPE_NAMES) or whole
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        text = f"unknown field; known: {', '.join(known)}" if "." not in path else "unknown field"
    elif problem["type"] == "missing":
        text = "is missing"
    more = len(error.errors()) - 1
    return f"{where}: {path}: {text}" + (f" (and {more} more)" if more else "")


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML itself would quietly take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See `yaml.SafeLoader`."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_document(path: Path, what: str) -> object:
    """The value in a YAML or JSON file, which should be `what`.

    Raises:
        FileError: it cannot be read. InputError: it is not YAML, or a key stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError.unreadable(path, error, f"{what} in YAML or JSON") from None
    return _parse_text(text, path)


def _parse_text(text: str, path: Path) -> object:
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}: line {error.lineno}: {error.msg}; expected JSON") from None
    try:
        return yaml.load(text, Loader=_OnceLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise InputError(f"{path}: {line}{problem}; expected YAML") from None
