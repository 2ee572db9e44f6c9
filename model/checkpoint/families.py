"""Which families of models an `Architecture` describes, by the `model_type` of their configs; others are refused.

A config of a family that is not known here may have all of Llama's fields and other layers: nothing in it would say so.
Names are those of Hugging Face `transformers` (models/auto/configuration_auto.py), of repositories with code of their
own, and of llama.cpp's weight files; case, dashes, underscores and dots do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perfdb.errors import ModelError

Config = Mapping[str, Any]


def _key(name: str) -> str:
    return re.sub(r"[\s_.-]", "", name.lower())


def _keys(names: str) -> frozenset[str]:
    return frozenset(map(_key, names.split()))


DESCRIBED = _keys(
    """
    llama llama4 llama4_text mistral mistral3 ministral ministral3 mixtral pixtral
    qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next qwen3_5 qwen3_5_text qwen3_5_moe qwen3_5_moe_text
    qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text qwen3_vl qwen3_vl_text qwen3_vl_moe qwen3_vl_moe_text
    gemma gemma2 gemma3 gemma3_text phi phi2 phi3 phi3_v phi-msft phimoe
    deepseek deepseek2 deepseek_v2 deepseek_v3 deepseek_v32 deepseek_vl_v2 kimi_k2 kimi_k25 kimi_vl
    chatglm glm glm4 glm4_moe glm4_moe_lite glm4v glm4v_text glm4v_moe glm4v_moe_text glm_moe_dsa
    gpt2 gptj gpt_neox gpt_bigcode starcoder gpt_oss starcoder2 opt bloom falcon codegen
    minimax minimax_m2 mimo olmo olmo2 olmo3 olmoe granite granitemoe
    internlm internlm2 internlm3 internvl internvl_chat baichuan baichuan_m1 yi aquila orion xverse deci
    cohere cohere2 command-r stablelm exaone exaone4 solar seed_oss ernie4_5 ernie4_5_moe smollm smollm3 apertus
    hunyuan_v1_dense hunyuan-dense bailing_moe dots1 arcee nemotron minicpm minicpm3 helium vaultgemma
    llava llava_next llava_onevision idefics3 smolvlm paligemma aya_vision
    """
)
"""Decoders whose every layer is attention (or a gated delta net) and an MLP or a mixture of experts; of models that
also see, the part that writes."""

_NOT_DESCRIBED: Mapping[str, frozenset[str]] = {
    "layers of an encoder": _keys(
        """
        albert bert roberta xlm-roberta distilbert electra deberta deberta-v2 modernbert mpnet nomic_bert jina_bert
        clip siglip vit wav2vec2 esm layoutlm longformer
        """
    ),
    "an encoder and attention across to it": _keys(
        """
        t5 mt5 umt5 byt5 longt5 switch_transformers bart mbart led pegasus marian m2m_100 nllb-moe blenderbot prophetnet
        encoder-decoder vision-encoder-decoder whisper speech_to_text moonshine florence2 t5gemma t5encoder
        """
    ),
    "cross-attention to images": _keys("mllama mllama_text_model"),
    "state-space or recurrent layers": _keys(
        """
        mamba mamba2 falcon_mamba jamba bamba zamba zamba2 falcon_h1 nemotron_h granitemoehybrid granite_hybrid plamo2
        rwkv rwkv5 rwkv6 rwkv7 xlstm recurrent_gemma griffin retnet codestral_mamba
        """
    ),
    "convolution layers beside attention": _keys("lfm2 lfm2_moe lfm2_vl stripedhyena hyena"),
    "lightning attention": _keys("minimax_text_01 minimax_m1 minimax_vl_01 bailing_moe_linear bailing_hybrid"),
    "layers of differing shapes": _keys("gemma3n gemma3n_text openelm nemotron-nas"),
}
"""What the layers of a family are that no field of an `Architecture` describes, and families that have them."""

_FIELDS: Mapping[str, str] = {
    "compress_ratios": "compressed sparse attention (DeepSeek-V4)",
    "sparse_attention_config": "block-sparse attention (MiniMax-M3)",
    "linear_attn_config": "Kimi delta attention beside MLA",
    "hybrid_override_pattern": "Mamba-2 layers beside attention (Nemotron-H)",
    "ssm_state_size": "Mamba layers",
    "mamba_d_state": "Mamba layers",
    "ssm_cfg": "Mamba layers",
    "attn_layer_period": "Mamba layers beside attention (Jamba)",
    "block_configs": "layers of differing shapes (Nemotron-NAS)",
    "global_head_dim": "heads of differing width (Gemma 4)",
    "swa_head_dim": "heads of differing number and width (MiMo-V2)",
    "num_swa_attention_heads": "heads of differing number (Baichuan-M1)",
    "cross_attention_layers": "cross-attention to images",
    "is_encoder_decoder": "an encoder and attention across to it",
    "add_cross_attention": "attention across to an encoder",
    "encoder_layers": "layers of an encoder",
    "num_encoder_layers": "layers of an encoder",
    "layer_group_size": "lightning attention (Ring)",
    "conv_L_cache": "convolution layers beside attention",
}
"""Fields of configs that speak of layers which are not described here, whatever the family."""
_KINDS = frozenset({"full_attention", "sliding_attention", "chunked_attention", "linear_attention", "attention"})
_LEAST = "GQA, MLA or gated delta layers"


def refuse_undescribed(config: Config, where: str) -> None:
    """Layers of a kind that no field of an `Architecture` describes must not pass for ones that some do.

    A config without a `model_type` is judged by its fields alone.

    Raises:
        ModelError: the family or a field of the config speaks of such layers, or the family is not known.
    """
    found = _by_field(config) or _by_family(config)
    if found is not None:
        raise ModelError.at(where, f"its architecture cannot be predicted: {found}", _LEAST)
    family = str(config.get("model_type") or "")
    if family and _key(family) not in DESCRIBED:
        what = f"its architecture cannot be predicted: nothing says what the layers of model_type {family!r} are"
        raise ModelError.at(where, what, "a known one; where its layers are those of Llama, model_type 'llama' says so")


def _by_family(config: Config) -> str | None:
    families = {_key(str(config.get(name) or "")) for name in ("model_type", "outer_model_type")}
    return next((about for about, known in _NOT_DESCRIBED.items() if families & known), None)


def _by_field(config: Config) -> str | None:
    found = next((about for name, about in _FIELDS.items() if config.get(name)), None)
    if config.get("word_embed_proj_dim") not in (None, config.get("hidden_size")):
        return "embeddings narrower than the layers (word_embed_proj_dim)"
    return found or _by_layer(config)


def _by_layer(config: Config) -> str | None:
    """What the fields that list layers one by one say: 1 is full attention in MiniMax's list, 0 is not."""
    types, kinds = config.get("attn_type_list"), config.get("layer_types")
    if isinstance(types, list) and any(kind != 1 for kind in types):
        return "lightning attention (attn_type_list)"
    if types is None and kinds is None and _key(str(config.get("model_type") or "")) == "minimax":
        return "lightning attention in every other layer, unless attn_type_list or layer_types says that there is none"
    found = {str(kind) for kind in kinds} if isinstance(kinds, list) else set()
    if found >= {"chunked_attention", "sliding_attention"}:
        return "chunked attention beside a sliding window (layer_types)"
    strange = sorted(found - _KINDS)
    return f"layers of kind {', '.join(map(repr, strange))} (layer_types)" if strange else None
