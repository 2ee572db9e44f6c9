"""Measured rows as training data: what they are compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from surrogate_world import WORKLOAD, question, rows

from model.learning.descriptors import LENGTHS
from model.learning.history import training
from model.question import analyse
from perfdb.records import Grid


@pytest.mark.parametrize("version", ["0.9.1", "0.20.0", None])
def test_rows_are_compared_with_what_their_own_version_would_do(version: str | None) -> None:
    """vLLM decides steps ahead from 0.14 on: a run of 0.9 is not what the newest would do."""
    asked = question()
    asked = replace(asked, target=replace(asked.target, engine_version=version))
    own = analyse(asked).serving.metrics
    names = ("ttft_s", "tpot_s", "e2e_s", "output_tps")
    found = training(rows(asked, engine_version=version) | {name: own[name] for name in names})
    for name, residual in found.residual.items():
        np.testing.assert_allclose(residual, 0.0, atol=1e-9, err_msg=name)
        np.testing.assert_array_equal(found.analytic[name], own[name])


def test_rows_that_cannot_be_used_are_counted_by_reason() -> None:
    history = rows(question())
    assert training({}).rows.shape == (0,)
    failed = history | {"outcome": np.full(len(history["outcome"]), "error", object)}
    found = training(failed)
    assert (len(found.rows), found.skipped) == (0, {"not a successful measurement": len(history["outcome"])})


def test_slots_that_no_request_needs_do_not_tell_runs_apart() -> None:
    """Public sweeps run as many slots as requests, users the default: what one told was not found for the other."""
    grid = Grid({"max_num_seqs": np.array([8, 32, 64, 1024])})
    features = training(rows(question(grid=grid, workload=replace(WORKLOAD, concurrency=32)))).features
    fewer, *enough = features[:, : len(LENGTHS)]
    assert (enough[0] == enough[1]).all()
    assert (enough[0] == enough[2]).all()
    assert (fewer != enough[0]).any()
