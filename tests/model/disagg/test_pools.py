"""Workers of a pool: how long prompts and decode steps take, what an engine holds, and the link between pools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.disagg.pools import Pool, link_bytes_s, prompts
from model.question import Question
from model.steps.hosts import NETWORK_BYTES_S
from model.steps.roofline import SLOWEST_LINK
from perfdb.errors import InputError
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Target, Workload

MODEL = "meta-llama/Llama-3.1-8B"


def pool(*configs: dict[str, Scalar], isl: float = 1000, osl: float = 200, model: str = MODEL) -> Pool:
    workload = Workload(isl, osl, Arrival.CLOSED, 8)
    architecture = resolve_model(model)
    grid = Grid.of([{"tensor_parallel_size": 1, **config} for config in configs or ({},)])
    target = Target(architecture.name, "h100_sxm", "vllm", 1, None)
    return Pool.of(Question(target, architecture, platform("h100_sxm"), workload, grid), workload)


def test_as_many_prompts_as_the_budget_holds() -> None:
    found = prompts(pool({"max_num_batched_tokens": 4000}, {"max_num_batched_tokens": 1000}, {"max_num_seqs": 2}))
    assert found.most[:2] == pytest.approx([4.0, 1.0])
    assert found.most[2] == 2.0
    assert found.alone[0] == pytest.approx(found.alone[1], rel=0.01)
    assert found.full[0] > 3.5 * found.alone[0]
    assert found.full[1] == pytest.approx(found.alone[1])


def test_a_prompt_beyond_the_budget_takes_several_steps_and_shares_the_last() -> None:
    """1,000 tokens in steps of 400: three steps alone, two and a half of full ones, which take a little longer."""
    parts, whole = pool({"max_num_batched_tokens": 400}), pool({"max_num_batched_tokens": 1000})
    found, one = prompts(parts), prompts(whole)
    assert found.most[0] == 1.0
    assert 2.5 / 3.0 <= found.full[0] / found.alone[0] < 1.0
    assert found.alone[0] > one.alone[0]


def test_prompts_that_are_not_split_are_taken_whole() -> None:
    found = prompts(
        pool(
            {"max_num_batched_tokens": 3500, "enable_chunked_prefill": False},
            {"max_num_batched_tokens": 600, "enable_chunked_prefill": False},
        )
    )
    assert found.most.tolist() == [3.0, 1.0]
    assert found.alone[0] == pytest.approx(found.alone[1])


@given(st.integers(16, 8000), st.sampled_from([512, 2048, 8192]))
@settings(deadline=None, max_examples=15)
def test_full_steps_never_serve_less_than_prompts_one_by_one(isl: int, budget: int) -> None:
    found = prompts(pool({"max_num_batched_tokens": budget}, isl=isl))
    assert found.most[0] / found.full[0] >= 0.97 / found.alone[0]
    assert found.most[0] >= 1.0


def test_slots_are_what_the_engine_and_its_cache_hold() -> None:
    few, many = pool({"max_num_seqs": 7}), pool({"max_num_seqs": 1000}, isl=20_000)
    assert few.slots[0] == 7.0
    assert many.slots[0] == np.floor(many.memory.sequences[0]) < 100
    # one that does not fit is as if there were room: the reason says that there is none
    large = pool({"max_num_seqs": 32}, model="meta-llama/Llama-3.1-70B")
    assert large.slots[0] == 32.0
    assert not large.feasible[0]
    assert "GiB" in large.reasons[0]


def test_replicas_and_stages_are_engines_of_their_own() -> None:
    plain, copies, stages = (
        pool({"data_parallel_size": dp, "pipeline_parallel_size": pp, "max_num_seqs": 64})
        for dp, pp in ((1, 1), (4, 1), (1, 2))
    )
    assert [float(one.engines[0]) for one in (plain, copies, stages)] == [1.0, 4.0, 2.0]
    assert [int(one.devices[0]) for one in (plain, copies, stages)] == [1, 4, 2]
    assert [float(one.slots[0]) for one in (plain, copies, stages)] == [64.0, 64.0, 32.0]


def test_the_link_is_the_slowest_on_the_way() -> None:
    fast, slow, unknown = platform("h100_sxm"), platform("l4"), platform("local")
    assert link_bytes_s(fast, platform("h200_sxm")) == NETWORK_BYTES_S
    assert link_bytes_s(fast, slow) == link_bytes_s(slow, fast) == slow.link_bytes_s
    assert link_bytes_s(unknown, fast) == SLOWEST_LINK


def test_a_value_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(InputError, match="max_num_seqs"):
        pool({"max_num_seqs": 0})
