"""Platform facts: numbers, aliases, this machine."""

from __future__ import annotations

import pytest

from perfdb.errors import UnknownNameError
from perfdb.facts.platforms import DTYPES, PLATFORMS, canonical_platform, other_variants, platform


def test_there_are_at_least_25_accelerators() -> None:
    assert len([facts for facts in PLATFORMS.values() if facts.kind != "cpu"]) >= 25
    assert {facts.kind for facts in PLATFORMS.values()} == {"gpu", "tpu", "accelerator", "cpu"}


@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_every_number_is_plausible_and_has_its_source(name: str) -> None:
    facts = PLATFORMS[name]
    assert facts.source
    assert facts.vendor
    assert facts.origin == "built in"
    assert facts.memory_bytes >= 16 * 2**30
    assert 1e10 < facts.bandwidth_bytes_s < 1e13  # two cores of a server are the least
    assert set(facts.flops) <= set(DTYPES)
    # without a rate for 16 or 32 bits, the fastest other rate would stand in for it
    assert set(facts.flops) & {"bf16", "fp16", "fp32"}
    assert all(1e11 < rate < 2e16 for rate in facts.flops.values())
    assert facts.link_bytes_s is None or 1e10 <= facts.link_bytes_s <= 1e12
    assert facts.usd_per_hour is None or (0.1 < facts.usd_per_hour < 20 and "price" in facts.source)


@pytest.mark.parametrize(
    ("name", "bf16", "bandwidth", "link", "memory"),
    [
        ("a100_pcie_80gb", 312, 1935, 32, 80),
        ("a100_sxm_80gb", 312, 2039, 300, 80),
        ("a30", 165, 933, 32, 24),
        ("b200_sxm", 2250, 7700, 900, 180),
        ("b300_sxm", 2250, 7750, 900, 268.6),
        ("arc_b60", 98.304, 456, 32, 24),
        ("gb200", 2500, 8000, 900, 185.0),
        ("gb300", 2500, 8000, 900, 277.5),
        ("h100_pcie", 756.5, 2000, 64, 80),
        ("h100_sxm", 989, 3350, 450, 80),
        ("h200_sxm", 989, 4800, 450, 141),
        ("l4", 121, 300, 32, 24),
        ("l40s", 362.05, 864, 32, 48),
        ("rtx_pro_6000_server", 467.8, 1597, 64, 95.6),
    ],
)
def test_the_systems_of_the_operation_tables_are_known(
    name: str, bf16: float, bandwidth: float, link: float, memory: float
) -> None:
    """Against the descriptions that come with aiconfigurator-core, where they do not leave out ECC (L40S)."""
    facts = platform(name)
    assert facts.flops["bf16"] == pytest.approx(bf16 * 1e12, rel=2e-3)
    assert facts.bandwidth_bytes_s == pytest.approx(bandwidth * 1e9, rel=1e-3)
    assert facts.link_bytes_s == pytest.approx(link * 1e9)
    assert facts.memory_bytes == pytest.approx(memory * 2**30, rel=0.01)


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
    # Gaudi 3 and TPU v4 multiply both formats at one rate; Blackwell Ultra has almost no int8
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
        ("rtx-pro-6000-server", "rtx_pro_6000_server", None),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx_pro_6000_server", None),
        ("NVIDIA H20", "h20", None),
        ("a800", "a800_sxm_80gb", None),
        ("AMD Instinct MI355X", "mi355x", None),
        ("TPU7x", "tpu_v7", None),
        ("Intel Arc Pro B60", "arc_b60", None),
        ("NVIDIA A10G", "a10g", None),
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
