"""Fit the rates that kernels reach where nothing is measured, and write them into the product.

    python tests/bench/fit_efficiency.py DB [--write] [--only dsa]

DB holds operation tables of several platforms (`servecast import aiconfigurator --db DB`). For each kernel and number
format, each platform and engine (newest version) gives three numbers: seconds of a launch, and the shares of the
platform's peak FLOP/s and bandwidth at which the kernel's formula is nearest to what was measured (the mean of
√(0.1² + log²) over rows). A platform's are the median over its engines, the generic ones the median over platforms.

Printed, and judged where it was not fitted: |log(formula / measured)| of each platform at the generic rates of the
others, beside constants that do not know the kernel. `--write` puts the rates into model/tables/efficiency.json, each
with the sd that covers nine tenths of those errors; `--only` leaves those of other operations as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from model.tables import efficiency
from model.tables.kernels import (
    ALL_REDUCE,
    CONTEXT,
    EXPERTS,
    GEMM,
    GENERATION,
    LATENT_CONTEXT,
    LATENT_GENERATION,
    Kernel,
    Rates,
)
from model.tables.rows import Rows, measured_rows
from model.tables.sources import version_number
from model.tables.sparse import INDEXED_CONTEXT, INDEXED_GENERATION
from perfdb.facts.platforms import PlatformFacts, platform
from perfdb.operations import OperationSet
from perfdb.store import Store

KERNELS = (
    *(GEMM, CONTEXT, GENERATION, LATENT_CONTEXT, LATENT_GENERATION, INDEXED_CONTEXT, INDEXED_GENERATION),
    *(EXPERTS, ALL_REDUCE),
)
_WEIGHTS = {"bf16", "fp8", "fp8_block", "int8", "int8_wo", "int4", "int4_fp8", "nvfp4", "mxfp4", "mxfp4_mxfp8"}
_FORMATS = {k.op: _WEIGHTS if k in {GEMM, EXPERTS} else {"bf16"} for k in KERNELS}
START = np.log([1e-5, 0.5, 0.7])
FILE = Path(efficiency.__file__).with_name("efficiency.json")
_MOST_ROWS = 2000
_LEAST_ROWS = 40
_LEAST_PLATFORMS = 3
_NINE_TENTHS = 1.645
_OLD = np.log([4e-6, 0.75, 0.88])
Errors = Mapping[str, np.ndarray]
Fits = Mapping[tuple[str, str], "Measured"]


@dataclass(frozen=True)
class Measured:
    """A sample of one table, `n` rows, and the logarithms of the three numbers that fit it."""

    facts: PlatformFacts
    kernel: Kernel
    formats: tuple[str, str]
    rows: Rows
    fitted: np.ndarray

    def errors(self, three: np.ndarray) -> np.ndarray:
        """log(formula / measured), `n`."""
        rates = rates_at(self.facts, self.kernel, self.formats, three)
        keys = list(self.rows.keys.T)
        return np.log(self.kernel.formula(rates, keys, self.rows.arguments) / self.rows.seconds)


def rates_at(facts: PlatformFacts, kernel: Kernel, formats: tuple[str, str], three: np.ndarray) -> Rates:
    """The rates of a platform at logarithms of launch, share of FLOP/s and share of bandwidth (of the link)."""
    launch, flops, bandwidth = np.exp(three)
    return efficiency.rates_at(facts, kernel.op, *formats, efficiency.Shares(launch, flops, bandwidth))


def main() -> None:
    """Print the errors, and write the file where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("db", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", help="what names of operations begin with")
    given = parser.parse_args()
    store = Store(given.db)
    shares, lines = others(given.only)
    for kernel in (kernel for kernel in KERNELS if kernel.op.startswith(given.only)):
        for formats, fits in tables_of(store, kernel).items():
            name = f"{kernel.op} {efficiency.told_apart_by(kernel.op, *formats)}"
            by_platform = {
                p: np.median([fit.fitted for (q, _), fit in fits.items() if p == q], axis=0) for p, _ in fits
            }
            if len(by_platform) < _LEAST_PLATFORMS:
                continue
            kinds = {p: efficiency.like(platform(p), kernel.op) for p in by_platform}
            other = {p: generic(by_platform, kinds, kinds[p], p) for p in by_platform}
            apart = judged(fits, lambda key, other=other: other[key[0]])
            old = judged(fits, lambda _: _OLD)
            shares[name] = entry(fits, by_platform, kinds, apart)
            lines.append(summary(name, by_platform, apart, old))
            print(lines[-1], flush=True)
    if given.write:
        FILE.write_text(document(shares, lines))


def others(only: str) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    """What the file has of operations whose names begin otherwise, and its lines about them."""
    shipped = json.loads(FILE.read_text())
    about = [line for line in shipped.pop("about") if ":" in line and line.split(":")[0] in shipped]
    kept = {name: entries for name, entries in shipped.items() if only and not name.startswith(only)}
    return kept, [line for line in about if line.split(":")[0] in kept]


def tables_of(store: Store, kernel: Kernel) -> dict[tuple[str, str], Fits]:
    """Fits by formats, then by (platform, engine)."""
    names = store.sql(f"SELECT DISTINCT platform FROM op_measurements WHERE op = '{kernel.op}' ORDER BY 1").rows
    found: dict[tuple[str, str], dict[tuple[str, str], Measured]] = {}
    for (name,) in names:
        newest: dict[tuple[str, ...], OperationSet] = {}
        for kind in store.operation_sets(str(name)):
            if kind.op == kernel.op and kind.rows >= _LEAST_ROWS and kind.dtype in _FORMATS[kernel.op]:
                key = (kind.engine or "", kind.dtype or "", kind.kv_dtype or "bf16")
                if key not in newest or later(kind, newest[key]):
                    newest[key] = kind
        for (engine, number_format, cached), kind in newest.items():
            fit = fitted(store, str(name), kernel, kind)
            if fit is not None:
                found.setdefault((number_format, cached), {})[str(name), engine] = fit
    return found


def later(one: OperationSet, other: OperationSet) -> bool:
    """Whether one is of the newer version."""
    return version_number(one.engine_version) > version_number(other.engine_version)


def fitted(store: Store, name: str, kernel: Kernel, kind: OperationSet) -> Measured | None:
    """A sample of a table and its fit, None where too little of it is usable."""
    table = store.operations(name, kind.engine, kind.engine_version, kernel.op, kind.dtype)
    if kind.kv_dtype is not None:
        table = table.where(kv_dtype=kind.kv_dtype)
    rows = measured_rows(table, kernel)
    if len(rows.seconds) < _LEAST_ROWS:
        return None
    at = np.random.default_rng(0).permutation(len(rows.seconds))[:_MOST_ROWS]
    some = Rows(rows.keys[at], [values[at] for values in rows.arguments], rows.seconds[at])
    formats = (kind.dtype or "bf16", kind.kv_dtype or "bf16")
    start = Measured(platform(name), kernel, formats, some, START)
    found = minimize(lambda x: np.sqrt(0.01 + start.errors(possible(x)) ** 2).mean(), START, method="Nelder-Mead")
    return Measured(start.facts, kernel, formats, some, possible(found.x))


def possible(three: np.ndarray) -> np.ndarray:
    """No share above 1."""
    return np.minimum(three, [np.inf, 0.0, 0.0])


def generic(
    by_platform: Mapping[str, np.ndarray], kinds: Mapping[str, str], kind: str, without: str = ""
) -> np.ndarray:
    """The median over platforms of a kind, one left out."""
    return np.median([by_platform[name] for name in by_platform if kinds[name] == kind and name != without], axis=0)


def judged(fits: Fits, three_of: Callable[[tuple[str, str]], np.ndarray]) -> Errors:
    """(median, p90) over the rows of a table of |log error| at what `three_of` says for its key, by platform.

    They are medians over its engines: one whose tables hold the host's time does not speak for the others.
    """
    found: dict[str, list[np.ndarray]] = {}
    for key, fit in fits.items():
        errors = np.abs(fit.errors(three_of(key)))
        found.setdefault(key[0], []).append(np.quantile(errors, [0.5, 0.9]))
    return {name: np.median(parts, axis=0) for name, parts in found.items()}


def entry(
    fits: Fits, by_platform: Mapping[str, np.ndarray], kinds: Mapping[str, str], apart: Errors
) -> dict[str, list[float]]:
    """The numbers to ship: of all platforms of a kind, and of each, judged on engines left out where it has several."""
    found = {}
    for kind in sorted(set(kinds.values())):
        spread = float(np.mean([apart[name][1] for name in by_platform if kinds[name] == kind])) / _NINE_TENTHS
        found[kind] = rounded(generic(by_platform, kinds, kind), spread)
    own = judged(fits, lambda key: of_other_engines(fits, *key))
    for name, three in by_platform.items():
        found[name] = rounded(three, float(own[name][1]) / _NINE_TENTHS)
    return found


def of_other_engines(fits: Fits, name: str, engine: str) -> np.ndarray:
    """What fits the other engines of a platform; the one itself where it is alone."""
    others = [fit.fitted for (where, whose), fit in fits.items() if where == name and whose != engine]
    return np.median(others or [fits[name, engine].fitted], axis=0)


def rounded(three: np.ndarray, sd: float) -> list[float]:
    """Microseconds, two shares and sd, to three digits."""
    launch, flops, bandwidth = np.exp(three)
    return [float(f"{value:.3g}") for value in (launch * 1e6, flops, bandwidth, sd)]


def summary(name: str, by_platform: Mapping[str, np.ndarray], apart: Errors, old: Errors) -> str:
    """One line: how far the generic rates and the constants stray, medians over platforms."""

    ours, theirs = (np.median(list(errors.values()), axis=0) for errors in (apart, old))
    return (
        f"{name}: {len(by_platform)} platforms, median {ours[0]:.2f} p90 {ours[1]:.2f} "
        f"(constants {theirs[0]:.2f}, {theirs[1]:.2f})"
    )


def document(shares: Mapping[str, Mapping[str, Sequence[float]]], lines: Sequence[str]) -> str:
    """The file: one line per kernel, format and platform."""
    about = [
        "By kernel and number formats: platform -> [µs of a launch, share of peak FLOP/s, share of bandwidth (for "
        'messages: of the link), sd of log(measured / formula)]; "" is any other GPU, "slow link" one joined '
        "by the bus of its host.",
        "Fitted by tests/bench/fit_efficiency.py to the operation tables of aiconfigurator-core 0.12.0 (Apache-2.0).",
        "|log error| of platforms left out, median over them, beside constants that do not know the kernel:",
        *lines,
    ]
    kernels = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"    {json.dumps(where)}: {json.dumps(numbers)}" for where, numbers in entries.items())
        + "\n  }"
        for name, entries in shares.items()
    ]
    listed = ",\n".join(f"    {json.dumps(line, ensure_ascii=False)}" for line in about)
    return '{\n  "about": [\n' + listed + "\n  ],\n" + ",\n".join(kernels) + "\n}\n"


if __name__ == "__main__":
    main()
