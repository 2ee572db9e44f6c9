"""How a CPU is described from what the system says of it."""

from __future__ import annotations

import pytest

from perfdb.facts import local


@pytest.mark.parametrize(
    ("flags", "fp32", "int8"),
    [
        ({"avx512f", "avx512_vnni"}, 64.0, 256.0),
        ({"avx2"}, 32.0, 64.0),
        (set(), 16.0, 32.0),
        ({"avx512f", "amx_int8", "amx_bf16"}, 64.0, 4096.0),
    ],
)
def test_wider_units_do_more_per_cycle(flags: set[str], fp32: float, int8: float) -> None:
    rates = local.flops_per_cycle(flags)
    assert rates["fp32"] == fp32
    assert rates["int8"] == int8
    assert rates["bf16"] >= fp32


def test_the_clock_is_the_nominal_one() -> None:
    assert local.clock_hz({"model name": "Intel(R) Xeon(R) Gold 6226R CPU @ 2.90GHz"}) == pytest.approx(2.9e9)
    assert local.clock_hz({}) >= 5e8


def test_usable_cores_are_at_least_one() -> None:
    assert local.usable_cores() >= 1.0
