"""SGLang's flags become the settings of its scheduler, or are refused in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.knobs import points_of
from model.load import load_of
from model.simulate.engine import engine_settings
from model.simulate.sglang.server import SglangSettings
from model.simulate.trace import unshared
from perfdb.errors import InputError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
TRACE = unshared(np.zeros(2), np.array([500, 100]), np.array([100, 20]))


def settings(**flags: Scalar) -> SglangSettings:
    load = load_of(Workload(300, 60, concurrency=1), 1)
    points = points_of(LLAMA, platform("h100_sxm"), engine("sglang"), 1, Grid.of([flags or {"tp_size": 1}]), load)
    found = engine_settings(points, flags, TRACE)
    assert isinstance(found, SglangSettings)
    return found


def test_the_defaults_are_sglangs() -> None:
    found = settings()
    assert (found.block_size, found.max_prefill_tokens, found.chunked_prefill_size) == (1, 16384, 8192)
    assert (found.schedule_policy, found.schedule_conservativeness) == ("fcfs", 1.0)
    assert found.enable_prefix_caching
    assert found.overlaps
    assert not found.enable_mixed_chunk
    assert found.max_model_len >= 600  # a model that does not say its context is taken to hold the trace


@pytest.mark.parametrize(
    ("flag", "value", "name", "wanted"),
    [
        ("page_size", 16, "block_size", 16),
        ("max_running_requests", 7, "max_num_seqs", 7),
        ("max_prefill_tokens", 300, "max_prefill_tokens", 300),
        ("chunked_prefill_size", 512, "chunked_prefill_size", 512),
        ("chunked_prefill_size", -1, "chunked_prefill_size", 0),
        ("max_total_tokens", 5000, "num_blocks", 5000),
        ("disable_radix_cache", True, "enable_prefix_caching", False),
        ("enable_mixed_chunk", True, "enable_mixed_chunk", True),
        ("disable_overlap_schedule", True, "overlaps", False),
        ("schedule_policy", "lpm", "schedule_policy", "lpm"),
        ("schedule_conservativeness", 0.3, "schedule_conservativeness", 0.3),
        ("context_length", 900, "context_length", 900),
    ],
)
def test_each_flag_acts(flag: str, value: Scalar, name: str, wanted: Any) -> None:
    assert getattr(settings(**{flag: value}), name) == wanted
    assert getattr(settings(), name) != wanted


def test_ranks_divide_what_a_server_may_take_and_let_requests_in_sooner() -> None:
    ranks: dict[str, Scalar] = {"tp_size": 4, "dp_size": 4, "enable_dp_attention": True}
    found = settings(**ranks)
    assert (found.max_num_seqs, found.chunked_prefill_size, found.schedule_conservativeness) == (512, 2048, 0.3)
    assert settings(**ranks, schedule_conservativeness=0.5).schedule_conservativeness == 0.15
    assert settings(**ranks, speculative_num_steps=2).max_num_seqs == 12  # of 48
    assert settings(**ranks | {"dp_size": 1}).schedule_conservativeness == 1.0  # a single rank is none


def test_the_cache_is_counted_in_whole_pages() -> None:
    found = settings(page_size=16, max_total_tokens=5000, context_length=9000)
    assert (found.num_blocks, found.max_model_len, found.longest_prompt) == (312, 4990, 4985)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"schedule_policy": "dfs-weight"}, "schedule_policy dfs-weight: it is not simulated; expected one of fcfs"),
        (
            {"page_size": 16, "chunked_prefill_size": 100},
            "100: it is not whole pages; expected a multiple of page_size",
        ),
        ({"enable_mixed_chunk": True, "chunked_prefill_size": 128}, "expected more than max_running_requests 2048"),
        (
            {"enable_mixed_chunk": True, "pp_size": 2},
            "with pp_size 2: SGLang refuses to start; expected one of the two",
        ),
        ({"max_running_requests": 3, "pp_size": 4}, "3: fewer than the 4 micro-batches that a pipeline divides them"),
        ({"schedule_conservativeness": -1}, "schedule_conservativeness of sglang: -1; expected a number of at least 0"),
    ],
)
def test_what_is_not_simulated_is_refused(flags: dict[str, Scalar], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(**flags)
