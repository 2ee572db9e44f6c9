"""Known architectures: consistent, and found under the names that people write."""

from __future__ import annotations

import json

import pytest

from model.checkpoint.architecture import resolve_model
from perfdb.errors import ModelError, UnknownNameError
from perfdb.facts.models import MODELS, canonical_model, model_config

SUPPORTED = sorted(name for name, facts in MODELS.items() if not facts.unsupported)
NAMED_ONLY = sorted(set(MODELS) - set(SUPPORTED))

# Published parameter counts in billions, from the models' own cards.
PUBLISHED = {
    "meta-llama/Llama-2-7b-hf": 6.74,
    "meta-llama/Llama-2-70b-hf": 68.98,
    "meta-llama/Meta-Llama-3-8B": 8.03,
    "meta-llama/Llama-3.1-405B": 405.9,
    "meta-llama/Llama-3.2-1B": 1.24,
    "mistralai/Mistral-7B-v0.1": 7.24,
    "mistralai/Mixtral-8x7B-v0.1": 46.7,
    "mistralai/Mistral-Nemo-Base-2407": 12.2,
    "mistralai/Mistral-Small-24B-Base-2501": 23.6,
    "Qwen/Qwen2-7B": 7.62,
    "Qwen/Qwen2.5-0.5B": 0.49,
    "Qwen/Qwen2.5-3B": 3.09,
    "Qwen/Qwen2.5-14B": 14.8,
    "Qwen/Qwen2.5-72B": 72.7,
    "Qwen/Qwen3-0.6B": 0.6,
    "Qwen/Qwen3-8B": 8.19,
    "Qwen/Qwen3-32B": 32.8,
    "Qwen/Qwen3-30B-A3B": 30.5,
    "Qwen/Qwen3-235B-A22B": 235.1,
    "google/gemma-2-9b": 9.24,
    "google/gemma-2-27b": 27.2,
    "microsoft/phi-4": 14.7,
    "microsoft/phi-2": 2.78,
    "microsoft/Phi-3-mini-4k-instruct": 3.82,
    "bigscience/bloom-7b1": 7.07,
    "EleutherAI/gpt-j-6b": 6.05,
    "EleutherAI/gpt-neox-20b": 20.6,
    "facebook/opt-6.7b": 6.66,
    "01-ai/Yi-34B": 34.4,
    "codellama/CodeLlama-34b-hf": 33.7,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1.1,
    "HuggingFaceTB/SmolLM2-135M": 0.135,
    "openai/gpt-oss-20b": 20.9,
    "openai/gpt-oss-120b": 116.8,
    "BAAI/Aquila-7B": 7.29,
}
UNGATED = {"bloom", "gptj", "gpt_neox", "opt", "phi"}


def parameters(config: dict[str, object] | object) -> float:
    """Weights of the matrices of a plain decoder, in billions."""
    c = dict(config)  # type: ignore[call-overload]
    hidden, head_dim = c["hidden_size"], c["head_dim"]
    attention = hidden * head_dim * (2 * c["num_attention_heads"] + 2 * c["num_key_value_heads"])
    experts = c.get("num_local_experts", c.get("num_experts", 1))
    width = c.get("moe_intermediate_size", c["intermediate_size"])
    matrices = 2 if c["model_type"] in UNGATED else 3
    per_layer = attention + experts * matrices * hidden * width
    embeddings = c["vocab_size"] * hidden * (1 if c["tie_word_embeddings"] else 2)
    return float(c["num_hidden_layers"] * per_layer + embeddings) / 1e9


# The same of models whose layers are not all alike or not all plain, in total and per token.
PUBLISHED_MOE = {
    "deepseek-ai/DeepSeek-V3": (671, 37),
    "deepseek-ai/DeepSeek-V2-Lite": (15.7, 2.4),
    "moonshotai/Kimi-K2-Instruct": (1027, 32),
    "deepseek-ai/DeepSeek-V3.2": (671, 37),
    "zai-org/GLM-5": (744, 40),
    "mistralai/Mixtral-8x22B-v0.1": (141, 39),
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": (480, 35),
    "Qwen/Qwen3-Next-80B-A3B-Instruct": (80, 3.9),
    "Qwen/Qwen3.5-397B-A17B": (397, 17),
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": (109, 17),
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": (400, 17),
    "MiniMaxAI/MiniMax-M2.5": (229, 10),
    "zai-org/GLM-4.5": (355, 32),
    "zai-org/GLM-4.5-Air": (106, 12),
    "google/gemma-3-12b-it": (11.8, 11.8),
    "google/gemma-3-27b-it": (27, 27),
    "Deci/DeciLM-7B": (7.04, 7.04),
    "bigcode/starcoder": (15.5, 15.5),
    "tiiuae/falcon-40b": (41.3, 41.3),
    "mistralai/Mistral-Large-Instruct-2407": (123, 123),
}


def test_there_are_at_least_40_models() -> None:
    assert len(SUPPORTED) >= 40


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_numbers_give_the_published_parameter_count(name: str) -> None:
    """A slip in any of the fields would show here."""
    assert parameters(model_config(name)) == pytest.approx(PUBLISHED[name], rel=0.02)


@pytest.mark.parametrize("name", sorted(PUBLISHED_MOE))
def test_the_reader_finds_the_published_parameter_counts(name: str) -> None:
    found, (total, active) = resolve_model(name), PUBLISHED_MOE[name]
    assert found.params / 1e9 == pytest.approx(total, rel=0.02)
    assert found.active_params / 1e9 == pytest.approx(active, rel=0.13)


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_config_is_consistent_has_its_source_and_is_json(name: str) -> None:
    config = dict(model_config(name))
    kv_heads = config.get("num_key_value_heads") or max(config["num_key_value_heads_per_layer"])
    assert config["num_attention_heads"] % kv_heads == 0
    assert config["vocab_size"] > 10_000
    assert json.loads(json.dumps(config)) == config
    assert MODELS[name].source.startswith("huggingface.co/")
    assert resolve_model(name).name == name


@pytest.mark.parametrize("name", NAMED_ONLY)
def test_layers_without_a_description_are_named_not_read_as_others(name: str) -> None:
    """Sparse, compressed or state-space layers read as plain attention would be a silent wrong number."""
    assert canonical_model(name) == name
    with pytest.raises(ModelError) as caught:
        resolve_model(name)
    assert MODELS[name].unsupported in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("MiniMax-M3", "block-sparse"),
        ("DeepSeek-V4-Pro", "compressed"),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "Mamba-2"),
        ("google/flan-t5-xxl", "encoder"),
    ],
)
def test_the_kind_is_told(text: str, kind: str) -> None:
    with pytest.raises(ModelError, match=kind):
        model_config(text)


def test_mla_models_have_their_ranks() -> None:
    config = model_config("deepseek-ai/DeepSeek-R1")
    assert (config["kv_lora_rank"], config["qk_rope_head_dim"], config["n_routed_experts"]) == (512, 64, 256)
    assert config == model_config("DeepSeek-V3")


def test_sliding_layers_alternate_in_gemma_2() -> None:
    kinds = model_config("google/gemma-2-9b")["layer_types"]
    assert len(kinds) == 42
    assert kinds[:2] == ["sliding_attention", "full_attention"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
        ("llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-hf"),
        ("/models/Llama-3.1-8B-Instruct/", "meta-llama/Llama-3.1-8B"),
        ("Meta-Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        (r"C:\models\Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B"),
        ("google/gemma-2-2b-it", "google/gemma-2-2b"),
        ("llama-7b", "huggyllama/llama-7b"),
        ("Llama-4-Scout-17B-16E", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
        ("Mixtral-8x22B-Instruct-v0.1", "mistralai/Mixtral-8x22B-v0.1"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistralai/Mistral-7B-Instruct-v0.2"),
        ("meta-llama/Llama-3.1-8B-Instruct-AWQ", None),
        ("nobody/nothing", None),
        ("", None),
    ],
)
def test_names_as_people_write_them(text: str, name: str | None) -> None:
    assert canonical_model(text) == name


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="Qwen/Qwen3-8B"):
        model_config("Qwen3-8")


def test_configs_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        model_config("Qwen/Qwen3-8B")["hidden_size"] = 1  # type: ignore[index]
