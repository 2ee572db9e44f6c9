"""How far operation times stray beyond what was measured: whole slices left out in turn, and the last knots of an axis.

    python tests/bench/outside_accuracy.py DB

DB holds operation tables (`servecast import aiconfigurator --db DB`). Of each kernel and number format the newest table
of each engine on a platform is asked for rows that it is packed without: those of a slice (a head size, a layer of
experts) and of those near it, or those of the last one to three knots of an axis. |log(predicted / measured)| is
printed by how far away the rows are, in the units of `model.tables.ask`, for one half of the platforms, which its
constants are from, and for the other: parts left out, the median over them of their median and ninth tenth, the sd that
holds nine tenths of all rows (each part counts as one), and the share that is held by what the product says.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from version_distance import needed

from model.tables.ask import apart, ask, beyond
from model.tables.efficiency import rates_of
from model.tables.kernels import CONTEXT, EXPERTS, GEMM, GENERATION, LATENT_CONTEXT, Kernel, Rates, waves
from model.tables.pack import Table, pack
from model.tables.rows import Rows, measured_rows
from model.tables.sources import version_number
from perfdb.facts.platforms import platform
from perfdb.operations import OperationSet
from perfdb.store import Store

KERNELS = {kernel.op: kernel for kernel in (GEMM, CONTEXT, GENERATION, EXPERTS, LATENT_CONTEXT)}
FITTED, OTHERS = ("h100_sxm", "b200_sxm"), ("h200_sxm", "gb300")
FORMATS = {"bf16", "fp8"}
MOST_PARTS, MOST_ROWS = 6, 300
Found = dict[tuple[bool, str, int], list[tuple[np.ndarray, np.ndarray]]]
NO_WAVES = np.empty(0)


def tables_of(store: Store, name: str) -> Iterator[tuple[Kernel, Rates, Rows]]:
    """The newest table of each kernel, engine and format."""
    newest: dict[tuple[object, ...], OperationSet] = {}
    for one in sorted(store.operation_sets(name), key=lambda one: version_number(one.engine_version)):
        if one.op in KERNELS and one.dtype in FORMATS and one.kv_dtype in {None, "bf16"} and one.rows > 200:
            newest[one.op, one.engine, one.dtype] = one
    for one in newest.values():
        kernel = KERNELS[one.op]
        table = store.operations(name, one.engine, one.engine_version, one.op, one.dtype)
        rows = measured_rows(table if one.kv_dtype is None else table.where(kv_dtype=one.kv_dtype), kernel)
        yield kernel, rates_of(platform(name), one.op, one.dtype or "bf16", one.kv_dtype or "bf16"), rows


def packed(kernel: Kernel, rates: Rates, rows: Rows, kept: np.ndarray) -> Table:
    """The table without some rows."""
    arguments = [values[kept] for values in rows.arguments]
    return pack(rows.keys[kept], arguments, rows.seconds[kept], partial(kernel.formula, rates), kernel.coordinate)


def parts(rows: Rows, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which rows to ask for, and to leave out: slices and those near them, then the last knots of each axis."""
    slices = np.unique(rows.keys, axis=0)
    for key in slices[rng.permutation(len(slices))[:MOST_PARTS]] if len(slices) > 1 else ():
        far = np.abs(np.log1p(rows.keys) - np.log1p(key)).sum(axis=1)
        for radius in (1e-9, 1.0, 2.0, 3.0):
            if (far > radius).any():
                yield far == 0, far <= radius
    for values in rows.arguments:
        knots = np.unique(values)
        for many in (1, 2, 3):
            if len(knots) > many + 3:
                yield values >= knots[-many], values >= knots[-many]


def errors_of(kernel: Kernel, rates: Rates, rows: Rows, table: Table, at: np.ndarray) -> tuple[np.ndarray, ...]:
    """(error, sd, how far between slices, how far beyond knots) of some rows."""
    keys, arguments = list(rows.keys[at].T), [values[at] for values in rows.arguments]
    in_waves = waves(arguments[1], arguments[2]) if kernel is CONTEXT else NO_WAVES
    answer = ask(table, kernel, rates, keys, arguments, in_waves)
    which, far = apart(table, keys)
    outside = beyond(table, np.broadcast_to(which, len(at)), arguments)
    error = np.abs(np.log(answer.latency_s / rows.seconds[at]))
    return error, answer.rel_sd, np.broadcast_to(far, len(at)), outside


def collect(store: Store, names: tuple[str, ...], is_fitted: bool, found: Found) -> None:
    """All parts of all tables of some platforms."""
    rng = np.random.default_rng(7)
    for name in names:
        for kernel, rates, rows in tables_of(store, name):
            for asked, out in parts(rows, rng):
                at = rng.permutation(np.flatnonzero(asked))[:MOST_ROWS]
                error, sd, far, outside = errors_of(kernel, rates, rows, packed(kernel, rates, rows, ~out), at)
                way, place = ("slice", far) if far.max() > 0 else ("beyond", outside)
                for bin_ in np.unique(np.ceil(place)):
                    rows_of = np.ceil(place) == bin_
                    if bin_ > 0:
                        found[is_fitted, f"{way} {kernel.op}", int(bin_)].append((error[rows_of], sd[rows_of]))
                        found[is_fitted, f"{way} (all)", int(bin_)].append((error[rows_of], sd[rows_of]))


def main() -> None:
    """Print the table."""
    found: Found = defaultdict(list)
    store = Store(Path(sys.argv[1]))
    for names, is_fitted in ((FITTED, True), (OTHERS, False)):
        collect(store, names, is_fitted, found)
    print(f"{'half':8}{'left out':30}{'far':>4}{'parts':>7}{'median':>9}{'p90':>9}{'sd':>7}{'held':>7}")
    for (is_fitted, what, bin_), pairs in sorted(found.items(), key=lambda item: (not item[0][0], item[0][1:])):
        errors = [error for error, _ in pairs]
        median, p90 = (np.median([np.quantile(error, share) for error in errors]) for share in (0.5, 0.9))
        held = np.mean([(error < 1.645 * sd).mean() for error, sd in pairs])
        half = "fitted" if is_fitted else "other"
        print(f"{half:8}{what:30}{bin_:4}{len(errors):7}{median:9.3f}{p90:9.3f}{needed(errors):7.2f}{held:7.2f}")


if __name__ == "__main__":
    main()
