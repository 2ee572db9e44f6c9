"""Engines' defaults where they depend on the device."""

from __future__ import annotations

import pytest

from perfdb.errors import InputError
from perfdb.facts.engine_names import name_and_version
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform


@pytest.mark.parametrize(
    ("served_by", "place", "parameter", "wanted"),
    [
        ("vllm", "rtx_4090", "max_num_batched_tokens", 2048),
        ("vllm", "h100_sxm", "max_num_batched_tokens", 8192),
        ("vllm", "h100_sxm", "max_num_seqs", 1024),
        ("vllm", "a100_sxm_80gb", "max_num_batched_tokens", 2048),
        ("vllm", "a100_sxm_80gb", "max_num_seqs", 256),
        ("sglang", "rtx_4090", "chunked_prefill_size", 2048),
        ("sglang", "l40s", "chunked_prefill_size", 4096),
        ("sglang", "h200_sxm", "chunked_prefill_size", 8192),
        ("sglang", "b200_sxm", "chunked_prefill_size", 16384),
        ("trtllm", "h200_sxm", "max_batch_size", 2048),
    ],
)
def test_defaults_follow_the_memory_of_the_device(served_by: str, place: str, parameter: str, wanted: int) -> None:
    """vLLM's EngineArgs count an A100 of 80 GB as small; SGLang's ServerArgs know four sizes."""
    assert engine(served_by).on(platform(place)).defaults()[parameter] == wanted


def test_other_engines_and_cpus_have_one_default() -> None:
    local = platform("local")
    for name in ("vllm", "llamacpp"):
        assert engine(name).on(local).defaults() == engine(name).defaults()


def test_all_defaults_are_shown() -> None:
    assert engine("vllm").parameters["max_num_seqs"].shown_default == "256; 1024 from 70 GiB"
    assert engine("vllm").parameters["max_model_len"].shown_default == ""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("vllm", ("vllm", None)),
        ("vllm:0.24.0", ("vllm", "0.24.0")),
        ("vllm:v0.24.0", ("vllm", "0.24.0")),
        (" SGLang : 0.5.14 ", ("SGLang", "0.5.14")),
        ("trtllm:latest", ("trtllm", None)),
        ("trtllm:1.3.0rc20", ("trtllm", "1.3.0rc20")),
    ],
)
def test_an_engine_and_its_version(text: str, wanted: tuple[str, str | None]) -> None:
    assert name_and_version(text) == wanted


@pytest.mark.parametrize("text", ["vllm:", "vllm: ", "vllm:newest", "vllm:v"])
def test_a_version_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"expected vllm, vllm:0\.24\.0 or vllm:latest"):
        name_and_version(text)


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        (None, True),
        ("0.13.0", False),
        ("0.14.0", True),
        ("0.14.0rc1", True),
        ("0.19.1.dev3+gabc", True),
        ("0.9", False),
    ],
)
def test_defaults_change_with_versions(version: str | None, wanted: bool) -> None:
    """vLLM schedules asynchronously from 0.14 on."""
    found = engine("vllm").at(version).parameters
    assert found["async_scheduling"].default is wanted
    assert found["max_num_seqs"] == engine("vllm").parameters["max_num_seqs"]
    assert engine("vllm").parameters["async_scheduling"].shown_default == "False; True from 0.14.0"


def test_a_build_without_tags_counts_as_the_newest() -> None:
    """Its 0.1 is no version: what began with a later one holds."""
    vllm = engine("vllm")
    found = {version: vllm.at(version).defaults()["async_scheduling"] for version in ("0.1", "0.13.0", "0.14.0")}
    assert found == {"0.1": False, "0.13.0": False, "0.14.0": True}
    assert vllm.at("0.1.dev19262+gb6bbf29dd.d20260727").defaults() == vllm.at(None).defaults()
