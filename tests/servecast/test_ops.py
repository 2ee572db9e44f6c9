"""`servecast ops`: questions of a CSV answered from imported tables, in their order; what is wrong with a row said."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.tables.kernels import CONTEXT, EXPERTS, GEMM, GENERATION, Rates
from perfdb.importers.folder import import_paths
from perfdb.store import Store

RATES = Rates(6e14, 4e12, 4e-6)
HEAD = ["op", "dtype", "a1", "a2", "a3", "a4", "a5", "a6", "source"]
PROVENANCE = {"measured", "interpolated", "extrapolated", "roofline", "learned", "version_proxy"}
SAID = {"platform": "h200_sxm", "engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16"}
Ask = Callable[..., dict[str, Any]]


def rows(op: str, seconds: np.ndarray, **columns: Any) -> list[dict[str, Any]]:
    arrays = np.broadcast_arrays(seconds, *columns.values())[1:]
    named = dict(zip(columns, arrays, strict=True))
    return [
        {**SAID, "op": op, "latency_s": float(seconds[at]), **{name: int(v[at]) for name, v in named.items()}}
        for at in range(len(seconds))
    ]


def mesh(*axes: Any) -> list[np.ndarray]:
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]


def measured() -> list[dict[str, Any]]:
    """Small tables of every operation that can be asked for."""
    m, n, k = mesh([1.0, 128, 4096], [1024.0, 4096], [1024.0, 8192])
    found = rows("gemm", GEMM.formula(RATES, (), [m, n, k]), m=m, n=n, k=k)
    heads, batch, isl = mesh([32.0], [1.0, 8], [1.0, 128, 1024, 4096, 8192, 16384])
    key, shape = (128.0, 0.0, 8.0), {"kv_heads": 8, "head_dim": 128, "window_size": 0}
    seconds = CONTEXT.formula(RATES, key, [heads, batch, isl, 0 * isl])
    kv = {"kv_dtype": "bf16"}
    for row in rows("context_attention", seconds, heads=heads, batch_size=batch, isl=isl, prefix=0, **shape):
        found.append(row | kv)
    seconds = GENERATION.formula(RATES, key, [heads, batch, isl + 1])
    for row in rows("generation_attention", seconds, heads=heads, batch_size=batch, isl=1, prefix=isl, **shape):
        found.append(row | kv)
    size = 2.0 ** np.arange(8, 24)
    found += rows("all_reduce", 8e-6 + size / 1e11, elements=size, devices=8)
    tokens = 2.0 ** np.arange(0, 14)
    layer = {"hidden": 2048, "inter": 768, "topk": 8, "experts": 128, "moe_tp": 1, "moe_ep": 1}
    seconds = EXPERTS.formula(RATES, (*layer.values(), 1.2), [tokens])
    return found + [row | {"distribution": "power_law_1.2"} for row in rows("moe", seconds, tokens=tokens, **layer)]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the tables imported by the public door."""
    folder = tmp_path_factory.mktemp("ops")
    table = measured()
    names = list(dict.fromkeys(name for row in table for name in row))
    with (folder / "tables.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(table)
    import_paths(Store(folder / "perf.duckdb"), [folder / "tables.csv"])
    return str(folder / "perf.duckdb")


def write(path: Path, questions: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *questions])


@pytest.fixture
def ask(db: str, cli) -> Ask:
    def run(questions: list[list[Any]], *more: str, engine: str = "vllm:0.24.0") -> dict[str, Any]:
        write(cli.folder / "q.csv", questions)
        return cli.json("ops", "q.csv", "--platform", "h200_sxm", "--engine", engine, "--db", db, *more)

    return run


QUESTIONS = [
    ["gemm", "bfloat16", 128, 4096, 8192],
    ["context_attention", "bfloat16", 8, 4096, 0, 32, 8, 128, "silicon"],
    ["generation_attention", "bf16", 8, 4097, "", 32, 8, 128],
    ["custom_allreduce", "half", 1024, 1024, 8],
    ["moe", "bf16", 64, 2048, 768, 8, 128, 1],
]


def test_measured_rows_are_answered_exactly_in_their_order(ask: Ask) -> None:
    """Other tools' words are understood (bfloat16, half, custom_allreduce), and an empty a3 that says nothing."""
    table = measured()
    (wanted,) = (
        [r["latency_s"] for r in table if r["op"] == "gemm" and (r["m"], r["n"], r["k"]) == (128, 4096, 8192)],
    )
    document = ask(QUESTIONS)
    assert [row["provenance"] for row in document["rows"]] == ["measured"] * 5
    assert document["rows"][0]["latency_s"] == pytest.approx(wanted[0], rel=1e-9)
    assert document["rows"][3]["latency_s"] == pytest.approx(8e-6 + 1024 * 1024 / 1e11, rel=1e-9)
    turned = ask([QUESTIONS[place] for place in (4, 2, 0, 3, 1)])
    assert [row["latency_s"] for row in turned["rows"]] == [
        document["rows"][place]["latency_s"] for place in (4, 2, 0, 3, 1)
    ]


def test_the_document_has_what_scripts_rely_on(ask: Ask) -> None:
    document = ask([["gemm", "bf16", m, 2000, 3000] for m in (1, 77, 10**6)])
    assert document["cpu_s"] >= 0
    assert [row["provenance"] for row in document["rows"]] == ["interpolated", "interpolated", "extrapolated"]
    for row in document["rows"]:
        assert set(row) == {"latency_s", "rel_sd", "provenance"}
        assert 0 < row["latency_s"] < 1
        assert 0 < row["rel_sd"] < 1
        assert row["provenance"] in PROVENANCE
    assert "lookups_per_s" not in document


def test_bench_repeats_the_batch_and_changes_no_answer(ask: Ask) -> None:
    plain, timed = ask(QUESTIONS), ask(QUESTIONS, "--bench", "20")
    assert timed["rows"] == plain["rows"]
    assert timed["lookups_per_s"] > 0


def test_another_version_or_engine_stands_in_and_says_so_once(ask: Ask) -> None:
    for engine in ("vllm:0.23.0", "sglang:0.5.14"):
        document = ask(QUESTIONS[:1] * 3, engine=engine)
        assert {row["provenance"] for row in document["rows"]} == {"version_proxy"}
        assert len(document["warnings"]) == 1
        assert "vllm 0.24.0" in document["warnings"][0]


def test_formats_and_shapes_that_nobody_measured_are_answered(ask: Ask) -> None:
    questions = [["gemm", "fp8_block", 128, 4096, 8192], ["generation_attention", "fp8", 8, 4097, "", 32, 8, 128]]
    document = ask(questions)
    assert [row["provenance"] for row in document["rows"]] == ["learned", "roofline"]


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        ([["gemn", "bf16", 1, 1, 1]], "row 1: unknown operation 'gemn'"),
        ([["gemm", "bf16", 1, 1, 1], ["gemm", "bf17", 1, 1, 1]], "row 2: unknown number format 'bf17'"),
        ([["gemm", "bf16", 1, 1, "x"]], "row 1, a3: 'x'; expected the k of gemm, a number from 1 to 1e+15"),
        ([["gemm", "bf16", 1, 0, 1]], "a2: '0'"),
        ([["gemm", "bf16", "nan", 8, 1]], "a1: 'nan'"),
        ([["gemm", "bf16", "inf", 8, 1]], "a1: 'inf'"),
        ([["gemm", "bf16", 8, 8, 8], ["gemm", "bf16", 8, "1e308", 8]], "row 2, a2: '1e308'; expected the n of gemm"),
        ([["gemm", "bf16", 8, 8, 0]], "a3: '0'"),
        ([["context_attention", "bf16", 1, 1, -1, 8, 8, 128]], "a3: '-1'; expected the prefix"),
        ([["all_reduce", "bf16", 1, 1]], "a3: ''; expected the devices"),
        ([["moe", "bf16", 64, 2048, 768, 8, 128, "x"]], "a6: 'x'; expected the moe_ep"),
        ([], "no rows of op, dtype, a1 .. a6"),
    ],
)
def test_a_wrong_row_is_one_sentence(cli, questions: list[list[Any]], said: str) -> None:
    write(cli.folder / "q.csv", questions)
    done = cli.run("ops", "q.csv", "--platform", "h200_sxm", "--engine", "vllm", "--json")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--platform", "h201", "h201"), ("--engine", "vlm", "vlm"), ("--bench", "-1", "bench")],
)
def test_a_wrong_option_is_one_sentence(cli, option: str, value: str, said: str) -> None:
    told = {"--platform": "h200_sxm", "--engine": "vllm", option: value}
    write(cli.folder / "q.csv", QUESTIONS)
    done = cli.run("ops", "q.csv", *(word for pair in told.items() for word in pair))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_csv_is_said(cli) -> None:
    (cli.folder / "x.csv").write_bytes(b"\xff\xfe\x00op")
    for name in ("x.csv", "none.csv"):
        done = cli.run("ops", name, "--platform", "h200_sxm", "--engine", "vllm")
        assert done.returncode == 2
        assert "cannot be read" in done.stderr


def test_without_tables_every_question_is_answered_by_the_roofline(cli) -> None:
    write(cli.folder / "q.csv", QUESTIONS)
    document = cli.json("ops", "q.csv", "--platform", "l40s", "--engine", "vllm", "--db", "none.duckdb")
    assert {row["provenance"] for row in document["rows"]} == {"roofline"}


def test_a_table_is_printed_for_people(cli, db: str) -> None:
    write(cli.folder / "q.csv", QUESTIONS[:1])
    done = cli.run("ops", "q.csv", "--platform", "h200_sxm", "--engine", "vllm:0.23.0", "--db", db, "--bench", "2")
    assert done.returncode == 0
    assert "version_proxy" in done.stdout
    assert "look-ups per second" in done.stdout
    assert "the nearest version, stand in" in done.stderr


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question[0]))
def test_the_most_of_everything_is_still_a_finite_time(ask: Ask, question: list[Any]) -> None:
    op, dtype, *sizes = question[:8]
    row = [op, dtype, *("1e15" if place < 3 and size != "" else size for place, size in enumerate(sizes))]
    (answer,) = ask([row])["rows"]
    assert 0 < answer["latency_s"] < np.inf
    assert 0 < answer["rel_sd"] < np.inf
