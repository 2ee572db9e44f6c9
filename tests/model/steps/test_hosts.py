"""Groups of devices that are more than a host has (FEATURES S1.32): who is where, and what messages between hosts
take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.steps.hosts import (
    HOP_S,
    NETWORK_BYTES_S,
    across_s,
    host_devices,
    hosts_passed,
    network_bytes_s,
    says_network,
    spread_over,
)
from perfdb.facts.platforms import platform

H200, RACK, SLOW = platform("h200_sxm"), platform("gb200"), platform("l4")
MEGABYTE = np.array([1e6])


def test_a_rack_is_one_host() -> None:
    assert (host_devices(H200), host_devices(RACK)) == (8, 72)
    assert spread_over(64, 1, RACK) == (1, 64)


@pytest.mark.parametrize(
    ("devices", "stride", "spread"),
    [(8, 1, (1, 8)), (9, 1, (2, 5)), (16, 1, (2, 8)), (12, 1, (2, 6)), (4, 4, (2, 2)), (2, 8, (2, 1)), (3, 16, (3, 1))],
)
def test_devices_fill_their_hosts_evenly(devices: int, stride: int, spread: tuple[int, int]) -> None:
    assert spread_over(devices, stride, H200) == spread


@given(st.integers(1, 200), st.integers(1, 32))
def test_all_devices_have_a_place(devices: int, stride: int) -> None:
    hosts, members = spread_over(devices, stride, H200)
    assert (hosts - 1) * members < devices <= hosts * members
    assert members == 1 or members * stride <= host_devices(H200)


def test_a_sum_over_two_hosts_passes_the_network_twice() -> None:
    """Each of eight devices exchanges its eighth: half of it there, half of it back."""
    found = across_s("all_reduce", MEGABYTE, 2, 8, H200).item()
    assert found == pytest.approx(2 * (HOP_S + 1e6 / 8 / 2 / NETWORK_BYTES_S))
    assert across_s("all_gather", MEGABYTE, 2, 8, H200).item() == pytest.approx(found / 2)
    alone = across_s("all_gather", MEGABYTE, 2, 1, H200).item()
    assert alone == pytest.approx(HOP_S + 1e6 / 2 / NETWORK_BYTES_S)


@given(st.integers(2, 64), st.integers(1, 8), st.floats(1.0, 1e9))
def test_more_hosts_and_fewer_devices_on_each_take_longer(hosts: int, members: int, size: float) -> None:
    one, more, fewer = (
        across_s("all_reduce", np.array([size]), *group, H200).item()
        for group in ((hosts, members + 1), (hosts + 1, members + 1), (hosts, members))
    )
    assert HOP_S < one <= min(more, fewer)


def test_a_network_is_no_faster_than_the_device_sends() -> None:
    assert network_bytes_s(H200) == NETWORK_BYTES_S
    assert network_bytes_s(SLOW) == SLOW.link_bytes_s < NETWORK_BYTES_S


@pytest.mark.parametrize(
    ("stages", "devices", "passed"), [(1, 16, 0), (2, 4, 0), (2, 8, 1), (4, 4, 1), (4, 8, 3), (3, 16, 2), (8, 3, 2)]
)
def test_stages_that_lead_to_another_host(stages: int, devices: int, passed: int) -> None:
    assert hosts_passed(stages, devices, H200) == passed


def test_the_note_says_what_is_taken_for_granted() -> None:
    assert "h200_sxm than the 8 of a host" in says_network(H200)
    assert "50 GB/s a device and 14 µs a hop" in says_network(H200)
