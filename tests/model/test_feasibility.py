"""Configs that an engine refuses, with the sentence that says why."""

from __future__ import annotations

import pytest

from model.checkpoint.architecture import resolve_model
from model.feasibility import feasibility, why_not_started
from model.knobs import points_of
from model.load import load_of
from model.memory import memory
from model.points import Points
from model.tables.said import listening
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")


def points(served_by: str, *configs: dict[str, Scalar]) -> Points:
    load = load_of(Workload(1000, 100, Arrival.CLOSED, 16), len(configs))
    return points_of(LLAMA, platform("h200_sxm"), engine(served_by), 1, Grid.of(list(configs)), load)


def test_vllm_wants_a_token_for_each_sequence() -> None:
    sizes = ((255, 256), (256, 256), (2048, 256))
    rows = points("vllm", *({"max_num_batched_tokens": b, "max_num_seqs": s} for b, s in sizes))
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


WHOLE = {"enable_chunked_prefill": False}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (
            {**WHOLE, "max_num_batched_tokens": 1099},
            "a sequence of 1100 tokens is more than max_num_batched_tokens 1099 without chunked prefill: "
            "vLLM refuses to start",
        ),
        ({**WHOLE, "max_num_batched_tokens": 1100}, None),
        ({**WHOLE}, None),  # its own tokens of a step grow with its longest sequence
        (
            {**WHOLE, "max_num_batched_tokens": 2048, "max_model_len": 4096},
            "max_model_len 4096 is more than max_num_batched_tokens 2048 without chunked prefill: "
            "vLLM refuses to start",
        ),
        ({"max_num_batched_tokens": 1000, "max_model_len": 4096}, None),
        ({"block_size": 17}, "block_size 17 is neither 1, 8 nor a multiple of 16: vLLM refuses to start"),
        ({"block_size": 528}, None),
    ],
)
def test_what_vllm_refuses_is_refused_whoever_asks(config: dict[str, Scalar], why: str | None) -> None:
    rows = points("vllm", config)
    feasible, reasons = feasibility(rows, memory(rows))
    assert (feasible.item(), reasons.get(0)) == (why is None, why)
    assert why_not_started(rows, memory(rows), 0) == why


def test_a_step_that_must_hold_whole_prompts_grows_with_the_longest() -> None:
    rows = points(
        "vllm", {**WHOLE, "max_model_len": 20000}, {**WHOLE, "max_model_len": None}, {**WHOLE, "max_model_len": 9}
    )
    assert rows.max_num_batched_tokens.tolist() == [20000, 131072, 8192]
    assert points("vllm", {"max_model_len": 20000}).max_num_batched_tokens.item() == 8192


def on_a_small_device(**config: Scalar) -> tuple[Points, set[str]]:
    """An RTX 4090, whose KV cache holds 43,000 tokens of the model's 131,072, and what is said of the config."""
    load = load_of(Workload(1000, 100, Arrival.CLOSED, 4), 1)
    grid = Grid.of([{"max_num_batched_tokens": 2048, **config}])
    rows = points_of(LLAMA, platform("rtx_4090"), engine("vllm"), 1, grid, load)
    with listening() as said:
        assert feasibility(rows, memory(rows))[0].item() == (why_not_started(rows, memory(rows), 0) is None)
    return rows, said


def test_a_longest_sequence_that_does_not_fit_is_refused_before_the_server_starts() -> None:
    rows, said = on_a_small_device(max_model_len=131072)
    assert "GiB per device" in str(why_not_started(rows, memory(rows), 0))
    assert not said


def test_the_models_own_longest_sequence_must_be_told_down() -> None:
    rows, said = on_a_small_device()
    (sentence,) = said
    most = int(sentence.split("at most ")[1].split(":")[0])
    assert "meta-llama/Llama-3.1-8B, 131072 tokens, and starts only with max_model_len of at most" in sentence
    assert most == memory(rows).kv_room.item() // memory(rows).kv_per_token.item()
    told, said = on_a_small_device(max_model_len=most)
    assert why_not_started(told, memory(told), 0) is None
    assert not said
    assert not on_a_small_device(max_model_len=-1)[1]  # vLLM finds out by itself


def test_sglang_starts_with_a_longer_context_than_its_cache_holds() -> None:
    load = load_of(Workload(1000, 100, Arrival.CLOSED, 4), 1)
    grid = Grid.of([{"context_length": 131072}])
    rows = points_of(LLAMA, platform("rtx_4090"), engine("sglang"), 1, grid, load)
    assert feasibility(rows, memory(rows))[0].all()
