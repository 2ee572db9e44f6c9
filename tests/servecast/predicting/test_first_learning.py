"""Who asks a database of many runs for the first time is told why that takes a while; `simulate` takes only its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model import compiled
from model.kept.training import kept_training, takes_long
from perfdb.batch import Batch, Source
from perfdb.metrics import Statistic
from perfdb.store import Store
from servecast.kernels.kernel_tables import shelf_of

LOAD = ["--scenario", "D(512,32)", "--concurrency", "4", "--requests", "8", "--model", "meta-llama/Llama-3.1-8B"]
ASK = ["simulate", *LOAD, "--platform", "h100_sxm", "--engine", "vllm:0.24.0"]
MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B", "mistralai/Mistral-7B-v0.3", "Qwen/Qwen2.5-14B")


def runs(folder: Path, seconds: float, engines: tuple[str, ...]) -> Store:
    """416 runs of four models, shared out among the engines."""
    n = 4 * 26 * 4
    texts = {"platform": "h100_sxm", "engine_version": "0.24.0", "outcome": "ok"}
    context = {name: np.full(n, text, object) for name, text in texts.items()}
    context |= {name: np.full(n, number, float) for name, number in (("isl", 512), ("osl", 128), ("devices", 1))}
    context |= {"model": np.resize(np.array(MODELS, object), n), "engine": np.repeat(np.resize(engines, 4), n // 4)}
    context["engine"] = context["engine"].astype(object)
    context["concurrency"] = np.repeat(np.arange(1.0, n // 4 + 1), 4)
    values = {("tpot_s", Statistic.MEAN): np.linspace(seconds, 2 * seconds, n)}
    store = Store(folder / "a.duckdb")
    store.ingest(Source("made.csv", "0" * 64, "made"), [Batch(np.arange(n) + 1, context, values)])
    return store


@pytest.fixture(autouse=True)
def _nothing_kept(tmp_path, monkeypatch):
    assert compiled.config.CACHE_DIR  # kernels stay where they are: to compile them anew would take seconds
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_first_question_says_that_it_learns(cli, tmp_path):
    db = ["--db", str(runs(tmp_path, 0.02, ("vllm", "sglang")).path)]
    asked = ["whatif", *ASK[7:], "--isl", "512", "--osl", "32", "--concurrency", "4"]
    assert "learning from 416 runs, once until they or the operation tables change" in cli.run(*asked, *db).stderr
    assert "learning" not in cli.run(*ASK, *db).stderr


def test_one_engine_is_learned_from_as_among_all(cli, tmp_path):
    store = runs(tmp_path, 0.03, ("vLLM", "sglang"))
    alone = cli.run(*ASK, "--db", str(store.path))
    assert "learning from 208 runs," in alone.stderr
    history, shelf = store.results(), shelf_of(store)
    assert takes_long(history, shelf)
    kept_training(history, None, shelf)
    assert not takes_long(history, shelf)
    store.ingest(Source("more.csv", "1" * 64, "made"), [])
    among_all = cli.run(*ASK, "--db", str(store.path))
    assert "learning" not in among_all.stderr
    assert alone.stdout.splitlines()[:5] == among_all.stdout.splitlines()[:5]


def test_a_few_runs_are_learned_from_in_silence(tmp_path):
    store = runs(tmp_path, 0.04, ("vllm",))
    history = {name: values[:50] for name, values in store.results().items()}
    assert not takes_long(history, shelf_of(store))
