"""Configs that are divided over more devices than a host has: their messages pass the network, and that is told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.steps.hosts import HOP_S, NETWORK_BYTES_S, says_network
from model.steps.layers import Sharding
from model.steps.overheads import Overheads
from model.steps.tabulate import StepModel
from model.tables.library import Tables
from model.tables.said import listening
from perfdb.facts.platforms import platform

Build = Callable[..., Tables]
NOTHING = Overheads(0.0, 0.0, 0.0, 0.0, 0.0)
MOE = resolve_model("deepseek-ai/DeepSeek-V3")
TOKENS = 64.0
SIZE = TOKENS * 7168 * 2


def seconds_of(build_tables: Build, sharding: Sharding, on: str = "h200_sxm") -> dict[str, float]:
    steps = StepModel(build_tables(on=on), MOE, sharding, "bf16", "bf16", "bf16", NOTHING)
    return {part.name: part.seconds.item() for part in steps.by_tokens(np.array([TOKENS]))}


def test_a_group_over_two_hosts_waits_for_the_network(build_tables: Build) -> None:
    """Sixteen devices of h200_sxm are two hosts, of gb200 one rack."""
    eight, sixteen = (seconds_of(build_tables, Sharding(tp))["all_reduce"] for tp in (8, 16))
    sums = 2 * 61 + 1
    assert sixteen - eight == pytest.approx(sums * 2 * (HOP_S + SIZE / 16 / NETWORK_BYTES_S))
    rack = [seconds_of(build_tables, Sharding(tp), "gb200")["all_reduce"] for tp in (8, 16)]
    assert rack[1] < 1.2 * rack[0]


def test_ranks_of_whole_hosts_exchange_over_the_network_only(build_tables: Build) -> None:
    within = seconds_of(build_tables, Sharding(4, 1, 8, 2))["dispatch"]
    across = seconds_of(build_tables, Sharding(8, 1, 16, 2))["dispatch"]
    assert across > 2 * within
    assert across > 58 * HOP_S


def test_stages_on_another_host_are_sent_to_over_the_network(build_tables: Build) -> None:
    near, far = (seconds_of(build_tables, Sharding(tp, 2))["send"] for tp in (4, 8))
    assert far == pytest.approx(HOP_S + SIZE / 8 / NETWORK_BYTES_S)
    assert near < far


@pytest.mark.parametrize(("sharding", "tells"), [((8, 1), False), ((16, 1), True), ((8, 2), True), ((4, 2), False)])
def test_whoever_asks_hears_of_the_network_once(build_tables: Build, sharding: tuple[int, int], tells: bool) -> None:
    with listening() as said:
        seconds_of(build_tables, Sharding(*sharding))
    assert [text for text in said if "messages between hosts" in text] == [says_network(platform("h200_sxm"))] * tells
