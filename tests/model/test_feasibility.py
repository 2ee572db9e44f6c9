"""Configs that an engine refuses, with the sentence that says why."""

from __future__ import annotations

import pytest

from model.architecture import resolve_model
from model.feasibility import feasibility
from model.knobs import points_of
from model.load import load_of
from model.memory import memory
from model.points import Points
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")


def points(served_by: str, *configs: dict[str, Scalar]) -> Points:
    load = load_of(Workload(1000, 100, Arrival.CLOSED, 16), len(configs))
    return points_of(LLAMA, platform("h200_sxm"), engine(served_by), 1, Grid.of(list(configs)), load)


@pytest.mark.parametrize("chunked", [True, False])
def test_vllm_wants_a_token_for_each_sequence(chunked: bool) -> None:
    sizes = ((255, 256), (256, 256), (2048, 256))
    rows = points(
        "vllm",
        *({"max_num_batched_tokens": b, "max_num_seqs": s, "enable_chunked_prefill": chunked} for b, s in sizes),
    )
    feasible, reasons = feasibility(rows, memory(rows))
    assert feasible.tolist() == [False, True, True]
    assert reasons[0] == "max_num_batched_tokens 255 is less than max_num_seqs 256: vLLM refuses to start"


def test_an_unsaid_number_of_sequences_follows_the_budget() -> None:
    """1,024 on a large device, and no more than the tokens of a step; other engines keep theirs."""
    rows = points("vllm", {"max_num_batched_tokens": 64}, {"max_num_batched_tokens": 8192})
    assert rows.max_num_seqs.tolist() == [64, 1024]
    assert feasibility(rows, memory(rows))[0].all()
    mixed = points("vllm", {"max_num_batched_tokens": 64, "max_num_seqs": None}, {"max_num_seqs": 128})
    assert mixed.max_num_seqs.tolist() == [64, 128]
    other = points("sglang", {"chunked_prefill_size": 64})
    assert other.max_num_seqs.item() > 64
    assert feasibility(other, memory(other))[0].all()
