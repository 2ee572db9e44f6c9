"""Flags that several commands share, each with one name, one meaning and one help text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from perfdb.errors import InputError
from perfdb.paths import is_there

if TYPE_CHECKING:
    from perfdb.records import Scalar
    from perfdb.store import Store
    from servecast.predicting.config_list import ConfigList

DEFAULT_DB = Path("servecast.duckdb")

Db = Annotated[Path, typer.Option("--db", envvar="SERVECAST_DB", help="The performance database (a DuckDB file).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait while another process holds the database.")]
Rate = Annotated[float | None, typer.Option("--rate", help="Requests per second, arriving at random.")]
Concurrency = Annotated[int | None, typer.Option("--concurrency", min=1, max=1_000_000_000, help="Requests in flight.")]
Isl = Annotated[float | None, typer.Option("--isl", min=1, help="Mean input length, tokens.")]
Osl = Annotated[float | None, typer.Option("--osl", min=1, help="Mean output length, tokens.")]
Scenario = Annotated[
    str | None,
    typer.Option("--scenario", help='Lengths as they are: all equal, "D(512,128)", or "N(480,240)/(300,150)".'),
]
Decode = Annotated[str | None, typer.Option("--decode", help="The decode pool's accelerator, where it is another.")]
Link = Annotated[float | None, typer.Option("--link", help="GB/s from a device of one pool to one of the other.")]
Configs = Annotated[
    Path | None,
    typer.Option("--configs", metavar="FILE", help="A list of configs, one a row: .jsonl, .json, .yaml or .csv."),
]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="A parameter and its value; repeatable.")]


def open_store(path: Path, wait_s: float) -> Store:
    """The database at `path`; nothing is created before something is written.

    Raises:
        InputError: the path is empty.
    """
    from perfdb.store import Store
    from servecast.output import note

    if not path.name:
        raise InputError.at("--db", f"{str(path)!r} names no file", "the path of a database")
    return Store(path, wait_s=wait_s, on_wait=note)


def open_existing(path: Path, wait_s: float) -> Store:
    """The database at `path`, to look into: where there is none that is said, and it is read as an empty one."""
    from servecast.output import note

    if not is_there(path):
        note(f"warning: {path}: no such database; it is read as an empty one")
    return open_store(path, wait_s)


def listed_configs(path: Path | None) -> ConfigList | None:
    """The configs that a file lists; None without one.

    Raises:
        See `servecast.predicting.config_list.ConfigList.read`.
    """
    if path is None:
        return None
    from servecast.predicting.config_list import ConfigList

    return ConfigList.read(path)


def pairs(given: Iterable[str] | None, flag: str) -> dict[str, str]:
    """["a=1", "b=x"] -> {"a": "1", "b": "x"}.

    Raises:
        InputError: one has no "=" or no name, or a name stands twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise InputError.at(flag, f"{text!r} cannot be read", "NAME=VALUE")
        if name.strip() in found:
            raise InputError.at(flag, f"{name.strip()} stands twice", "each name once")
        found[name.strip()] = value.strip()
    return found


def typed(text: str) -> Scalar:
    """A flag's value as the value it spells: true, 4, 0.9, null or text (YAML's rules)."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, str | int | float | bool | None) else text


def typed_list(text: str, flag: str) -> tuple[Scalar, ...]:
    """ "1,2,4" -> (1, 2, 4), each value once.

    Raises:
        InputError: a value is empty.
    """
    words = [word.strip() for word in text.split(",")]
    if "" in words:
        raise InputError.at(flag, f"{text!r} holds an empty value", "values with commas between, such as 1,2,4")
    return tuple({(type(value), value): value for value in map(typed, words)}.values())
