"""What no estimate may say: of a closed loop, more requests than there are."""

from __future__ import annotations

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.closed_form.limits import in_flight
from model.prediction import Estimate
from model.question import Question, analyse
from model.surrogate import Surrogate
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Target, Workload

APART: dict[str, Scalar] = {
    "data_parallel_size": 8, "tensor_parallel_size": 2, "enable_expert_parallel": True, "enable_chunked_prefill": False,
}  # fmt: skip


def question(workload: Workload, reused: float = 0.0, **config: Scalar) -> Question:
    model = resolve_model("deepseek-ai/DeepSeek-V3")
    target = Target(model.name, "h200_sxm", "vllm", 16)
    return Question(target, model, platform("h200_sxm"), workload, Grid.of([config]), reused=reused)


@pytest.mark.parametrize("osl", [1, 2, 4, 200])
@pytest.mark.parametrize("concurrency", [1, 2, 7, 64])
def test_a_closed_loop_serves_no_more_requests_than_it_has(osl: int, concurrency: int) -> None:
    asked = question(Workload(1000, osl, Arrival.CLOSED, concurrency), 700.0, **APART)
    found = Surrogate.fit({}).predict(asked).metrics
    rate, e2e = (found[name].mean.item() for name in ("request_tps", "e2e_s"))
    assert rate * e2e <= concurrency * (1 + 1e-9)
    assert found["output_tps"].mean.item() == pytest.approx(rate * osl)
    assert found["total_tps"].mean.item() == pytest.approx(rate * (1000 + osl))


def test_only_where_requests_are_counted_does_little_bound_them() -> None:
    """Of requests at a rate there may be ever so many; what was measured stands."""
    basis = {"e2e_s": Estimate(np.zeros(1), np.ones(1)), "output_tps": Estimate(np.full(1, 9.0), np.ones(1))}
    closed = analyse(question(Workload(1000, 10, Arrival.CLOSED, 4), **APART))
    open_ = analyse(question(Workload(1000, 10, Arrival.POISSON, request_rate=4.0), **APART))
    every, none = np.ones(1, bool), np.zeros(1, bool)
    told = [
        in_flight(found, basis, rows)["output_tps"].log_mean.item()
        for found, rows in ((closed, every), (closed, none), (open_, every))
    ]
    assert told == [pytest.approx(np.log(40.0)), 9.0, 9.0]
