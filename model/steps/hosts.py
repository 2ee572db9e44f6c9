"""Devices of one host are joined by links, hosts by a network: what that adds to messages between more of them."""

from __future__ import annotations

from math import ceil, log2

from model.prediction import Floats
from model.steps.roofline import SLOWEST_LINK
from perfdb.facts.platforms import PlatformFacts

NETWORK_BYTES_S = 50e9
"""What one device sends to another host: a network adapter of 400 Gb/s each, as in the vendors' reference servers of
eight H100 or H200 (NVIDIA DGX H100 datasheet)."""
HOP_S = 14e-6
"""What a hop between hosts adds to a message, by NCCL's own account (hwLat of NET, Simple, in src/graph/tuning.cc)."""
_HOST_DEVICES = {"gb200": 72, "gb300": 72}
_OTHER_HOSTS = 8
"""Devices that a link joins: a rack of the named ones (NVIDIA GB200 NVL72 and GB300 NVL72 datasheets), else a host."""
_BOTH_WAYS = "all_reduce"


def host_devices(platform: PlatformFacts) -> int:
    """Devices of a platform that its link joins."""
    return _HOST_DEVICES.get(platform.name, _OTHER_HOSTS)


def network_bytes_s(platform: PlatformFacts) -> float:
    """What a device sends to another host."""
    return min(platform.link_bytes_s or SLOWEST_LINK, NETWORK_BYTES_S)


def spread_over(devices: int, stride: int, platform: PlatformFacts) -> tuple[int, int]:
    """(hosts, members of each) of a group of `devices` devices, each `stride` after the one before."""
    here = max(host_devices(platform) // stride, 1)
    hosts = ceil(devices / here)
    return hosts, ceil(devices / hosts)


def across_s(op: str, size: Floats, hosts: int, members: int, platform: PlatformFacts) -> Floats:
    """Seconds, `n`, that a collective of `size` bytes spends between hosts, of which each has `members` in it.

    Within its host each device has a part of the whole; of these one from each host exchange theirs, all at a time.
    """
    times = 2.0 if op == _BOTH_WAYS else 1.0
    moved = size * (hosts - 1.0) / hosts / members
    return times * (ceil(log2(hosts)) * HOP_S + moved / network_bytes_s(platform))


def hosts_passed(stages: int, devices: int, platform: PlatformFacts) -> int:
    """Of the steps from stage to stage of a pipeline, each of so many devices, how many lead to another host."""
    here = host_devices(platform)
    return stages - 1 if devices >= here else (stages - 1) * devices // here


def says_network(platform: PlatformFacts) -> str:
    """What to tell of configs that need more devices in step than a host has."""
    rate = network_bytes_s(platform) / 1e9
    return (
        f"of configs that join more {platform.name} than the {host_devices(platform)} of a host, messages between "
        f"hosts are timed by a formula, at {rate:g} GB/s a device and {HOP_S * 1e6:g} µs a hop: none was measured"
    )
