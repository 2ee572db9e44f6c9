"""What runs in the database tell of an engine's overheads is in what `simulate` answers."""

from __future__ import annotations

import numpy as np
import pytest

from model.learning.fitted_overheads import FittedOverheads
from model.steps.overheads import overheads
from perfdb.batch import Batch, Source
from perfdb.metrics import Statistic
from perfdb.store import Store
from servecast.simulation.engine_overheads import overheads_document, overheads_text

ASK = ["--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--engine", "vllm:0.24.0"]
LOAD = ["--scenario", "D(512,64)", "--concurrency", "4", "--requests", "8"]
MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B", "mistralai/Mistral-7B-v0.3", "Qwen/Qwen2.5-14B")
MILLISECONDS = 40
"""Per output token: far more than kernels take."""


@pytest.fixture
def db(tmp_path):
    """Runs of four models on a server that is slow to decide."""
    n = 4 * len(MODELS)
    texts = {"platform": "h100_sxm", "engine": "vllm", "engine_version": "0.24.0", "outcome": "ok"}
    context = {name: np.full(n, text, object) for name, text in texts.items()}
    context |= {name: np.full(n, number, float) for name, number in (("isl", 512), ("osl", 128), ("devices", 1))}
    context |= {"model": np.repeat(np.array(MODELS, object), 4), "concurrency": np.tile([1.0, 2, 4, 8], len(MODELS))}
    values = {
        ("tpot_s", Statistic.MEAN): np.full(n, MILLISECONDS * 1e-3),
        ("ttft_s", Statistic.MEAN): np.full(n, 0.2),
    }
    store = Store(tmp_path / "a.duckdb")
    store.ingest(Source("made.csv", "0" * 64, "made"), [Batch(np.arange(n) + 1, context, values)])
    return str(store.path)


def test_simulated_steps_take_what_runs_told(cli, db):
    prior, plain = overheads("vllm"), cli.json("simulate", *ASK, *LOAD, "--db", "none.duckdb")
    assert (plain["overheads"]["runs"], plain["overheads"]["step_s"]) == (0, prior.step_s)
    taught = cli.json("simulate", *ASK, *LOAD, "--db", db)
    assert (taught["overheads"]["runs"], taught["overheads"]["groups"]) == (16, 4)
    longer = taught["overheads"]["step_s"] - prior.step_s
    assert longer > 0.3e-3
    added = longer + 4 * (taught["overheads"]["sequence_s"] - prior.sequence_s)
    assert taught["itl_s"]["p50"] - plain["itl_s"]["p50"] == pytest.approx(added, rel=0.02)


def test_each_pool_takes_what_runs_on_its_platform_told(cli, db):
    asked = ["simulate", *ASK, *LOAD, "--mode", "disagg", "--decode", "a100_sxm_80gb"]
    answer = cli.json(*asked, "--db", db)
    assert answer["prefill"]["overheads"]["runs"] == answer["decode"]["overheads"]["runs"] == 16
    assert answer["decode"]["overheads"]["step_s"] > overheads("vllm").step_s
    # nobody ran it there: what the engine's other runs told
    assert answer["decode"]["overheads"]["step_s"] < answer["prefill"]["overheads"]["step_s"]


@pytest.mark.parametrize(
    ("engine", "platform", "said"),
    [
        ("vllm", "h100_sxm", "16 runs of 4 groups (16 on this platform, whatever their version):"),
        ("vllm:0.11.0", "h100_sxm", "16 runs of 4 groups (16 on this platform, whatever their version):"),
        ("vllm:0.24.0", "a100_sxm_80gb", "16 runs of 4 groups (none on this platform):"),
    ],
)
def test_runs_of_another_version_or_platform_are_told_apart(cli, db, engine, platform, said):
    asked = ["simulate", *ASK[:2], "--platform", platform, "--engine", engine, *LOAD, "--db", db]
    assert f"overheads are fitted to {said}" in cli.run(*asked).stderr


def test_one_is_one():
    told = overheads_document(FittedOverheads(overheads("vllm"), 1, 1, 1, 0))
    assert "fitted to 1 run of 1 group (1 on this platform, whatever their version): " in overheads_text(told)


def test_people_are_told_what_was_fitted(cli, db):
    assert (
        "overheads are fitted to 16 runs of 4 groups (16 of this version and platform):"
        in cli.run("simulate", *ASK, *LOAD, "--db", db).stderr
    )
    assert "overheads" not in cli.run("simulate", *ASK, *LOAD, "--db", "none.duckdb").stderr


def test_runs_that_come_later_are_taken_in(cli, db):
    before = cli.json("simulate", *ASK, *LOAD, "--db", db)["overheads"]
    one = {"platform": "h100_sxm", "engine": "vllm", "engine_version": "0.24.0", "outcome": "ok", "model": MODELS[0]}
    context = {name: np.array([text], object) for name, text in one.items()}
    context |= {name: np.array([number]) for name, number in (("isl", 512.0), ("osl", 128.0), ("concurrency", 3.0))}
    values = {("tpot_s", Statistic.MEAN): np.array([60e-3])}
    Store(db).ingest(
        Source("more.csv", "1" * 64, "made"), [Batch(np.array([1]), context | {"devices": np.ones(1)}, values)]
    )
    after = cli.json("simulate", *ASK, *LOAD, "--db", db)["overheads"]
    assert after["runs"] == before["runs"] + 1
    assert after["step_s"] != before["step_s"]
