"""How near operations and whole steps are to another tool's answers: agreement, not truth; and how fast they come.

    python tests/bench/oracle_agreement.py DB ORACLES

DB holds that tool's own tables (`servecast import aiconfigurator --db DB`), ORACLES its answers as op_oracle.csv and
step_oracle.csv (their README says what the columns are). Its convention for small kernels is switched on by name.
Printed: median and p95 of |ours / theirs - 1| and the median of the signed one.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numba import njit

from model.checkpoint.architecture import resolve_model
from model.simulate.costs import StepCosts, step_s
from model.steps.layers import Sharding
from model.steps.overheads import Overheads
from model.steps.small import PROFILES
from model.steps.tabulate import Part, StepModel
from perfdb.store import Store
from servecast.kernels.kernel_tables import tables_named
from servecast.kernels.operations import answer_questions, read_questions

STACK = ("system", "backend", "version")
THEIRS = PROFILES["aiconfigurator"]
NOTHING = Overheads(0.0, 0.0, 0.0, 0.0, 0.0)
_STEPS = 1_000_000
_LOOK_UPS = 1_000_000


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("db", type=Path)
    parser.add_argument("oracles", type=Path)
    given = parser.parse_args()
    store = Store(given.db)
    compare_operations(store, given.oracles / "op_oracle.csv")
    costs = compare_steps(store, given.oracles / "step_oracle.csv")
    say_speed(store, costs)


def rows_by_stack(path: Path) -> dict[tuple[str, ...], list[tuple[int, dict[str, str]]]]:
    """Numbered rows by system, backend and version."""
    found = defaultdict(list)
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            found[tuple(row[name] for name in STACK)].append((number, row))
    return found


def compare_operations(store: Store, path: Path) -> None:
    """One line per stack and operation. Prompts' attention there carries a constant for that tool's small kernels."""
    asked = read_questions(path)
    for stack, numbered in rows_by_stack(path).items():
        tables = tables_named(stack[0], f"{stack[1]}:{stack[2]}", store)
        answer = answer_questions(tables, asked)  # all rows: the others are not looked at
        pairs = defaultdict(list)
        for number, row in numbered:
            own = answer.latency_s[number] + THEIRS.attention_s * (row["op"] == "context_attention")
            pairs[row["op"], row["dtype"]].append((own * 1e3, float(row["latency_ms"])))
        for (op, dtype), both in pairs.items():
            say(f"{' '.join(stack)} {op} {dtype}", both)


def compare_steps(store: Store, path: Path) -> StepCosts:
    """One line per stack and kind of step, then per model; tables of the last one."""
    by_stack, by_model = defaultdict(list), defaultdict(list)
    for stack, numbered in rows_by_stack(path).items():
        tables = tables_named(stack[0], f"{stack[1]}:{stack[2]}", store)
        grouped = defaultdict(list)
        for _, row in numbered:
            grouped[row["model"], int(row["tp"])].append(row)
        for (name, tp), rows in grouped.items():
            steps = StepModel(tables, resolve_model(name), Sharding(tp), "bf16", "bf16", "bf16", NOTHING, small=THEIRS)
            for kind, both in step_pairs(steps, rows).items():
                by_stack[f"{' '.join(stack)} {kind}"] += both
                by_model[f"{name} {kind}"] += both
    for found in (by_stack, by_model):
        for label, both in found.items():
            say(label, both)
    return steps.costs(8192, 256)


def step_pairs(steps: StepModel, rows: Sequence[dict[str, str]]) -> dict[str, list[tuple[float, float]]]:
    """(ours, theirs) in milliseconds by kind of step."""

    def column(name: str) -> np.ndarray:
        return np.array([float(row[name]) for row in rows])

    isl, osl, one = column("isl"), column("osl"), np.ones(len(rows))
    cached = isl + np.floor(osl / 2)
    prompt, decodes = column("prefill_bs1_isl"), column("decode_gen")
    alone = total(steps.by_tokens(prompt)) + total(steps.by_sequences(one))
    alone += total(steps.prompts(one, prompt, 0.0 * one))
    decoding = total(steps.by_tokens(decodes)) + total(steps.by_sequences(decodes))
    decoding += total(steps.decoding(decodes, cached))
    chunk, beside = column("mixed_ctx"), column("mixed_gen")
    mixed = total(steps.by_tokens(chunk + beside)) + total(steps.by_sequences(beside + 1))
    mixed += total(steps.prompts(np.ceil(chunk / isl), isl, 0.0 * one)) / np.ceil(isl / chunk)
    mixed += total(steps.decoding(beside, cached))
    costs = steps.costs(16384, 512)
    tabulated = [step_s(costs, int(n), int(n), 0.0, 0.0, n, kv) for n, kv in zip(decodes, cached, strict=True)]
    found = {
        "prefill": (alone, "prefill_ms"), "decode": (decoding, "decode_ms"), "mixed": (mixed, "mixed_ms"),
        "decode, tabulated": (np.array(tabulated), "decode_ms"),
    }  # fmt: skip
    return {kind: list(zip(own * 1e3, column(name), strict=True)) for kind, (own, name) in found.items()}


def total(parts: Iterable[Part]) -> np.ndarray:
    """Seconds of all parts together."""
    return np.sum([part.seconds for part in parts], axis=0)


def say(label: str, both: Sequence[tuple[float, float]]) -> None:
    """One line."""
    ours, theirs = np.array(both).T
    error = ours / theirs - 1
    size = np.abs(error)
    print(
        f"{label:62} n {len(both):5} median {np.median(size):.2%} p95 {np.quantile(size, 0.95):.1%} "
        f"signed {np.median(error):+.2%}",
        flush=True,
    )


def say_speed(store: Store, costs: StepCosts) -> None:
    """Look-ups and steps per second of CPU, the best of five."""
    rng = np.random.default_rng(0)
    tables = tables_named("h200_sxm", "vllm:0.24.0", store)
    shapes = [2.0 ** rng.uniform(low, high, _LOOK_UPS) for low, high in ((0, 14), (7, 16), (7, 15))]
    hot = [np.tile(shape[:1000], _LOOK_UPS // 1000) for shape in shapes]
    tokens = rng.integers(1, 8192, _STEPS)
    lengths = rng.uniform(1, 8192, _STEPS)
    for label, count, run in (
        ("products, a million shapes", _LOOK_UPS, lambda: tables.query_gemm("bf16", *shapes)),
        ("products, a thousand shapes repeated", _LOOK_UPS, lambda: tables.query_gemm("bf16", *hot)),
        ("steps", _STEPS, lambda: many_steps(costs, tokens, lengths)),
    ):
        best = np.inf
        for _ in range(6):
            started = time.process_time()
            run()
            best = min(best, time.process_time() - started)
        print(f"{label}: {count / best / 1e6:.1f} M per second of CPU")


@njit
def many_steps(costs, tokens, lengths):
    """Steps of half prompts and half decoding sequences."""
    seconds = 0.0
    for row in range(len(tokens)):
        decodes = min(tokens[row] // 2, 128)
        prompt = float(tokens[row] - decodes)
        seconds += step_s(costs, tokens[row], decodes + 1, prompt, 0.0, float(decodes), lengths[row])
    return seconds


if __name__ == "__main__":
    main()
