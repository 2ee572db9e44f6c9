"""Which kernels of this machine are measured, from what a person says, and what came of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from model.checkpoint.architecture import resolve_model
from model.steps.layers import Attention, Call, LatentAttention, Mixture, Product, Sharding, calls
from perfdb.errors import BudgetError, EngineError, InputError
from perfdb.facts.local import usable_cores
from perfdb.facts.platforms import canonical_platform, platform
from perfdb.operations import canonical_dtype
from runner.collect.cases import Case, Grid, HeadShape, Shape, grid_named
from runner.collect.journal import Timed
from runner.collect.method import spread_text
from runner.collect.run import Collected, Progress
from servecast.options import typed_list
from servecast.output import note, print_table, seconds_text
from servecast.tuning.budget import Budget, Unit

_EVERY_S = 5.0
_SHARES = "1,2,4,8"
_QUANTILES = {"p50": 0.5, "p90": 0.9}


def shapes_of(device: str, grid: str, models: str | None, tp: str | None) -> Grid:
    """The shapes of a named grid, or with its lengths those of models: "a,b" and on how many devices each, "1,2".

    Raises:
        UnknownNameError, FileError, ModelError: there is no such grid, or a model cannot be described.
        InputError: a name is empty, a number of devices is none, or such numbers stand without models.
    """
    shapes = grid_named(device, grid)
    if models is None:
        if tp is not None:
            raise InputError.at("--tp", "no --models beside it", "both, or neither")
        return shapes
    names = [name.strip() for name in models.split(",")]
    if "" in names:
        raise InputError.at("--models", f"{models!r} holds an empty name", "names with commas between")
    given = typed_list(tp or _SHARES, "--tp")
    shares = [each for each in given if isinstance(each, int) and not isinstance(each, bool)]
    if len(shares) < len(given):
        raise InputError.at("--tp", repr(tp), f"numbers of devices, such as {_SHARES}")
    return with_models(shapes, names, shares)


def with_models(grid: Grid, models: Sequence[str], shares: Sequence[int]) -> Grid:
    """The grid with the products and heads that these models have on one of `shares` devices (tp) each.

    What has no kernel here (latent attention, windows, experts) is said and left out.

    Raises:
        UnknownNameError, FileError, ModelError: a model cannot be described.
        InputError: a number of devices is less than 1.
    """
    if any(tp < 1 for tp in shares):
        raise InputError.at("--tp", f"{min(shares)}", "numbers of devices from 1 on, such as 1,2,4,8")
    products: dict[Shape, None] = {}
    heads: dict[HeadShape, None] = {}
    for name in models:
        model = resolve_model(name)
        found = [call for tp in shares for call in calls(model, Sharding(tp))]
        products |= dict.fromkeys(
            (int(call.n), int(call.k)) for call in found if isinstance(call, Product) and _whole(call.n, call.k)
        )
        heads |= dict.fromkeys(
            (int(call.heads.heads), int(call.heads.kv_heads), int(call.heads.head_dim))
            for call in found
            if isinstance(call, Attention) and not call.heads.window and _whole(*call.heads)
        )
        left_out = dict.fromkeys(word for word in map(_unmeasured, found) if word)
        if left_out:
            note(f"{model.name}: {', '.join(left_out)} cannot be measured here; the rest is")
    return replace(grid, products=list(products), heads=list(heads))


def _whole(*sizes: float) -> bool:
    return all(float(size).is_integer() for size in sizes)


def _unmeasured(call: Call) -> str:
    match call:
        case LatentAttention():
            return "latent attention"
        case Mixture():
            return "its experts"
        case Attention() if call.heads.window:
            return "attention of a window"
    return ""


def number_formats(text: str | None) -> list[str] | None:
    """ "bf16,float8_e4m3" -> ["bf16", "fp8"]; None where nothing is said.

    Raises:
        InputError: a word is no number format.
    """
    if text is None:
        return None
    found: dict[str, None] = {}  # each once
    for word in text.split(","):
        name = canonical_dtype(word)
        if name is None:
            what = f"{word.strip()!r} is no number format"
            raise InputError.at("--dtypes", what, "one such as bf16, fp8, int8 or q4_0")
        found[name] = None
    return list(found)


def seconds_of(budget: str | None) -> float:
    """ "10m" -> 600; infinite where nothing is said.

    Raises:
        InputError: it is no time.
    """
    if budget is None:
        return float("inf")
    try:
        cap = Budget.parse(budget)
    except BudgetError:
        cap = None
    if cap is None or cap.unit is not Unit.SECONDS:
        raise InputError.at("--budget", f"{budget!r} is no time", "one such as 90s, 10m or 2h")
    return cap.amount


def check_places(device: str, out: Path, python: str, name: str | None) -> None:
    """Refuse a folder, an interpreter or a platform's name that cannot be meant, before anything is measured.

    Raises:
        InputError: one is empty, or the name is that of a device of another kind.
    """
    for flag, value, right in (
        ("--out", out.name, "a folder of its own"),
        ("--python", python.strip(), "an interpreter"),
        ("--platform", "local" if name is None else name.strip(), "a name"),
    ):
        if not value:
            raise InputError.at(flag, "it is empty", right)
    known = None if name is None else canonical_platform(name)[0]
    if known is not None and (platform(known).kind == "cpu") != (device == "cpu"):
        raise InputError.at("--platform", f"{known} is no {device.upper()} device", "the name of the one that is timed")


def threads_of(asked: int | None) -> int:
    """Threads of the host: as many as asked for, else one per core.

    Raises:
        InputError: there are fewer processors than that: threads would take turns, and be timed at waiting.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if asked is not None and asked > there:
        raise InputError.at("--threads", f"{asked}", f"1 to {there}, as many as there are processors to use")
    return asked or max(int(usable_cores()), 1)


def watch() -> Progress:
    """Progress for a person: one case every few seconds, and the first that is refused for a reason."""
    said = -_EVERY_S
    reasons: set[str | None] = {None}

    def measured(done: int, wanted: int, case: Case, timed: Timed) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _EVERY_S or timed.error not in reasons:
            said = now
            reasons.add(timed.error)
            busy = f", {timed.waited:.0%} waiting for a core" if timed.is_busy else ""
            what = timed.error or f"{timed.answer['latency_s'] * 1e6:,.1f} µs ± {timed.spread:.1%}{busy}"
            note(f"[{done} of {wanted}] {case}: {what}")

    return measured


def document_of(found: Collected) -> dict[str, Any]:
    """The document of the command; `spread` are quantiles of the relative spread of the repeats."""
    from numpy import quantile

    spreads = _spreads(found.timed)
    return {
        "table": str(found.table) if found.table else None,
        "measured": len(spreads),
        "refused": sum(each.error is not None for each in found.timed),
        "missing": found.missing,
        "busy": found.busy,
        "new": found.new,
        "repeats": found.repeats,
        "seconds": found.seconds,
        "spread": {name: float(quantile(spreads, q)) for name, q in _QUANTILES.items()} if spreads else None,
    }


def say_collected(found: Collected) -> None:
    """How many times of each operation there are, and how steady they are."""
    groups: dict[tuple[str, str], list[Timed]] = {}
    for each in found.timed:
        groups.setdefault((each.asked["op"], each.asked["dtype"]), []).append(each)
    rows = []
    for (op, dtype), mine in sorted(groups.items()):
        spreads = _spreads(mine)
        refused = sum(each.error is not None for each in mine)
        rows.append([op, dtype, len(spreads), refused, f"{median(spreads):.1%}" if spreads else "-"])
    print_table(["operation", "dtype", "measured", "refused", "median spread"], rows)
    if spreads := _spreads(found.timed):
        again = f" and {found.repeats} measured again" if found.repeats else ""
        print(f"{found.new} new{again} in {seconds_text(found.seconds)}; {spread_text(spreads)}")
    if found.missing:
        print(f"{found.missing} of {found.cases} cases are left; the same command goes on from there")
    if found.table is not None and found.busy:
        note(_busy_text(found))


def check_collected(found: Collected) -> None:
    """Refuse to end well with nothing to import where time was not what lacked.

    Raises:
        EngineError: the machine was busy whenever a case was timed.
    """
    if found.table is None and found.busy:
        raise EngineError(f"there is no table yet: {_busy_text(found)}")


def _busy_text(found: Collected) -> str:
    what = f"{found.busy} of {found.cases} cases were timed while threads waited for a core"
    return f"{what}; expected a machine without other work, or fewer --threads (into another --out)"


def _spreads(timed: Iterable[Timed]) -> list[float]:
    return [each.spread for each in timed if each.error is None and not each.is_busy]
