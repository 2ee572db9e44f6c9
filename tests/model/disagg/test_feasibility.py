"""Which deployments of two pools can serve: what runs of whole servers tell of workers of the same config."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.disagg.answer import Asked, disaggregated
from model.disagg.units import Deployments
from model.learning.scenario import ScenarioIndex
from model.tables.said import listening
from perfdb.records import Scalar
from tests.model.disagg.test_answer import closed, question
from tests.model.test_failures import history

RAN = "failed when it ran: out of memory (a.csv, row 7)"
SIXTY_FOUR: dict[str, Scalar] = {"max_num_seqs": 64}


def told(
    *rows: dict[str, Any],
    workers: tuple[int, int] = (1, 1),
    concurrency: int = 32,
    prefill: dict[str, Scalar] | None = None,
    decode: dict[str, Scalar] | None = None,
) -> tuple[bool, str | None, set[str]]:
    """Whether one deployment fits, why not, and what is said of failures; recorded runs had 1,000 tokens in, 100 out
    and 32 requests in flight."""
    load = closed(concurrency, 1000, 100)
    pools = [question(load, [config or {}]) for config in (prefill, decode)]
    zero = np.zeros(1, np.int64)
    index = ScenarioIndex(history(*rows))
    with listening() as said:
        found = disaggregated(Asked(*pools, Deployments(zero, zero, zero + workers[0], zero + workers[1])), None, index)
    return found.feasible.item(), found.reasons.get(0), {text for text in said if "failed" in text}


def test_a_worker_that_ran_out_of_memory_does_so_in_its_pool() -> None:
    assert told({"outcome": "oom"}, decode=SIXTY_FOUR) == (False, f"decode: {RAN}", set())
    assert told({"outcome": "oom"}, prefill=SIXTY_FOUR) == (False, f"prefill: {RAN}", set())
    assert told({"outcome": "oom"}) == (True, None, set())


@pytest.mark.parametrize(("concurrency", "workers", "fits"), [(64, 2, False), (32, 2, True), (64, 1, True)])
def test_what_counts_is_the_load_of_one_worker(concurrency: int, workers: int, fits: bool) -> None:
    found, _, said = told({"outcome": "oom"}, decode=SIXTY_FOUR, concurrency=concurrency, workers=(1, workers))
    assert found == fits
    beyond = {f"at a load of 32, less than is asked for, a config of these {RAN}"}
    assert said == (beyond if concurrency / workers > 32 else set())


def test_a_crash_is_only_said() -> None:
    fits, why, said = told({"outcome": "crashed"}, decode=SIXTY_FOUR)
    assert (fits, why) == (True, None)
    assert said == {"a config of these failed when it ran: it crashed (a.csv, row 7)"}


def test_a_run_that_served_the_load_outweighs_one_that_failed() -> None:
    served = {"outcome": "ok", "ttft_s": 0.1, "tpot_s": 0.01}
    assert told({"outcome": "oom"}, served, decode=SIXTY_FOUR) == (True, None, set())
    other = served | {"config": '{"max_num_seqs": 65}'}
    assert not told({"outcome": "oom"}, other, decode=SIXTY_FOUR)[0]


def test_devices_are_those_of_a_worker() -> None:
    """The record is of one server of two devices, however it says so; a worker of one is another."""
    failed = {"outcome": "oom", "devices": 2.0, "config": '{"max_num_seqs": 64, "tensor_parallel_size": 2}'}
    two = {**SIXTY_FOUR, "tensor_parallel_size": 2}
    assert not told(failed, decode=two)[0]
    assert not told(failed | {"config": '{"max_num_seqs": 64}'}, decode=two)[0]
    assert told(failed, decode=SIXTY_FOUR)[0]


def test_a_rule_is_told_before_a_record() -> None:
    failed = {"outcome": "oom", "config": '{"max_num_seqs": 64, "max_model_len": 512}'}
    why = told(failed, decode={**SIXTY_FOUR, "max_model_len": 512})[1]
    assert why is not None
    assert "1100 tokens" in why
