"""`servecast ops`: questions of a CSV answered from imported tables, in their order; what is wrong with a row said."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operation_rows import measured

from perfdb.importers.folder import import_paths
from perfdb.store import Store
from servecast.kernels.operation_kinds import OPERATIONS

HEAD = ["op", "dtype", "a1", "a2", "a3", "a4", "a5", "a6", "source"]
PROVENANCE = {"measured", "interpolated", "extrapolated", "roofline", "learned", "version_proxy"}
Ask = Callable[..., dict[str, Any]]


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
        ([["gemm", "bf17", 1, 1, 1]], "row 1: unknown number format 'bf17'"),
        ([["gemm", "bf16", 1, 1, "x"]], "row 1, a3: 'x'; expected the k of gemm, a number from 1 to 1e+15"),
        ([["gemm", "bf16", 1, 0, 1]], "a2: '0'"),
        ([["gemm", "bf16", "nan", 8, 1]], "a1: 'nan'"),
        ([["gemm", "bf16", "inf", 8, 1]], "a1: 'inf'"),
        ([["gemm", "bf16", 8, "1e308", 8]], "row 1, a2: '1e308'; expected the n of gemm"),
        ([["gemm", "bf16", 8, 8, 0]], "a3: '0'"),
        ([["context_attention", "bf16", 1, 1, -1, 8, 8, 128]], "a3: '-1'; expected the prefix"),
        ([["all_reduce", "bf16", 1, 1]], "a3: ''; expected the devices"),
        ([["moe", "bf16", 64, 2048, 768, 8, 128, "x"]], "a6: 'x'; expected the moe_ep"),
        ([["moe", "bf16", 64, 2048, 768, 8, 4]], "row 1, a4: '8'; expected the topk of moe, a whole number up to"),
        ([["moe", "bf16", 64, 2048, 768, 8.5, 128]], "a4: '8.5'; expected the topk of moe, a whole number"),
        ([["all_reduce", "bf16", 1, 1, 1]], "a3: '1'; expected the devices of all_reduce, a number from 2"),
        ([["context_attention", "bf16", 1, 1, 0, 32, 33, 128]], "a5: '33'; expected the kv_heads"),
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
    ("header", "said"),
    [
        ("op,a1,a2,a3", "q.csv: no column dtype; expected a header of op, dtype, a1 …"),
        ("m,n,k,a1", "no column op and none dtype; expected"),
    ],
)
def test_a_column_that_is_missing_is_named(cli, header: str, said: str) -> None:
    (cli.folder / "q.csv").write_text(f"{header}\ngemm,1,4096,4096\n")
    done = cli.run("ops", "q.csv", "--platform", "h200_sxm", "--engine", "vllm")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


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


MLA = [7168, 1536, 512, 64, 128, 128]
OTHERS = [
    ["context_attention", "bf16", 1, 8192, 0, 32, 8, 128, 1024],
    ["mla_context_module", "fp8", 1, 4096, 0, 16, *MLA],
    ["mla_generation_module", "fp8", 8, 4097, "", 16, *MLA],
    ["dsa_context_module", "fp8", 1, 4096, 0, 16, *MLA, 2048, 64, 128],
    ["dsa_generation_module_skip_indexer", "fp8", 8, 4097, "", 16, *MLA, 2048],
    ["moe_dispatch", "fp8", 64, 7168, 8, 256, 8],
    ["all_to_all", "bf16", 64, 7168, 8],
    ["p2p", "bf16", 4096, 7168],
    ["norm", "bf16", 4096, 7168],
    ["embedding", "bf16", 4096, 7168],
    ["sampling", "bf16", 64, 128256],
]
WIDE = [*HEAD[:-1], *(f"a{place}" for place in range(7, 14))]


def wide(path: Path, questions: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([WIDE, *questions])


@pytest.fixture
def ask_wide(db: str, cli) -> Ask:
    def run(questions: list[list[Any]]) -> dict[str, Any]:
        wide(cli.folder / "w.csv", questions)
        return cli.json("ops", "w.csv", "--platform", "h200_sxm", "--engine", "vllm:0.24.0", "--db", db)

    return run


def test_every_operation_of_a_step_can_be_asked_for(ask_wide: Ask) -> None:
    rows = ask_wide(OTHERS)["rows"]
    assert not any("error" in row for row in rows)
    assert all(0 < row["latency_s"] < 0.1 for row in rows)
    assert [row["provenance"] for row in rows[-4:]] == ["roofline"] * 4


def test_further_columns_say_what_they_say(ask_wide: Ask) -> None:
    """A sliding window, experts in two parts and fewer heads take less time."""
    long, short = (["generation_attention", "bf16", 8, 16385, "", 32, 8, 128, window] for window in ("", 512))
    whole, divided = (["moe", "bf16", 4096, 2048, 768, 8, 128, 1, tp] for tp in ("", 2))
    one, two = (["mla_generation_module", "fp8", 8, 4097, "", heads, *MLA] for heads in (128, 16))
    found = [row["latency_s"] for row in ask_wide([long, short, whole, divided, one, two])["rows"]]
    assert found[1] < found[0]
    assert found[3] < found[2]
    assert found[5] < found[4]


def test_small_kernels_take_their_bytes(ask_wide: Ask) -> None:
    small, large = (
        row["latency_s"] for row in ask_wide([["norm", "bf16", n, 4096] for n in (10**5, 2 * 10**5)])["rows"]
    )
    assert large - small == pytest.approx(10**5 * 4096 * 8 / (0.8 * 4.8e12), rel=0.01)


def test_a_row_that_cannot_be_answered_says_so_and_costs_the_others_nothing(cli, db: str) -> None:
    good = QUESTIONS[0]
    write(cli.folder / "q.csv", [good, ["gemn", "bf16", 1, 1, 1], ["gemm", "bf17", 1, 1, 1], good])
    asked = ["ops", "q.csv", "--platform", "h200_sxm", "--engine", "vllm:0.24.0", "--db", db]
    done = cli.run(*asked, "--json")
    assert done.returncode == 0
    assert "2 of 4 rows cannot be answered" in done.stderr
    first, second, third, last = json.loads(done.stdout)["rows"]
    assert first == last
    assert first["provenance"] == "measured"
    assert second["error"].endswith("known: " + ", ".join(sorted(OPERATIONS)))
    assert {second["latency_s"], second["rel_sd"], second["provenance"]} == {None}
    assert "row 3: unknown number format 'bf17'" in third["error"]
    table = cli.run(*asked, "--bench", "2")
    assert table.returncode == 0
    lines = table.stdout.splitlines()
    assert [line.split() for line in lines[2:4]] == [["2", "-", "-", "-"], ["3", "-", "-", "-"]]
    assert max(map(len, lines[:5])) < 80
    assert lines[5:7] == [second["error"], third["error"]]
    assert "2 of 4 rows" in table.stderr


def test_a_platform_that_only_tables_know_is_told_where_to_be_described(cli) -> None:
    with (cli.folder / "tables.csv").open("w", newline="") as file:
        table = [row | {"platform": "my-box"} for row in measured() if row["op"] == "gemm"]
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    import_paths(Store(cli.folder / "perf.duckdb"), [cli.folder / "tables.csv"])
    write(cli.folder / "q.csv", QUESTIONS[:1])
    done = cli.run("ops", "q.csv", "--platform", "my-box", "--engine", "vllm", "--db", "perf.duckdb")
    assert done.returncode == 2
    assert "tables of it are there, but nothing says its memory and its rates" in done.stderr


def test_the_tables_that_ship_with_the_product_are_used(cli) -> None:
    """As data/README.md says."""
    shipped = Path(__file__).resolve().parents[2] / "data" / "ops"
    assert cli.run("import", str(shipped), "--db", "perf.duckdb").returncode == 0
    write(cli.folder / "q.csv", [["gemm", "bf16", 64, 4096, 4096]])
    asked = ["ops", "q.csv", "--platform", "amd-epyc-zen4-2c", "--engine", "llamacpp", "--db", "perf.duckdb"]
    (row,) = cli.json(*asked)["rows"]
    assert row["provenance"] in {"measured", "interpolated", "learned"}


def test_the_page_names_every_operation() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert not [op for op in OPERATIONS if f"`{op}`" not in text]
