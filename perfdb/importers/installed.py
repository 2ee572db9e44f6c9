"""Benchmark files that come with an installed package: found where they lie, read in place."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from perfdb.errors import InputError, UnknownNameError
from perfdb.importers.optable import platform_name
from perfdb.importers.walk import Found

AICONFIGURATOR = "aiconfigurator"
"""The word on the command line, and the optional extra that installs the package."""
_PACKAGE, _MODULE = "aiconfigurator-core", "aiconfigurator_core"
_SILICON = "silicon_sample.csv"


@dataclass(frozen=True)
class Installed:
    """The package aiconfigurator-core: its version and its folder."""

    version: str
    folder: Path

    @classmethod
    def find(cls) -> Installed:
        """The package in this environment; it is not imported.

        Raises:
            InputError: it is not installed.
        """
        spec = util.find_spec(_MODULE)
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places:
            raise InputError.at(
                AICONFIGURATOR, f"the package {_PACKAGE} is not installed", f"uv sync --extra {AICONFIGURATOR}"
            )
        return cls(metadata.version(_PACKAGE), Path(places[0]))

    @property
    def systems(self) -> dict[str, Path]:
        """Folder of each device that has tables, by the package's name for it."""
        folders = sorted((self.folder / "systems" / "data").glob("*/"))
        return {folder.name: folder for folder in folders if next(folder.rglob("*.parquet"), None)}

    def files(self, wanted: Collection[str] = ()) -> Iterator[Found]:
        """The tables of the wanted systems, or of all, and the collection of serving runs.

        Raises:
            UnknownNameError: there is no such system; the message lists the right ones.
        """
        systems = self.systems
        for name in wanted or systems:
            same = [folder for folder in systems if platform_name(folder) == platform_name(name)]
            if name not in systems and not same:
                raise UnknownNameError.of(f"system of {_PACKAGE}", name, systems)
            for path in sorted(systems[name if name in systems else same[0]].rglob("*.parquet")):
                yield Found(path)
        runs = self.folder / "systems" / _SILICON
        if runs.is_file():
            yield Found(runs)

    def shown(self, path: Path) -> str:
        """A file of the package by its place there, any other by its path."""
        if not path.is_relative_to(self.folder):
            return str(path)
        return f"{_PACKAGE} {self.version}/{path.relative_to(self.folder).as_posix()}"


def installed_place(shown: Path) -> Path:
    """Where a file is that `Installed.shown` calls so; any other path as it is."""
    first, *rest = shown.parts or ("",)
    if not first.startswith(f"{_PACKAGE} "):
        return shown
    try:
        return Installed.find().folder.joinpath(*rest)
    except InputError:
        return shown
