"""The user's own platforms and models: known everywhere, and refused with a reason where they cannot be right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from model.checkpoint.architecture import resolve_model
from perfdb.errors import FileError, InputError, ServecastError
from perfdb.facts.models import canonical_model, known_models, model_facts
from perfdb.facts.platforms import PLATFORMS, canonical_platform, known_platforms, platform
from perfdb.importers.folder import import_paths
from perfdb.store import Store

GPU = {
    "kind": "gpu",
    "memory_gib": 64,
    "bandwidth_gb_s": 3000,
    "tflops": {"bf16": 500, "fp8": 1000},
    "source": "a datasheet",
}
CONFIG = {
    "model_type": "llama",
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 8192,
    "vocab_size": 32000,
}
Say = Callable[[object], Path]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Write the file of facts and name it in the environment."""

    def write(content: object) -> Path:
        path = tmp_path / "facts.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        monkeypatch.setenv("SERVECAST_FACTS", str(path))
        return path

    return write


def test_an_own_platform_is_known_like_any_other(say: Say) -> None:
    path = say({"platforms": {"my-gpu": {**GPU, "link_gb_s": 300, "usd_per_hour": 2, "aliases": ["house card"]}}})
    facts = platform("My GPU")
    assert (facts.memory_bytes, facts.bandwidth_bytes_s, facts.link_bytes_s) == (64 * 2**30, 3e12, 3e11)
    assert facts.flops == {"bf16": 5e14, "fp8": 1e15}
    assert (facts.usd_per_hour, facts.source, facts.origin) == (2.0, "a datasheet", str(path))
    assert canonical_platform("8x house card FP8") == ("my-gpu", 8)
    assert set(known_platforms()) == {*PLATFORMS, "my-gpu"}
    assert platform("h100").origin == "built in"


def test_an_own_model_is_known_like_any_other(say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "house"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    path = say({"models": {"house/House-1B": "models/house", "house-file": "models/house/config.json"}})
    assert canonical_model("/data/House-1B-Instruct") == "house/House-1B"
    assert resolve_model("house-1b").layers == 16
    assert resolve_model("house-file").hidden == 2048
    assert (model_facts("house-1b").source, model_facts("house-1b").origin) == (str(folder / "config.json"), str(path))
    assert sorted(known_models()[-2:]) == ["house-file", "house/House-1B"]


def test_importing_spells_names_by_the_own_facts(say: Say, tmp_path: Path) -> None:
    say({"platforms": {"my-gpu": {**GPU, "aliases": ["house card"]}}})
    file = tmp_path / "results.csv"
    file.write_text("model,gpu,engine,mean_ttft_ms\nQwen3-8B,House Card,vllm,12\n")
    store = Store(tmp_path / "db.duckdb")
    assert not [text for text in import_paths(store, [file]).warnings if "unknown" in text]
    assert store.sql("SELECT platform FROM operating_points").rows == [["my-gpu"]]


def test_a_wrong_file_of_facts_is_not_taken_for_a_wrong_result_file(say: Say, tmp_path: Path) -> None:
    say("platforms: [")
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "results.csv").write_text("model,gpu,mean_ttft_ms\nQwen3-8B,House Card,12\n")
    with pytest.raises(InputError, match=r"facts\.yaml.*expected YAML"):
        import_paths(Store(tmp_path / "db.duckdb"), [folder])
    assert not (tmp_path / "db.duckdb").exists()


def test_a_changed_file_is_read_again(say: Say) -> None:
    say({"platforms": {"my-gpu": GPU}})
    assert platform("my-gpu").memory_bytes == 64 * 2**30
    say({"platforms": {"my-gpu": {**GPU, "memory_gib": 128}}})
    assert platform("my-gpu").memory_bytes == 128 * 2**30


def test_the_home_folder_is_the_place_where_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVECAST_FACTS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert set(known_platforms()) == set(PLATFORMS)
    (tmp_path / "servecast").mkdir()
    (tmp_path / "servecast" / "facts.yaml").write_text(yaml.safe_dump({"platforms": {"my-gpu": GPU}}))
    assert platform("my-gpu").kind == "gpu"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"memory_gib": None}, "field 'memory_gib' is None, no number; expected memory_gib in GiB"),
        ({"memory_gib": 10**400}, "which is no value in that unit"),
        ({"memory_gib": 81920}, "'memory_gib' is 81920, which is no value in that unit"),
        ({"bandwidth_gb_s": 3.35}, "expected bandwidth_gb_s in GB/s, from 5 to"),
        ({"bandwidth_gb_s": 3.35e12}, "which is no value in that unit"),
        ({"bandwidth_gb_s": -1}, "'bandwidth_gb_s' is -1"),
        ({"bandwidth_gb_s": float("nan")}, "'bandwidth_gb_s' is nan"),
        ({"bandwidth_gb_s": "3 TB/s"}, "'3 TB/s', no number"),
        ({"bandwidth_gb_s": True}, "no number"),
        ({"tflops": {"bf16": 989e12}}, "field 'bf16' is 989000000000000.0, which is no value in that unit"),
        ({"tflops": {"bfloat16": 989}}, "unknown field 'bfloat16'.*bf16"),
        ({"tflops": {}}, "tflops: it is empty"),
        ({"tflops": 989}, "989 is no mapping"),
        ({"usd_per_hour": 250_000}, "dollars per device and hour"),
        ({"memory_gb": 80}, "unknown field 'memory_gb'.*did you mean memory_gib"),
        ({"kind": "GPU!"}, "unknown kind 'GPU!'"),
        ({"source": ""}, "field 'source' is ''; expected a text"),
        ({"aliases": "one"}, "expected a list of names"),
        ({"aliases": ["H100"]}, "the name 'H100' is taken by h100_sxm"),
    ],
)
def test_a_field_that_cannot_be_right_is_named(say: Say, change: dict[str, object], sentence: str) -> None:
    path = say({"platforms": {"my-gpu": {**GPU, **change}}})
    with pytest.raises(InputError, match=sentence) as caught:
        platform("my-gpu")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("field", sorted(GPU))
def test_a_missing_field_is_named(say: Say, field: str) -> None:
    say({"platforms": {"my-gpu": {name: value for name, value in GPU.items() if name != field}}})
    with pytest.raises(InputError, match=f"field '{field}' is missing"):
        platform("my-gpu")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"platforms": {"H100": GPU}}, "the name 'H100' is taken by h100_sxm"),
        ({"platforms": {"local": GPU}}, "taken by local"),
        ({"platforms": {"my-gpu": GPU, "my_gpu": GPU}}, "the name 'my_gpu' is taken by my-gpu"),
        ({"platforms": {"my gpu": GPU}}, "'my gpu' is no name"),
        ({"platforms": {"intel": GPU}}, "'intel' says nothing but a maker"),
        ({"models": {"chat": "x"}}, "'chat' says nothing but"),
        ({"platforms": {7: GPU}}, "7 is no name"),
        ({"platforms": [GPU]}, "is no mapping"),
        ({"platforms": {"my-gpu": "fast"}}, "'fast' is no mapping"),
        ({"platform": {}}, "unknown field 'platform'.*platforms"),
        ({"models": {"Qwen3-8B": "x"}}, "the name 'Qwen3-8B' is taken by Qwen/Qwen3-8B"),
        ({"models": {"mine": 3}}, "field 'mine' is 3; expected a text"),
        ({"models": {"mine": "mine.gguf"}}, "a GGUF file names itself"),
        ("just text", "is no mapping"),
        ("platforms:\n  a: {kind: gpu}\n  a: {kind: cpu}\n", "'a' stands twice"),
        (": : :", "cannot be read"),
        ("[" * 5000, "cannot be read"),
        ("a: 2026-99-99", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused(say: Say, content: object, sentence: str) -> None:
    say(content)
    with pytest.raises(InputError, match=sentence):
        known_platforms()


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVECAST_FACTS", "/nowhere/facts.yaml")
    with pytest.raises(InputError, match=r"SERVECAST_FACTS=/nowhere/facts\.yaml: cannot be read"):
        platform("my-gpu")


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_config_that_cannot_be_read_is_named_when_it_is_asked_for(
    say: Say, tmp_path: Path, content: str | None
) -> None:
    say({"models": {"mine": "mine.json"}})
    if content is not None:
        (tmp_path / "mine.json").write_text(content)
    assert canonical_model("mine") == "mine"
    with pytest.raises(FileError, match=r"model 'mine': .*mine\.json") as caught:
        resolve_model("mine")
    assert isinstance(caught.value, ServecastError)
