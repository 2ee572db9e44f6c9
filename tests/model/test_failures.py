"""What a failed run tells of the config that failed, and of no other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.question import Question
from model.surrogate import Surrogate
from model.tables.said import listening
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload


def history(*rows: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Runs of Llama-3.1-8B on one H100 with vLLM, 1000 tokens in and 100 out."""
    plain = {
        "model": "meta-llama/Llama-3.1-8B", "platform": "h100_sxm", "engine": "vllm", "engine_version": None,
        "devices": 1.0, "config": '{"max_num_seqs": 64}', "isl": 1000.0, "osl": 100.0, "arrival": "closed",
        "concurrency": 32.0, "origin": "measured", "run_id": None, "source": "runs/a.csv", "source_row": 7.0,
        "ttft_s": np.nan, "tpot_s": np.nan,
    }  # fmt: skip
    table = [plain | row for row in rows]
    numbers = {"devices", "isl", "osl", "concurrency", "source_row", "ttft_s", "tpot_s"}
    return {
        name: np.array([row[name] for row in table], np.float64 if name in numbers else object) for name in table[0]
    }


def asked(*rows: dict[str, Any], version: str | None = None, reused: float = 0.0) -> tuple[bool, str | None, set[str]]:
    """Whether it fits at the very config and load, why not, and what is said."""
    target = Target("meta-llama/Llama-3.1-8B", "h100_sxm", "vllm", 1, version)
    load = Workload(1000, 100, Arrival.CLOSED, 32)
    model = resolve_model("meta-llama/Llama-3.1-8B")
    question = Question(target, model, platform("h100_sxm"), load, Grid.of([{"max_num_seqs": 64}]), reused=reused)
    with listening() as said:
        found = Surrogate.fit(history(*rows)).predict(question, ("ttft_s",))
    return found.feasible.item(), found.reasons.get(0), {text for text in said if "failed" in text}


def test_memory_that_ran_out_runs_out_again() -> None:
    assert asked({"outcome": "oom"}) == (False, "failed when it ran: out of memory (a.csv, row 7)", set())
    assert asked({"outcome": "launch_failed", "source": None, "run_id": "r1"})[1] == (
        "failed when it ran: the server did not start (run r1)"
    )


@pytest.mark.parametrize(("outcome", "words"), [("crashed", "it crashed"), ("timeout", "no answer in time")])
def test_what_may_not_happen_again_is_only_said(outcome: str, words: str) -> None:
    sentence = f"a config of these failed when it ran: {words} (a.csv, row 7)"
    assert asked({"outcome": outcome}) == (True, None, {sentence})


@pytest.mark.parametrize("outcome", ["cancelled", "invalid", "partial"])
def test_other_ends_say_nothing_of_the_config(outcome: str) -> None:
    assert asked({"outcome": outcome}) == (True, None, set())


def test_a_run_that_served_the_load_outweighs_one_that_failed() -> None:
    served = {"outcome": "ok", "ttft_s": 0.1, "tpot_s": 0.01}
    assert asked({"outcome": "oom"}, served) == (True, None, set())


def test_only_the_engine_as_it_is_asked_for_and_without_a_warm_cache() -> None:
    failed = {"outcome": "oom", "engine_version": "0.10.0"}
    assert not asked(failed)[0]
    assert not asked(failed, version="0.10.0")[0]
    assert asked(failed, version="0.20.0") == (True, None, set())
    assert asked({"outcome": "oom"}, reused=500.0) == (True, None, set())


def test_a_failure_that_cannot_be_read_costs_the_others_nothing() -> None:
    assert not asked({"outcome": "oom"}, {"outcome": "oom", "config": '{"max_num_seqs": "many"}'})[0]


def test_a_lower_load_that_failed_is_said() -> None:
    (sentence,) = asked({"outcome": "oom", "concurrency": 16.0})[2]
    assert sentence.startswith("at a load of 16, less than is asked for, a config of these failed when it ran")
    assert asked({"outcome": "oom", "concurrency": 64.0}) == (True, None, set())
