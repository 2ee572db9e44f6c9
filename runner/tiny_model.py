"""A small random-weight Llama in GGUF, in several quantisations of one draw; one word is one token.

The time of a forward pass does not depend on the weights' values, so random ones measure an engine as well as trained
ones do, and nothing has to be downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perfdb.errors import InputError, UnknownNameError
from perfdb.records import content_key
from runner.vocabulary import BYTES, MERGES, SPECIALS, word_tokens

QUANTIZATIONS = ("F16", "Q8_0", "Q4_0")
"""The file types it can write, by their names in GGUF."""
_BLOCK = 32
_FORMAT = 1
_FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7}


@dataclass(frozen=True, slots=True)
class TinyShape:
    """Dimensions of a Llama: about 45 M parameters by default. All widths must be multiples of 32 (a Q8_0 block)."""

    n_layer: int = 8
    n_embd: int = 512
    n_head: int = 8
    n_head_kv: int = 4
    n_ff: int = 1536
    n_vocab: int = 12288
    n_ctx: int = 8192

    def __post_init__(self) -> None:
        odd = [name for name in ("n_embd", "n_ff") if getattr(self, name) % _BLOCK]
        if odd or self.n_embd % self.n_head or self.n_head % self.n_head_kv:
            raise InputError.at("tiny model", f"the shape {self} cannot be built", f"widths in multiples of {_BLOCK}")
        if self.n_vocab <= len(BYTES) + len(SPECIALS):
            raise InputError.at("tiny model", f"n_vocab is {self.n_vocab}", f"more than {len(BYTES) + len(SPECIALS)}")

    @property
    def parameters(self) -> int:
        """Weights of all matrices and norms."""
        return sum(int(np.prod(shape)) for _, shape in self.tensors())

    def tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        """GGUF name and `rows x columns` of each tensor, in file order."""
        n, kv = self.n_embd, self.n_embd // self.n_head * self.n_head_kv
        layer: list[tuple[str, tuple[int, ...]]] = [
            ("attn_norm", (n,)),
            ("attn_q", (n, n)),
            ("attn_k", (kv, n)),
            ("attn_v", (kv, n)),
            ("attn_output", (n, n)),
            ("ffn_norm", (n,)),
            ("ffn_gate", (self.n_ff, n)),
            ("ffn_up", (self.n_ff, n)),
            ("ffn_down", (n, self.n_ff)),
        ]
        named = [(f"blk.{i}.{name}.weight", shape) for i in range(self.n_layer) for name, shape in layer]
        ends = [("output_norm.weight", (n,)), ("output.weight", (self.n_vocab, n))]
        return [("token_embd.weight", (self.n_vocab, n)), *named, *ends]

    def hf_config(self) -> dict[str, Any]:
        """The same dimensions as a `config.json` of the transformers library says them."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.n_embd,
            "intermediate_size": self.n_ff,
            "num_hidden_layers": self.n_layer,
            "num_attention_heads": self.n_head,
            "num_key_value_heads": self.n_head_kv,
            "head_dim": self.n_embd // self.n_head,
            "vocab_size": self.n_vocab,
            "max_position_embeddings": self.n_ctx,
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
        }


@dataclass(frozen=True)
class TinyModel:
    """The files of one model: quantisation -> path, and -> relative RMS error against the float32 draw (never zero)."""

    files: Mapping[str, Path]
    quality_loss: Mapping[str, float]
    shape: TinyShape


def make_tiny_model(
    folder: Path, shape: TinyShape | None = None, quantizations: Sequence[str] = QUANTIZATIONS, seed: int = 0
) -> TinyModel:
    """Write `tiny-<quantisation>.gguf` files, a `config.json` and a `tiny.json`, or reuse those that are right.

    One draw of float32 weights per seed, each file quantised from it. Rows of the output matrix that belong to raw
    bytes and special tokens are zero, so that greedy decoding neither ends early nor splits a character.

    Raises:
        InputError: a quantisation is not known, or the shape cannot be built.
    """
    for name in quantizations:
        if name not in QUANTIZATIONS:
            raise UnknownNameError.of("quantization", name, QUANTIZATIONS)
    shape = shape or TinyShape()
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"tiny-{name.lower()}.gguf" for name in quantizations}
    key = content_key({"shape": asdict(shape), "seed": seed, "format": _FORMAT, "quantizations": list(quantizations)})
    loss = _known_loss(folder, key, files)
    if loss is None:
        loss = _write_all(files, shape, seed)
        _write_text(folder / "config.json", shape.hf_config())
        _write_text(folder / "tiny.json", {"key": key, "quality_loss": loss})
    return TinyModel(files, loss, shape)


def _known_loss(folder: Path, key: str, files: Mapping[str, Path]) -> dict[str, float] | None:
    try:
        noted = json.loads((folder / "tiny.json").read_text())
    except (OSError, ValueError):
        return None
    right = noted.get("key") == key and all(path.is_file() for path in files.values())
    return dict(noted["quality_loss"]) if right else None


def _write_text(path: Path, value: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def _weights(shape: TinyShape, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """All tensors as float32; one generator per tensor keeps a tensor's draw its own."""
    found: dict[str, npt.NDArray[np.float32]] = {}
    for index, (name, size) in enumerate(shape.tensors()):
        if len(size) == 1:
            found[name] = np.ones(size, np.float32)
            continue
        rng = np.random.default_rng([seed, index])
        found[name] = rng.standard_normal(size, dtype=np.float32) * np.float32(size[1] ** -0.5)
    found["output.weight"][: len(BYTES) + len(SPECIALS)] = 0
    return found


def _write_all(files: Mapping[str, Path], shape: TinyShape, seed: int) -> dict[str, float]:
    weights = _weights(shape, seed)
    loss = {}
    for name, path in files.items():
        partial = path.with_suffix(".partial")
        loss[name] = _write_gguf(partial, shape, name, weights)
        partial.replace(path)
    return loss


def _write_gguf(
    path: Path, shape: TinyShape, quantization: str, weights: Mapping[str, npt.NDArray[np.float32]]
) -> float:
    """Write one file; the answer is sqrt(sum (w_quantised - w)^2 / sum w^2) over its matrices."""
    import gguf

    kind = gguf.GGMLQuantizationType[quantization]
    writer = gguf.GGUFWriter(path, "llama")
    _add_header(writer, shape, quantization)
    error = power = 0.0
    for name, values in weights.items():
        if values.ndim == 1:
            writer.add_tensor(name, values)
            continue
        packed = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
        error += float(np.square(gguf.quants.dequantize(packed, kind) - values).sum(dtype=np.float64))
        power += float(np.square(values).sum(dtype=np.float64))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return float(np.sqrt(error / power))


def _add_header(writer: Any, shape: TinyShape, quantization: str) -> None:
    import gguf

    writer.add_name(f"tiny-{shape.parameters / 1e6:.0f}M")
    writer.add_file_type(_FILE_TYPES[quantization])
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.n_embd // shape.n_head)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(shape.n_vocab)
    # The llama-bpe pre-tokenizer takes a whole word that is in the vocabulary before it looks at any merge.
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    tokens = [*SPECIALS, *BYTES, *word_tokens(shape.n_vocab - len(SPECIALS) - len(BYTES))]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIALS) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIALS))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
