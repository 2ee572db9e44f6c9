"""Platform facts: numbers, aliases, this machine."""

from __future__ import annotations

import pytest

from perfdb.errors import UnknownNameError
from perfdb.facts.platforms import DTYPES, PLATFORMS, canonical_platform, other_variants, platform


def test_there_are_at_least_25_accelerators_each_with_its_source() -> None:
    assert len(PLATFORMS) >= 25
    for facts in PLATFORMS.values():
        assert facts.source
        assert facts.vendor
        assert facts.memory_bytes >= 16 * 2**30
        assert 5e10 < facts.bandwidth_bytes_s < 1e13
        assert set(facts.flops) <= set(DTYPES)
        assert facts.flops


def test_numbers_are_dense_and_one_way() -> None:
    h100 = platform("h100_sxm")
    assert h100.flops["bf16"] == pytest.approx(989.4e12)
    assert h100.flops["fp8"] == pytest.approx(1978.9e12)
    assert h100.memory_bytes == 80 * 2**30
    assert h100.link_bytes_s == 450e9
    assert "fp8" not in platform("a100_sxm_80gb").flops
    assert platform("mi300x").flops["fp16"] == pytest.approx(1307.4e12)


@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_half_precision_is_at_most_half_of_eight_bits(name: str) -> None:
    flops = PLATFORMS[name].flops
    half = flops.get("bf16", flops.get("fp16", 0.0))
    eight = flops.get("fp8", flops.get("int8"))
    # Gaudi 3 multiplies both formats at one rate; Blackwell Ultra has almost no int8
    if eight is not None:
        assert half <= eight
    if "fp4" in flops:
        assert flops["fp8"] <= flops["fp4"]


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("Nvidia H100 GPU", "h100_sxm", None),
        ("H100", "h100_sxm", None),
        ("h100_sxm", "h100_sxm", None),
        ("H100-PCIe", "h100_pcie", None),
        ("8xMi300x 1FP8-amd ", "mi300x", 8),
        ("8xH100-meta-Llama-31-405B-FP8", "h100_sxm", 8),
        ("4 x L40S", "l40s", 4),
        ("Intel PVC GPU", "max_1550", None),
        ("Intel Max 1550", "max_1550", None),
        ("Habana Gaudi2", "gaudi2", None),
        ("SambaNova SN40L", "sn40l", None),
        ("NVIDIA A100-SXM4-80GB", "a100_sxm_80gb", None),
        ("local", "local", None),
        ("Abacus 3000", None, None),
        ("", None, None),
    ],
)
def test_hardware_cells_are_read(text: str, name: str | None, count: int | None) -> None:
    assert canonical_platform(text) == (name, count)


def test_ambiguous_names_say_their_variants() -> None:
    assert "h100_pcie" in other_variants("Nvidia H100 GPU")
    assert not other_variants("H100 PCIe")


def test_every_alias_leads_to_its_platform() -> None:
    for facts in PLATFORMS.values():
        for alias in (facts.name, *facts.aliases):
            assert platform(alias.upper()) is facts


def test_unknown_platform_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="h200_sxm"):
        platform("h2000")


def test_local_is_this_machine_and_stays_the_same() -> None:
    first = platform("local")
    assert platform(" LOCAL ") == first
    assert first.kind == "cpu"
    assert first.memory_bytes > 2**28
    assert first.bandwidth_bytes_s >= 1e10
    assert first.flops["fp32"] > 1e9
    assert first.usd_per_hour is None
