"""`accuracy` (FEATURES S1.25) from the command line: its document, its tables, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from perfdb.batch import Batch, Source
from perfdb.metrics import Statistic
from perfdb.store import Store
from servecast.predicting.accuracy import shots_of

FIGURES = {"n", "mape", "median", "p90", "log_median", "log_p90", "bias", "spearman", "coverage90"}


@pytest.fixture
def db(tmp_path):
    """40 measured points of two groups, four rows of a model that nobody knows, and two of a run that failed."""
    n, rng = 46, np.random.default_rng(0)
    models = ["meta-llama/Llama-3.1-8B"] * 20 + ["Qwen/Qwen2.5-7B"] * 20 + ["unheard of"] * 4 + ["Qwen/Qwen2.5-7B"] * 2
    context = {name: np.full(n, text, object) for name, text in (("platform", "h100_sxm"), ("engine", "vllm"))}
    context |= {name: np.full(n, number, float) for name, number in (("isl", 512), ("osl", 128), ("devices", 1))}
    context |= {"model": np.array(models, object), "concurrency": rng.permutation(n).astype(float) + 1}
    context |= {"outcome": np.array(["ok"] * 44 + ["oom"] * 2, object)}
    values = {("tpot_s", Statistic.MEAN): rng.uniform(0.01, 0.02, n), ("ttft_s", Statistic.MEAN): np.full(n, 0.1)}
    store = Store(tmp_path / "a.duckdb")
    store.ingest(Source("made.csv", "0" * 64, "made"), [Batch(np.arange(n) + 1, context, values)])
    return store.path


def test_the_document_has_every_group_and_all_of_them(cli, db):
    answer = cli.json("accuracy", "--db", str(db), "--folds", "group", "--shots", "0,5", "--min-group", "20")
    groups = {f"{model} × h100_sxm × vllm × unknown" for model in ("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B")}
    assert {row["group"] for row in answer["rows"]} == groups
    assert {(row["metric"], row["shots"]) for row in answer["rows"]} == {
        (metric, shots) for metric in ("ttft_s", "tpot_s") for shots in (0, 5)
    }
    assert all(set(row) == {"group", "metric", "shots", *FIGURES} for row in answer["rows"])
    assert all(set(row) == {"groups", "metric", "shots", *FIGURES} for row in answer["overall"])
    assert {(row["shots"], row["n"]) for row in answer["overall"]} == {(0, 40), (5, 30)}
    assert answer["points"] == 40
    assert answer["refused"] == {"not a successful measurement": 2, "unknown model 'unheard of'": 4}


def test_the_tables_name_groups_and_what_is_left_out(cli, db):
    done = cli.run("accuracy", "--db", str(db), "--folds", "random")
    assert done.returncode == 0
    assert "meta-llama/Llama-3.1-8B × h100_sxm × vllm × unknown" in done.stdout
    assert "Over all groups" in done.stdout
    assert "random folds leave rows of the same group" in done.stderr
    assert "4 rows are not predicted: unknown model 'unheard of'" in done.stderr


def test_the_same_command_gives_the_same_answer(cli, db):
    asked = ("accuracy", "--db", str(db), "--shots", "0,3", "--min-group", "10")
    assert json.dumps(cli.json(*asked)) == json.dumps(cli.json(*asked))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--folds", "grouped"), "unknown kind of folds 'grouped' (did you mean group?)"),
        (("--shots", "0,-1"), "--shots: '-1' is no number of points; expected whole numbers"),
        (("--shots", ""), "--shots: '' is no number of points"),
        (("--shots", "0,10000"), "--shots: 10000 of a group of at least 10001 points, and the largest has 20"),
        (("--shots", "20", "--min-group", "5"), "at least 21 points, and the largest has 20; expected fewer shots"),
        (("--shots", "1"), "--shots: 1 of a group of at least 30 points, and the largest has 20"),
        (("--db", "none.duckdb"), "no measurement can be predicted (there is none)"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(cli, db, flags, says):
    done = cli.run("accuracy", *(() if "--db" in flags else ("--db", str(db))), *flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_shots_are_read_in_any_order():
    assert shots_of("20, 0,10,20") == (0, 10, 20)
