"""Rates that ship: they are there for every GPU, kernel and format, physical, and told from what a CPU reaches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.dtypes import DTYPES
from model.tables import efficiency
from model.tables.efficiency import rates_of
from model.tables.kernels import GEMM
from perfdb.facts.platforms import PLATFORMS, platform

OPS = (
    "gemm",
    "context_attention",
    "generation_attention",
    "mla_context_module",
    "mla_generation_module",
    "moe",
    "all_reduce",
)
GPUS = [name for name, facts in PLATFORMS.items() if facts.kind == "gpu"]
FILE = Path(efficiency.__file__).with_name("efficiency.json")


def test_the_file_says_where_it_is_from_and_how_far_it_strays() -> None:
    document = json.loads(FILE.read_text())
    about = document.pop("about")
    said = " ".join(about)
    assert "fit_efficiency.py" in said
    for name, platforms in document.items():
        assert f"{name}:" in said
        assert "" in platforms
        assert set(platforms) <= {"", "slow link", *PLATFORMS}
        # prompts of sparse attention are not captured in graphs: their launches are those of a dozen kernels
        longest = 2000 if name.startswith("dsa_context") else 500
        for launch, flops, bandwidth, sd in platforms.values():
            assert 0 < launch < longest
            assert 0 < flops <= 1
            assert 0 < bandwidth <= 1
            assert 0.05 < sd < 3
    assert FILE.stat().st_size < 20_000


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", [*GPUS, "local"])
def test_every_device_has_rates_for_every_format(op: str, name: str) -> None:
    facts = platform(name)
    for number_format in (*DTYPES, "fp8_block"):
        rates = rates_of(facts, op, number_format, number_format)
        assert 0 < rates.flops <= max(facts.flops.values())
        assert 0 < rates.bandwidth <= facts.bandwidth_bytes_s
        assert 0 < rates.launch_s < 5e-4
        assert rates.link > 0
        assert rates.sd >= 0.05


def test_a_measured_platform_has_rates_of_its_own() -> None:
    own = rates_of(platform("h200_sxm"), "gemm", "bf16", "bf16")
    other = rates_of(platform("rtx_4090"), "gemm", "bf16", "bf16")
    assert own.launch_s != other.launch_s
    assert own.sd < 0.5


def test_a_format_that_was_never_fitted_is_less_sure() -> None:
    facts = platform("h200_sxm")
    fitted, lent = rates_of(facts, "gemm", "bf16", "bf16"), rates_of(facts, "gemm", "q4_k_m", "bf16")
    assert lent.sd > fitted.sd
    assert lent.width < fitted.width


def test_the_format_of_the_cache_is_what_attention_reads() -> None:
    facts = platform("h200_sxm")
    wide, narrow = (rates_of(facts, "generation_attention", "bf16", kept) for kept in ("bf16", "fp8"))
    assert (wide.cached, narrow.cached) == (2.0, 1.0)


def test_a_cpu_reaches_what_its_constants_say() -> None:
    facts = platform("local")
    gemm, attention = (rates_of(facts, op, "bf16", "bf16") for op in ("gemm", "generation_attention"))
    assert gemm.bandwidth == pytest.approx(0.6 * facts.bandwidth_bytes_s)
    assert attention.bandwidth == pytest.approx(0.4 * facts.bandwidth_bytes_s)
    assert rates_of(facts, "all_reduce", "bf16", "bf16").launch_s == pytest.approx(20e-6)


def test_devices_joined_by_the_bus_of_their_host_take_longer_to_send() -> None:
    bus, own = (rates_of(platform(name), "all_reduce", "bf16", "bf16") for name in ("rtx_4090", "h20"))
    assert bus.launch_s > 1.5 * own.launch_s
    assert bus.link < 0.2 * own.link
    gather = rates_of(platform("rtx_4090"), "all_gather", "bf16", "bf16")
    assert (gather.launch_s, gather.link) == (bus.launch_s, bus.link)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("bf16", 2), ("fp32", 2), ("int4", 2), ("int8_wo", 2), ("nvfp4_wo", 2), ("mxfp4", 2), ("int4_fp8", 1), ("fp8", 1),
     ("int8", 1), ("mxfp4_mxfp8", 1), ("nvfp4", 0.5625)],
)  # fmt: skip
def test_activations_take_their_own_bytes(name: str, wanted: float) -> None:
    """Not those of the weights beside them: a product that waits for its activations takes as long in int4 as in 16."""
    assert rates_of(platform("h200_sxm"), "gemm", name, "bf16").activation == wanted


def test_only_accelerators_round_products_up_to_tiles() -> None:
    """One row on a CPU takes the reading of its weights, 32 MiB, and not the arithmetic of 64."""
    one, many = np.array([1.0]), np.array([64.0])
    sizes = [np.array([4096.0])] * 2
    for name, is_alike in (("h200_sxm", True), ("amd-epyc-zen4-2c", False)):
        rates = rates_of(platform(name), "gemm", "fp16", "fp16")
        less, more = (GEMM.formula(rates, (), [rows, *sizes]).item() for rows in (one, many))
        assert (more < 1.05 * less) is is_alike
        least = rates.launch_s + 2 * 4096**2 / rates.bandwidth
        assert less == pytest.approx(least, rel=0.02)
