"""Lists of configs: rows of a file or mappings of a program, each of which names settings as --set does."""

from __future__ import annotations

import csv
import io
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from model.missing import is_missing
from perfdb.delimiters import delimiter_of
from perfdb.errors import FileError, InputError
from perfdb.facts.engines import EngineFacts
from perfdb.records import Grid, Scalar
from search.space import MOST_CONFIGS
from servecast.arguments import checked_config
from servecast.predicting.parameters import own_names

FORMATS = ".jsonl, .json, .yaml or .csv"
_OF_THE_LOAD = {"isl", "osl", "scenario", "concurrency", "rate", "batch", "requests", "prefix_tokens", "devices"}
"""Flags that say one thing for all configs."""
_RIGHT = 'a config such as {"tp": 2, "max_num_seqs": 64}'
Placed = tuple[str, object]
"""What a config is called in errors, and the config."""


@dataclass(frozen=True)
class ConfigList:
    """Configs in order, and what each of them is called in errors: "configs.csv: line 3". None is as good as unsaid.

    `repeated` is how many more there were that said the same as one before.
    """

    configs: tuple[Mapping[str, Scalar], ...]
    places: tuple[str, ...]
    repeated: int = 0

    @classmethod
    def of(cls, configs: Iterable[Mapping[str, Scalar]]) -> ConfigList:
        """A list of a program.

        Raises:
            InputError: there is none, or one is no mapping of names and single values.
        """
        return cls._checked("configs", ((f"config {place}", config) for place, config in enumerate(configs, 1)))

    @classmethod
    def read(cls, path: Path) -> ConfigList:
        """A file: JSON lines of objects, a list of these in JSON or YAML, or CSV with a column for each setting.

        Raises:
            FileError: it cannot be read, or is of none of these formats. InputError: a row is no config.
        """
        if path.suffix not in _READERS:
            raise FileError.at(str(path), "the name does not say how to read it", f"a file that ends in {FORMATS}")
        return cls._checked(str(path), _READERS[path.suffix](path))

    @classmethod
    def _checked(cls, where: str, found: Iterable[Placed]) -> ConfigList:
        rows = [(place, checked_config(place, config)) for place, config in found]
        if not rows:
            raise InputError.at(where, "no configs", "at least one")
        return cls(tuple(config for _, config in rows), tuple(place for place, _ in rows))

    def of_engine(self, facts: EngineFacts, every: Mapping[str, object]) -> ConfigList:
        """The same by the engine's own names, each distinct config once; `every` config has further settings.

        Raises:
            UnknownNameError: the engine has no such parameter. InputError: a parameter is named twice.
        """
        kept: dict[frozenset[tuple[str, type, Scalar]], int] = {}
        configs = []
        own = cache(lambda names: _own_of(facts, names, every))
        for at, (config, place) in enumerate(zip(self.configs, self.places, strict=True)):
            try:
                names = own(tuple(config))
            except InputError as error:
                raise type(error)(f"{place}: {error}") from None
            values = zip(names, config.values(), strict=True)
            named = {name: value for name, value in values if not is_missing(value)}
            if kept.setdefault(frozenset((name, type(value), value) for name, value in named.items()), at) == at:
                configs.append(named)
        places = tuple(self.places[at] for at in kept.values())
        return ConfigList(tuple(configs), places, len(self.configs) - len(configs))

    @property
    def values(self) -> dict[str, tuple[Scalar, ...]]:
        """Parameter -> its distinct values."""
        found: dict[str, dict[tuple[type, Scalar], Scalar]] = {}
        for config in self.configs:
            for name, value in config.items():
                found.setdefault(name, {})[type(value), value] = value
        return {name: tuple(values.values()) for name, values in found.items()}

    def times(self, every: Grid) -> Grid:
        """Each config with each of `every`, those of one config side by side.

        Raises:
            InputError: there are too many.
        """
        n = len(self.configs) * len(every)
        if n > MOST_CONFIGS:
            what = f"{len(self.configs):,} configs, each with {len(every):,} of --set"
            raise InputError.at("--configs", what, f"at most {MOST_CONFIGS:,} in all")
        mine, others = np.divmod(np.arange(n), len(every))
        return Grid({**Grid.of(self.configs).take(mine).columns, **every.take(others).columns}, n)

    def refused(self, grid: Grid, why: Callable[[Grid], InputError | None]) -> InputError | None:
        """The first refusal of a row of `times`, which names the config; `why` says of rows why they are refused."""
        n = len(grid)
        # all rows up to a wrong one are refused together with it
        at = bisect_left(range(n), True, key=lambda row: why(grid.take(np.arange(row + 1))) is not None)
        error = why(grid.take([at])) if at < n else None
        return None if error is None else type(error)(f"{self.places[at * len(self.configs) // n]}: {error}")


def _own_of(facts: EngineFacts, names: Sequence[str], every: Mapping[str, object]) -> list[str]:
    """The engine's own names of the settings of one config."""
    for name in names:
        if name.strip().lstrip("-").replace("-", "_") in _OF_THE_LOAD:
            raise InputError.at(name, "it is the same for all configs", f"--{name}, and no such setting here")
    own = list(own_names(facts, dict.fromkeys(names), ""))
    for name, text in zip(own, names, strict=True):
        if name in every:
            raise InputError.at(text, f"--set says {name} for every config", "it in one of both")
    return own


def _of_lines(path: Path) -> Iterator[Placed]:
    for number, line in enumerate(_text_of(path).splitlines(), 1):
        place = f"{path}: line {number}"
        if line.strip():
            try:
                yield place, json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError.at(place, f"not JSON ({error.msg})", _RIGHT) from None


def _of_document(path: Path) -> Iterator[Placed]:
    from servecast.documents import read_document

    found = read_document(path, "a list of configs")
    if not isinstance(found, list):
        raise InputError.at(str(path), "not a list", f"a list of objects, each {_RIGHT}")
    return ((f"{path}: config {number}", config) for number, config in enumerate(found, 1))


def _of_table(path: Path) -> Iterator[Placed]:
    """Cells are read as --set reads values; an empty one says nothing."""
    from servecast.options import typed

    text, value_of = _text_of(path), cache(typed)
    lines = csv.reader(io.StringIO(text), delimiter=delimiter_of(text.splitlines()[:20]) or ",", skipinitialspace=True)
    names = [name.strip() for name in next(lines, [])]
    if not all(names) or len(set(names)) < len(names):
        raise InputError.at(f"{path}: line 1", "a name is empty or stands twice", "a name for each column, once")
    for cells in lines:
        place = f"{path}: line {lines.line_num}"
        if len(cells) not in {0, len(names)}:
            raise InputError.at(place, f"{len(cells)} cells", f"{len(names)}, as many as there are names")
        if cells:
            pairs = zip(names, map(str.strip, cells), strict=True)
            yield place, {name: value_of(cell) for name, cell in pairs if cell}


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError.unreadable(path, error, f"a list of configs ({FORMATS})") from None


_READERS: Mapping[str, Callable[[Path], Iterator[Placed]]] = {
    ".jsonl": _of_lines,
    ".json": _of_document,
    ".yaml": _of_document,
    ".yml": _of_document,
    ".csv": _of_table,
}
