"""From a model's description to the kernels that one step calls on one device, with the shapes that they have there.

Tensor parallelism divides heads and widths, expert parallelism spreads whole experts; both sum messages over devices.
Under attention data parallelism every rank attends to sequences of its own, and the tokens of all ranks meet at the
experts. A step computes T tokens of S sequences on a rank: products work on T rows, the output matrix on S.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model.checkpoint.architecture import Architecture
from model.checkpoint.parts import ATTENTION, DENSE_MLP, HEAD, LINEAR_ATTENTION, ROUTER, SHARED_EXPERTS
from model.tables.shapes import Exchange, Experts, Heads, Indexed, Latent, Sparse, indexed_of, latent_of, sparse_of

_ACTIVATION_BYTES = 2.0


@dataclass(frozen=True, slots=True)
class Sharding:
    """How a model is divided: `tp` devices share each layer, `pp` groups of devices have different layers,
    `attention_dp` such ranks share the experts of a layer, which are spread over `ep` of the tp · attention_dp devices
    (1: every device has a part of each), and reached in a way of `model.tables.exchange` ("": all get all tokens)."""

    tp: int = 1
    pp: int = 1
    ep: int = 1
    attention_dp: int = 1
    exchange: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    """A product of all rows with one n×k matrix of a part of `model.checkpoint.parts`, `count` times a step; rows are
    tokens, for the output matrix sequences."""

    name: str
    count: float
    n: float
    k: float
    part: str

    @property
    def of_sequences(self) -> bool:
        """Whether its rows are sequences."""
        return self.part == HEAD


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention of all sequences."""

    name: str
    count: float
    heads: Heads


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """A whole layer of latent attention, full or sparse, of all sequences, with its projections, over `heads`."""

    name: str
    count: float
    layer: Latent | Sparse | Indexed
    heads: float


@dataclass(frozen=True, slots=True)
class Mixture:
    """The routed experts of a layer, for the tokens of `ranks` ranks together."""

    name: str
    count: float
    layer: Experts
    ranks: int = 1


@dataclass(frozen=True, slots=True)
class Traffic:
    """A small kernel that reads and writes `token_bytes` per token: a norm, an activation, the embedding."""

    name: str
    count: float
    token_bytes: float


@dataclass(frozen=True, slots=True)
class Message:
    """A collective `op` of `token_bytes` per token of one rank over `devices`."""

    name: str
    count: float
    token_bytes: float
    devices: int
    op: str = "all_reduce"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A rank's tokens brought to their experts (`op` "moe_dispatch"), or results back ("moe_combine")."""

    name: str
    count: float
    layer: Exchange
    op: str
    way: str


@dataclass(frozen=True, slots=True)
class Send:
    """`token_bytes` per token handed to the next group of layers."""

    name: str
    count: float
    token_bytes: float


Call = Product | Attention | LatentAttention | Mixture | Traffic | Message | Dispatch | Send


def calls(model: Architecture, sharding: Sharding) -> Iterator[Call]:
    """Every kernel of one step on one device, layers of all groups together: tokens pass them one after the other."""
    yield from _attention(model, sharding.tp)
    yield from _linear(model, sharding.tp)
    dense = model.layers - model.moe_layers
    if dense:
        yield from _mlp(DENSE_MLP, "mlp", dense, model, model.intermediate / sharding.tp)
    if model.moe_layers:
        yield from _mixture(model, sharding)
    hidden = model.hidden * _ACTIVATION_BYTES
    yield Traffic("norms", 2.0 * model.layers, 4.0 * hidden)
    yield Traffic("embedding", 1.0, hidden)
    yield Product("lm_head", 1.0, model.vocab / sharding.tp, model.hidden, HEAD)
    if sharding.tp > 1:
        yield Message("all_reduce", 2.0 * model.layers + 1.0, hidden, sharding.tp)
    if sharding.pp > 1:
        yield Send("send", sharding.pp - 1.0, hidden / sharding.tp)


def _attention(model: Architecture, tp: int) -> Iterator[Call]:
    layers = model.attention_layers
    if not layers:
        return
    heads, kv_heads = max(model.heads / tp, 1.0), max(model.kv_heads / tp, 1.0)
    if model.index_topk:
        yield LatentAttention("sparse_attention", model.index_layers, indexed_of(model), heads)
        if layers > model.index_layers:
            yield LatentAttention("sparse_attention_again", layers - model.index_layers, sparse_of(model), heads)
        return
    if model.is_mla:
        yield LatentAttention("latent_attention", layers, latent_of(model), heads)
        return
    yield Product("qkv_proj", layers, (heads + 2.0 * kv_heads) * model.head_dim, model.hidden, ATTENTION)
    yield Product("out_proj", layers, model.hidden, heads * model.head_dim, ATTENTION)
    full = layers - model.sliding_layers
    if full:
        seen = Heads(heads, kv_heads, model.head_dim)
        yield Attention("attention", full, seen)
    if model.sliding_layers:
        seen = Heads(heads, kv_heads, model.head_dim, model.sliding_window)
        yield Attention("sliding_attention", model.sliding_layers, seen)


def _linear(model: Architecture, tp: int) -> Iterator[Call]:
    if model.linear_layers:
        width = model.linear_params / model.hidden / tp
        yield Product("linear_attention_proj", model.linear_layers, width, model.hidden, LINEAR_ATTENTION)
        yield Traffic("linear_attention", model.linear_layers, 2.0 * _ACTIVATION_BYTES * model.linear_state / tp)


def _mlp(part: str, name: str, layers: float, model: Architecture, width: float) -> Iterator[Call]:
    inner = width * (model.mlp_matrices - 1)
    yield Product(f"{name}_up_proj", layers, inner, model.hidden, part)
    yield Traffic(f"{name}_activation", layers, (inner + width) * _ACTIVATION_BYTES)
    yield Product(f"{name}_down_proj", layers, model.hidden, width, part)


def _mixture(model: Architecture, sharding: Sharding) -> Iterator[Call]:
    layers = model.moe_layers
    yield Product("router", layers, model.experts, model.hidden, ROUTER)
    if model.shared_intermediate:
        yield from _mlp(SHARED_EXPERTS, "shared_expert", layers, model, model.shared_intermediate / sharding.tp)
    ranks = sharding.attention_dp
    parts = sharding.tp * ranks / sharding.ep
    layer = Experts(model.hidden, model.expert_intermediate, model.top_k, model.experts, parts, sharding.ep)
    yield Mixture("experts", layers, layer, ranks)
    if ranks > 1 and sharding.exchange:
        spread = Exchange(model.hidden, model.top_k, model.experts, sharding.ep)
        yield Dispatch("dispatch", layers, spread, "moe_dispatch", sharding.exchange)
        yield Dispatch("combine", layers, spread, "moe_combine", sharding.exchange)
    elif ranks > 1:
        together = model.hidden * _ACTIVATION_BYTES * ranks
        yield Message("dispatch", layers, together, ranks, "all_gather")
        yield Message("combine", layers, together, ranks, "reduce_scatter")
