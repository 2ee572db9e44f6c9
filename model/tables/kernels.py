"""The kernels that have tables: what tells their slices apart, their axes, and the formula that their time follows.

Formulas are rooflines (see `model.steps.roofline`) at the rates that a device reaches, with the time of a launch. They
are never the answer where something was measured: they carry a measured ratio to where nothing was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.prediction import Floats
from model.tables.distinct import distinct

TILE = 64.0
"""Rows and columns of a product are computed in tiles of at least so many by the matrix units of an accelerator."""
_MULTIPROCESSORS = 132.0
"""Of an H100; those of other large GPUs have 108 to 160."""
_QUERY_TILE = 128.0
_TURN = 1024.0
"""Prompt length at which attention costs as much as reading its operands does."""
_LATENT_TURN = 8192.0
"""Prompt length at which latent attention costs as much as its projections do."""
_PASSES = 5.0
"""How often the hidden state of each choice of each token is read or written around the products of its expert."""
_RANKS = 16
_MOST_LIKED = 0.8
"""How much likelier than the least liked expert the most liked one is, over their number."""
_LEAST_EXPONENT = 1e-6
"""Next to an exponent of 1 the power law's formula has 0/0."""
ALL_HEADS = 0.0
"""The key `kv_heads` of slices in which every head has keys and values of its own."""


@dataclass(frozen=True)
class Rates:
    """What one device reaches: FLOP/s, bytes/s of its memory, seconds to launch a kernel; bytes per weight and per
    cached number; bytes/s of the link between devices; sd of log(measured / formula) at all these; bytes per activation
    that is multiplied; rows and columns of the tiles that products are computed in."""

    flops: float
    bandwidth: float
    launch_s: float
    width: float = 2.0
    cached: float = 2.0
    link: float = np.inf
    sd: float = 0.0
    activation: float = 2.0
    tile: float = TILE


Numbers = Floats | float
Base = Callable[[Sequence[Numbers], Sequence[Floats]], Floats]
"""Seconds by a formula: of keys (one number or array each) and arguments (one array each)."""
Formula = Callable[[Rates, Sequence[Numbers], Sequence[Floats]], Floats]
"""The same at any rates."""
Coordinate = Callable[[int, Floats, Sequence[Numbers]], Floats]
"""What time is linear in: of the axis' number, its arguments and the keys; ascending in the arguments."""


@dataclass(frozen=True)
class Kernel:
    """One kernel: `keys` and `axes` are columns that `model.tables.rows` makes, `formula` its `Base` at any rates.

    Where several implementations of an operation are no choice of the engine's, `made_by` ends the name of the one.
    """

    op: str
    keys: tuple[str, ...]
    axes: tuple[str, ...]
    formula: Formula
    coordinate: Coordinate
    made_by: str = ""

    @property
    def name(self) -> str:
        """The operation, and which implementation of it."""
        return f"{self.op} by {self.made_by}" if self.made_by else self.op


def plain(_axis: int, values: Floats, _keys: Sequence[Numbers]) -> Floats:
    """The coordinate of an argument that time is linear in."""
    return values


def _gemm(rates: Rates, _keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    m, n, k = arguments
    flops = 2.0 * rates.tile * np.ceil(m / rates.tile) * rates.tile * np.ceil(n / rates.tile) * k
    data = n * k * rates.width + m * k * rates.activation + 2.0 * m * n
    return rates.launch_s + np.maximum(flops / rates.flops, data / rates.bandwidth)


def _context(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    """Causal attention of `isl` new tokens after `prefix` cached ones; a window cuts the keys that each sees."""
    head_dim, window, kv_heads = keys
    heads, batch, isl, prefix = arguments
    kv_heads = np.where(np.asarray(kv_heads) == ALL_HEADS, heads, kv_heads)
    flops = 4.0 * heads * batch * head_dim * attended(isl, prefix, window)
    seen = np.where(np.asarray(window) > 0, np.minimum(prefix, window), prefix) + isl
    data = batch * (4.0 * heads * isl * head_dim + 2.0 * kv_heads * seen * head_dim * rates.cached)
    return rates.launch_s + np.maximum(flops / rates.flops, data / rates.bandwidth)


def attended(isl: Floats, prefix: Floats, window: Numbers) -> Floats:
    """Keys that `isl` tokens after `prefix` others see in all: each itself and those before it, within the window."""
    full = isl * (prefix + (isl + 1.0) / 2.0)
    reach = np.where(np.asarray(window) > 0, window, np.inf)
    growing = np.clip(reach - prefix, 0.0, isl)  # tokens that still see everything
    with np.errstate(invalid="ignore"):
        cut = growing * (prefix + (growing + 1.0) / 2.0) + (isl - growing) * reach
    return np.where(growing < isl, cut, full)


def _context_coordinate(axis: int, values: Floats, keys: Sequence[Numbers]) -> Floats:
    """Time grows with the square of the prompt, with a window only in proportion."""
    windowed = np.asarray(keys[1]) > 0
    return values + np.where(windowed, 0.0, values * values / _TURN) if axis == ISL_AXIS else values


def _latent_coordinate(axis: int, values: Floats, _keys: Sequence[Numbers]) -> Floats:
    return values + values * values / _LATENT_TURN if axis == ISL_AXIS else values


ISL_AXIS = 2


def waves(batch: Floats, isl: Floats) -> Floats:
    """Waves over the multiprocessors that the query tiles of one head are."""
    return batch * np.ceil(isl / _QUERY_TILE) / _MULTIPROCESSORS


def _generation(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    head_dim, window, kv_heads = keys
    heads, batch, cached = arguments
    kv_heads = np.where(np.asarray(kv_heads) == ALL_HEADS, heads, kv_heads)
    seen = np.where(np.asarray(window) > 0, np.minimum(cached, window), cached)
    data = batch * head_dim * (4.0 * heads + 2.0 * kv_heads * seen * rates.cached)
    flops = 4.0 * batch * heads * head_dim * seen
    return rates.launch_s + np.maximum(flops / rates.flops, data / rates.bandwidth)


def _experts(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    """Grouped products of the experts of one device: those that get a token are read, `moe_tp` divides each.

    Whatever the division, every device orders all tokens by expert and sums them up again.
    """
    hidden, inter, topk, experts, moe_tp, moe_ep, skew = keys
    (tokens,) = arguments
    here = np.maximum(experts / moe_ep, 1.0)
    routed = tokens * topk / moe_ep
    weights = 3.0 * hidden * inter / moe_tp
    met = here * share_met(routed / here, experts, skew)
    rows = routed + met * (rates.tile // 2.0)
    passes = _PASSES * tokens * topk * hidden + routed * 3.0 * inter / moe_tp
    data = met * weights * rates.width + 2.0 * passes
    return rates.launch_s + np.maximum(2.0 * rows * weights / rates.flops, data / rates.bandwidth)


def share_met(each: Floats, experts: Numbers, skew: Numbers) -> Floats:
    """Share of the experts that get a token when they get `each` on average; one is liked as a power law says."""
    many, power = np.broadcast_arrays(np.asarray(experts, np.float64), np.asarray(skew, np.float64))
    first, kind = distinct([many.ravel(), power.ravel()], many.size)
    liked = _liked(many.ravel()[first], power.ravel()[first])
    place = kind.reshape(many.shape)
    met = -np.expm1(-each[..., None] * liked[place] / liked.mean(axis=-1, keepdims=True)[place]).mean(axis=-1)
    return np.where(power == 0.0, np.minimum(each, 1.0), met)


def _liked(experts: Floats, skew: Floats) -> Floats:
    """How likely experts of each rank are chosen, times any number, for k kinds of routing, `k x ranks`."""
    rank = (np.arange(_RANKS) + 0.5) / _RANKS
    exponent = 1.0 - np.where(skew == 0.0, 0.5, skew)[:, None]
    exponent = np.where(np.abs(exponent) < _LEAST_EXPONENT, _LEAST_EXPONENT, exponent)
    most = np.maximum(_MOST_LIKED * experts, 1.0)[:, None]
    return np.asarray(((most**exponent - 1.0) * rank + 1.0) ** (1.0 / exponent))


def _latent_context(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    """A whole layer of latent attention with its projections: prompts attend over full heads."""
    wide = keys[-1]
    heads, batch, isl, prefix = arguments
    return _latent_layer(
        rates, keys, heads, batch * isl, batch * (isl + prefix), wide * batch * attended(isl, prefix, 0.0)
    )


def _latent_generation(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    """The same for decoding sequences, which attend over the latent vector: it is keys and values at once."""
    latent = keys[-2]
    heads, batch, cached = arguments
    return _latent_layer(rates, keys, heads, batch, batch * cached, 2.0 * latent * batch * cached)


def _latent_layer(
    rates: Rates, keys: Sequence[Numbers], heads: Floats, tokens: Floats, cached: Floats, met: Floats
) -> Floats:
    """`cached` latent vectors are read, and each head multiplies `met` numbers."""
    weight_bytes, shared, per_head, latent, _ = keys
    weights = shared + heads * per_head
    data = weights * weight_bytes + cached * latent * rates.cached
    # fewer bytes per weight, down to one, are multiplied as much faster
    flops = 2.0 * tokens * weights * np.maximum(weight_bytes, 1.0) / 2.0 + 2.0 * heads * met
    return rates.launch_s + np.maximum(flops / rates.flops, data / rates.bandwidth)


def _message(times: float) -> Formula:
    """Messages in a ring: each link carries `times` (n − 1)/n of the whole."""

    def formula(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
        (devices,) = keys
        (size,) = arguments
        return rates.launch_s + times * (devices - 1.0) / devices * size / rates.link

    return formula


GEMM = Kernel("gemm", (), ("m", "n", "k"), _gemm, plain)
CONTEXT = Kernel(
    "context_attention",
    ("head_dim", "window_size", "kv_heads"),
    ("heads", "batch_size", "isl", "prefix"),
    _context,
    _context_coordinate,
)
GENERATION = Kernel(
    "generation_attention", ("head_dim", "window_size", "kv_heads"), ("heads", "batch_size", "kv"), _generation, plain
)
EXPERTS = Kernel(
    "moe", ("hidden", "inter", "topk", "experts", "moe_tp", "moe_ep", "skew"), ("tokens",), _experts, plain
)
ALL_REDUCE = Kernel("all_reduce", ("devices",), ("bytes",), _message(2.0), plain)
MESSAGES: Mapping[str, Kernel] = {
    ALL_REDUCE.op: ALL_REDUCE,
    **{
        op: Kernel(op, ("devices",), ("bytes",), _message(1.0), plain)
        for op in ("all_gather", "reduce_scatter", "all_to_all")
    },
}
"""Collectives by their operation; the size is that of the whole."""
_LATENT = ("weight_bytes", "shared_weights", "head_weights", "latent", "head_width")
LATENT_CONTEXT = Kernel(
    "mla_context_module", _LATENT, ("heads", "batch_size", "isl", "prefix"), _latent_context, _latent_coordinate
)
LATENT_GENERATION = Kernel("mla_generation_module", _LATENT, ("heads", "batch_size", "kv"), _latent_generation, plain)
