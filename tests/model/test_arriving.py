"""Requests at a rate of their own: a few rows are asked at once, many level by level, with one answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import arriving as module
from model.architecture import resolve_model
from model.arriving import arriving
from model.knobs import points_of
from model.load import load_of
from model.points import Points
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")


def points(rate: float, isl: int, **params: list[Scalar]) -> Points:
    rows = [dict(zip(params, values, strict=True)) for values in zip(*params.values(), strict=True)]
    load = load_of(Workload(isl, 200, Arrival.POISSON, request_rate=rate), len(rows))
    return points_of(LLAMA, platform("h100_sxm"), engine("vllm"), 1, Grid.of(rows), load)


@given(st.floats(0.1, 60.0), st.integers(16, 6000))
@settings(deadline=None, max_examples=20)
def test_few_rows_are_answered_as_many(rate: float, isl: int) -> None:
    rows = points(
        rate, isl, tensor_parallel_size=[1, 2, 4, 1], max_num_batched_tokens=[512, 2048, 8192, 2048],
        num_speculative_tokens=[0, 0, 0, 3],
    )  # fmt: skip
    slots = np.array([4.0, 64.0, 256.0, 1.0])
    few = arriving(rows, slots)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEW", 0)
        many = arriving(rows, slots)
    for name in few.__dataclass_fields__:
        assert getattr(few, name) == pytest.approx(getattr(many, name), rel=1e-12)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rows = points(8.0, 1024, tensor_parallel_size=[1, 2, 8])
    slots = np.array([16.0, 64.0, 256.0])
    whole = arriving(rows, slots)
    for place in range(3):
        alone = arriving(rows.take(np.array([place])), slots[[place]])
        for name in alone.__dataclass_fields__:
            assert getattr(whole, name)[place] == pytest.approx(getattr(alone, name)[0], rel=1e-12)
