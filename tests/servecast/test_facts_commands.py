"""`servecast platforms` and `servecast models`: what is built in, and what the user added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from perfdb.errors import InputError, ModelError
from servecast.cli import app

GPU = {"kind": "gpu", "memory_gib": 64, "bandwidth_gb_s": 3000, "tflops": {"bf16": 500}, "source": "a datasheet"}
CONFIG = {
    "model_type": "llama",
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 8192,
    "vocab_size": 32000,
}


def answer(*words: str) -> Any:
    result = CliRunner().invoke(app, [*words, "--json"])
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of facts with one platform and one model."""
    folder = tmp_path / "house-1b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    path = tmp_path / "facts.yaml"
    path.write_text(yaml.safe_dump({"platforms": {"house-gpu": GPU}, "models": {"house/house": "house-1b"}}))
    monkeypatch.setenv("SERVECAST_FACTS", str(path))
    return path


def test_every_platform_is_listed_with_its_source_and_origin(house: Path) -> None:
    rows = {row["name"]: row for row in answer("platforms")["platforms"]}
    assert rows["house-gpu"]["origin"] == str(house)
    assert rows["h100_sxm"]["origin"] == rows["local"]["origin"] == "built in"
    assert all(row["source"] for row in rows.values())
    assert answer("platforms", "House GPU")["platforms"] == [rows["house-gpu"]]


def test_every_model_is_listed_with_its_source_and_origin(house: Path) -> None:
    rows = {row["name"]: row for row in answer("models")["models"]}
    assert rows["house/house"]["layers"] == 16
    assert rows["house/house"]["origin"] == str(house)
    assert rows["Qwen/Qwen3-8B"]["origin"] == "built in"
    assert rows["Qwen/Qwen3-8B"]["source"] == "huggingface.co/Qwen/Qwen3-8B/config.json"
    assert "block-sparse" in rows["MiniMaxAI/MiniMax-M3"]["unsupported"]
    assert "parameters" not in rows["MiniMaxAI/MiniMax-M3"]


def test_the_tables_are_printed(house: Path) -> None:
    runner = CliRunner()
    models, platforms = runner.invoke(app, ["models"]).stdout, runner.invoke(app, ["platforms"]).stdout
    assert "house/house" in models
    assert "known by name, not predicted" in models
    assert "house-gpu" in platforms
    assert "known by name" not in runner.invoke(app, ["models", "Qwen3-8B"]).stdout


@pytest.mark.parametrize("path", ["house-1b", "house-1b/config.json"])
def test_a_local_description_serves_for_a_model(house: Path, path: str) -> None:
    place = str(house.parent / path)
    (row,) = answer("models", place)["models"]
    assert (row["layers"], row["hidden"], row["origin"]) == (16, 2048, place)
    load = ("--isl", "128", "--osl", "32", "--concurrency", "2")
    database = ("--db", str(house.parent / "db.duckdb"))
    for model in (place, "house"):
        found = answer("whatif", "--model", model, "--platform", "house gpu", "--engine", "vllm", *load, *database)
        assert found["rows"][0]["feasible"] is True


def test_a_model_that_cannot_be_predicted_says_why(tmp_path: Path) -> None:
    words = ("whatif", "--model", "MiniMax-M3", "--platform", "h200", "--engine", "vllm", "--isl", "1", "--osl", "2")
    with pytest.raises(ModelError, match="16 blocks of 128 tokens"):
        answer(*words, "--concurrency", "1", "--db", str(tmp_path / "db.duckdb"))


def test_a_wrong_file_of_facts_is_told_by_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "facts.yaml"
    path.write_text("platforms: {x: {kind: gpu}}")
    monkeypatch.setenv("SERVECAST_FACTS", str(path))
    with pytest.raises(InputError, match="field 'memory_gib' is missing"):
        answer("platforms")
    with pytest.raises(InputError, match="field 'memory_gib' is missing"):
        answer("models")
