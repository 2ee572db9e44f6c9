"""Mutated files of every format through the importers: what ends badly, and how long and how large the worst was.

Run: `python tests/bench/fuzz_import.py [FILES] [--format NAME] [--first N] [--keep FOLDER]`. File N of a format is the
same at each run, so `--format NAME --first N 1` repeats one. Ends with exit code 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from perfdb.errors import InputError, ServecastError
from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportOptions
from perfdb.importers.sniff import FORMATS
from perfdb.store import Store
from perfdb.store.schema import TABLES

TESTS = Path(__file__).resolve().parents[1]
GROUP = 50
LARGEST_SAMPLE = 200_000
LONGEST_SENTENCE = 5000
LABEL = re.compile(rb"""(?:api[_-]key|hf_token)["']?\s*[=:]?\s*["']?$""")
BAR, DELIMITERS = rb"\|", rb"[,;\t|]"
PARTIAL = """
SELECT s.path, s.rows_read, s.stored, s.duplicates, s.quarantined, coalesce(p.n, 0) AS there, coalesce(q.n, 0) AS aside
FROM sources s
LEFT JOIN (SELECT source_id, count(DISTINCT source_row) AS n FROM ({rows}) GROUP BY 1) p USING (source_id)
LEFT JOIN (SELECT source_id, count(DISTINCT "row") AS n FROM quarantine GROUP BY 1) q USING (source_id)
WHERE s.rows_read <> s.stored + s.duplicates + s.quarantined OR there <> s.stored OR aside <> s.quarantined"""
"""Files whose rows are not all there, or not all accounted for."""


def load(name: str, path: Path) -> ModuleType:
    """A test module by its path: tests are no package."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path}: not there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


mutate = load("fuzz_mutate", TESTS / "perfdb" / "mutate.py")
conformance = load("fuzz_conformance", TESTS / "conformance" / "test_importers.py")


@dataclass(frozen=True)
class Mutant:
    """File `number` of a format, in a folder of its own with the files that belong to it."""

    format: str
    number: int
    file: Path
    how: tuple[str, ...]

    @property
    def name(self) -> str:
        """How it is told: the format, the number and what was done to it."""
        return f"{self.format} {self.number} ({' + '.join(self.how)})"


@dataclass
class Findings:
    """What was seen: bad endings with their mutants, good ones counted, and the worst cost of one file."""

    bad: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[float, str] = (0.0, "")

    def add(self, mutant: Mutant, what: str) -> None:
        """Note a bad ending."""
        self.bad.append(f"{mutant.name}: {what}")
        self.counts["bad"] += 1


class Fuzzer:
    """Makes mutants of the conformance samples in `folder`, and imports them into one database there."""

    def __init__(self, folder: Path, formats: Sequence[str] = FORMATS) -> None:
        self.folder = folder
        self.formats = [name for name in formats if name in conformance.SAMPLES]
        self.store = Store(folder / "fuzz.duckdb")
        self.found = Findings()
        self._samples = {name: self._sample(name) for name in conformance.SAMPLES}
        self._texts = [path.read_bytes()[:LARGEST_SAMPLE] for path in self._samples.values()]

    def _sample(self, name: str) -> Path:
        folder = self.folder / "samples" / name
        folder.mkdir(parents=True)
        made: Path = conformance.sample(name, folder)
        return made

    def mutant(self, name: str, number: int, parent: Path) -> Mutant:
        """Mutant `number` of a format: its main file mutated, sometimes one beside it instead."""
        rng = random.Random(f"{name} {number}")
        sample = self._samples[name]
        folder = parent / f"{name}-{number}"
        shutil.copytree(sample.parent, folder)
        beside = sorted(path for path in folder.rglob("*") if path.is_file())
        target = rng.choice(beside) if rng.random() < 0.2 else folder / sample.name
        content, how = mutate.mutate(target.read_bytes(), self._texts, rng)
        target.write_bytes(content if still_told(content) else content.replace(mutate.SECRET, b"no-secret"))
        return Mutant(name, number, folder / sample.name, how)

    def run(self, numbers: Iterable[int], dry_run: bool = False) -> None:
        """Import the mutants of these numbers, formats in turn; a dry run reads them and stores nothing."""
        group: list[Mutant] = []
        with tempfile.TemporaryDirectory(dir=self.folder) as parent:
            for number in numbers:
                name = self.formats[number % len(self.formats)]
                group.append(self.mutant(name, number // len(self.formats), Path(parent) / str(len(group))))
            self._import(group, dry_run)

    def _import(self, group: Sequence[Mutant], dry_run: bool) -> None:
        """As one folder; where that fails, each file by itself. Every seventh file is named, with its format."""
        named = [mutant for mutant in group if mutant.number % 7 == 0]
        found = [mutant for mutant in group if mutant.number % 7]
        try:
            self._attempt([mutant.file.parent for mutant in found], ImportOptions(dry_run=dry_run))
        except Exception:  # whatever it was, the guilty are found one by one
            for mutant in found:
                self._alone(mutant, mutant.file.parent, ImportOptions(dry_run=dry_run))
        for mutant in named:
            self._alone(mutant, mutant.file, ImportOptions(format=mutant.format, dry_run=dry_run))

    def _alone(self, mutant: Mutant, path: Path, options: ImportOptions) -> None:
        before = None if options.dry_run else self._sizes()
        try:
            self._attempt([path], options)
        except InputError as error:
            self.found.counts["refused"] += 1
            if options.format is None:
                self.found.add(mutant, f"a file of a folder ended the import: {error}")
            if "\n" in str(error) or len(str(error)) > LONGEST_SENTENCE:
                self.found.add(mutant, f"no clear sentence: {str(error)[:300]!r}")
            if before is not None and self._sizes() != before:
                self.found.add(mutant, f"refused, and yet something was stored: {error}")
        except ServecastError as error:
            self.found.add(mutant, f"{type(error).__name__}: {error}")
        except Exception:
            self.found.add(mutant, traceback.format_exc(limit=-6))

    def _attempt(self, paths: Sequence[Path], options: ImportOptions) -> None:
        clock = Clock(self.found)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            report = import_paths(self.store, paths, options, clock).to_json()
        clock("", 0, 0)
        if report["rows_read"] != report["stored"] + report["duplicates"] + report["quarantined"]:
            raise ArithmeticError(f"rows do not add up: {report}")
        self.found.counts.update({name: report[name] for name in ("files", "stored", "duplicates", "quarantined")})
        self.found.counts["refused"] += len(report["skipped"])
        said = [*report["warnings"], *(entry["reason"] for entry in report["skipped"]), *report["reasons"]]
        long = [text for text in said if len(text) > LONGEST_SENTENCE or "\n" in text]
        self.found.bad += [f"no clear sentence: {text[:300]!r}" for text in long]
        self.found.bad += [f"a secret is told: {text[:300]!r}" for text in said if mutate.SECRET.decode() in text]

    def _sizes(self) -> list[list[Any]]:
        return self.store.sql("SELECT " + ", ".join(f"(SELECT count(*) FROM {name})" for name in TABLES)).rows

    def look(self) -> None:
        """Look at the database: no file in part, no impossible value, no secret in any text of any table."""
        columns = self.store.sql("SELECT table_name, column_name, data_type FROM information_schema.columns").rows
        tables = sorted({table for table, _, _ in columns} & {"operating_points", "op_measurements"})
        rows = " UNION ALL ".join(f"SELECT source_id, source_row FROM {table}" for table in tables)
        wrong = {
            "DOUBLE": 'NOT isfinite("{0}") OR "{0}" < 0',
            "BIGINT": '"{0}" < 0',
            "VARCHAR": f"contains(\"{{0}}\", '{mutate.SECRET.decode()}')",
        }
        cases: dict[str, list[str]] = {}
        for table, column, kind in columns:
            if kind in wrong:
                case = f"CASE WHEN {wrong[kind].format(column)} THEN '{table}.{column}: ' || \"{column}\" END"
                cases.setdefault(table, []).append(case)
        each = [f"SELECT unnest([{', '.join(found)}]) AS found FROM {table}" for table, found in cases.items()]
        impossible = f"SELECT DISTINCT found FROM ({' UNION ALL '.join(each)}) WHERE found IS NOT NULL"
        for query in (PARTIAL.format(rows=rows), impossible):
            self.found.bad += [f"in the database: {str(row)[:300]}" for row in self.store.sql(query).rows]


class Clock:
    """The progress callback of an import: what each file took, in seconds and in bytes of memory."""

    def __init__(self, found: Findings) -> None:
        self._found = found
        self._file, self._start, self._before = "", 0.0, 0.0

    def __call__(self, file: str, _number: int, _files: int) -> None:
        now, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if self._file:
            self._found.slowest = max(self._found.slowest, (now - self._start, self._file))
            self._found.largest = max(self._found.largest, (peak - self._before, self._file))
        self._file, self._start, self._before = file, now, peak


def still_told(content: bytes) -> bool:
    """Whether the file says of each secret in it that it is one: by the key or flag before it, or by its column."""
    lines = content.splitlines()
    return all(_labelled(lines, number) for number, line in enumerate(lines) if mutate.SECRET in line)


def _labelled(lines: Sequence[bytes], number: int) -> bool:
    if all(LABEL.search(text[-60:]) for text in lines[number].split(mutate.SECRET)[:-1]):
        return True
    is_table = len(_cells(lines[0], DELIMITERS)) > 2  # its first line is a header: no markdown in it is read as such
    is_marked = lines[number].lstrip().startswith(b"|") and (not is_table or lines[0].lstrip().startswith(b"|"))
    row = _cells(lines[number], BAR if is_marked else DELIMITERS)
    header = _marked_header(lines[:number]) if is_marked else _cells(lines[0], DELIMITERS)
    if len(row) != len(header):  # markdown fills a short row up, and its cells stand where they stand
        return b"api_key" in header and not is_marked
    return all(name == b"api_key" for name, cell in zip(header, row, strict=True) if mutate.SECRET in cell)


def _marked_header(lines: Sequence[bytes]) -> list[bytes]:
    """The line above the last rule of a markdown table."""
    rules = [place for place, line in enumerate(lines) if place and re.fullmatch(rb"\s*\|[\s|:-]+", line)]
    return _cells(lines[rules[-1] - 1], BAR) if rules else []


def _cells(line: bytes, delimiters: bytes) -> list[bytes]:
    return [cell.strip(b' "') for cell in re.split(delimiters, line)]


def main(argv: Sequence[str]) -> int:
    """Print what became of the files; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("files", type=int, nargs="?", default=10_000)
    parser.add_argument("--format", choices=FORMATS, action="append")
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args(argv)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder), given.format or FORMATS)
        print(f"{given.files} files of {len(fuzzer.formats)} formats: {', '.join(fuzzer.formats)}", flush=True)
        numbers = range(given.first, given.first + given.files)
        for place in range(0, given.files, GROUP):
            fuzzer.run(numbers[place : place + GROUP])
            if (place // GROUP) % 5 == 0:
                print(f"  {place + GROUP:6d}: {dict(fuzzer.found.counts)}", flush=True)
        fuzzer.look()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = fuzzer.found
    bad = list(dict.fromkeys(found.bad))
    print("\n".join(bad))
    print(f"{dict(found.counts)} in {time.perf_counter() - start:.0f} s; {len(bad)} findings")
    print(f"slowest file {found.slowest[0]:.2f} s ({found.slowest[1]})")
    print(f"peak RSS {peak:.0f} MiB; most that one file added {found.largest[0]:.0f} MiB ({found.largest[1]})")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
