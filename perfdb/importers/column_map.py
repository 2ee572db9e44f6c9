"""A column map: a YAML file that says which field each column holds and in which unit, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfdb.errors import FileError, InputError
from perfdb.importers.importer import ColumnRule
from perfdb.importers.table.dialect import known_units, unit_of
from perfdb.importers.table.fields import field_meaning
from perfdb.paths import is_folder, is_there

_HEAD = """\
# Column -> field, or {field: FIELD, unit: UNIT}. Fields are metrics (ttft_s:p99), facts of the run (concurrency, isl),
# parameters of the engine (tp, config.NAME), extra.NAME for what is only kept, and ignore. Give it back with --map.
"""


def read_map(path: Path) -> dict[str, ColumnRule]:
    """Read a column map: a YAML mapping from the file's column name to a field, or to {field: NAME, unit: UNIT}.

    Raises:
        FileError: the file cannot be read or is not such a mapping.
        UnknownNameError: a field or unit is not known.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: the column map cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise FileError(f"{path}: the column map cannot be read: {reason}") from error
    if not isinstance(content, dict) or not content:
        raise FileError(
            f"{path}: not a column map; expected lines of COLUMN: FIELD or COLUMN: {{field: FIELD, unit: UNIT}}"
        )
    return {str(name): _rule(path, str(name), rule) for name, rule in content.items()}


def _rule(path: Path, name: str, rule: Any) -> ColumnRule:
    if isinstance(rule, str):
        rule = {"field": rule}
    is_known = isinstance(rule, dict) and isinstance(rule.get("field"), str) and set(rule) <= {"field", "unit"}
    if not is_known:
        raise InputError.at(f"{path}, {name!r}", f"{rule!r} is no rule", "a field, or {field: FIELD, unit: UNIT}")
    field_meaning(rule["field"], "field of the column map")
    unit = str(rule.get("unit", ""))
    if unit and not unit_of(unit):
        raise InputError.at(f"{path}, {name!r}", f"unknown unit {unit!r}", f"one of {', '.join(known_units())}")
    return ColumnRule(rule["field"], unit)


def check_new(path: Path) -> None:
    """Refuse a path to which no new map can be written.

    Raises:
        InputError: something is there already, or its folder is not.
    """
    if is_there(path):
        raise InputError.at(f"--save-map {path}", "it exists already", "the name of a new file")
    if not is_folder(path.parent):
        raise InputError.at(f"--save-map {path}", f"there is no folder {path.parent}", "a file in a folder that exists")


@dataclass
class Understood:
    """The columns of all files of an import as they were read; where two files disagree on a unit, none is told."""

    rules: dict[str, ColumnRule] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    """Column -> the first file that had it."""

    def add(self, file: str, columns: Mapping[str, tuple[str, str]]) -> list[str]:
        """Take in the columns (name -> field and unit) of one file; answers with what does not fit to earlier ones."""
        clashes = []
        for name, (where, unit) in columns.items():
            known = self.rules.setdefault(name, ColumnRule(where, unit))
            first = self.said.setdefault(name, file)
            if (known.field, known.unit) == (where, unit):
                continue
            if known.field == where and known.unit:
                self.rules[name] = ColumnRule(where)
            here, there = " in ".join(filter(None, (where, unit))), " in ".join(filter(None, (known.field, known.unit)))
            clashes.append(
                f"the saved map cannot be right for all files: column {name!r} is {here}, and {there} in {first}"
            )
        return clashes

    def write(self, path: Path) -> None:
        """Write the map.

        Raises:
            FileError: it cannot be written.
        """
        import yaml

        rules = {
            name: {"field": rule.field, "unit": rule.unit} if rule.unit else rule.field
            for name, rule in self.rules.items()
        }
        text = yaml.safe_dump(rules, sort_keys=False, allow_unicode=True, default_flow_style=None, width=10_000)
        try:
            path.write_text(_HEAD + text, encoding="utf-8")
        except OSError as error:
            raise FileError(f"{path}: the column map cannot be written ({error.strerror or error})") from error
