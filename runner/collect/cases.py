"""Shapes worth timing: grids of arguments, the coarsest first, so that a part of them is a table already."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfdb.errors import InputError, UnknownNameError

GEMM, CONTEXT, GENERATION = "gemm", "context_attention", "generation_attention"
MOST_FLOPS: Mapping[str, float] = {"cpu": 4e10, "cuda": 1e15}
"""By device: a product that takes more is left out, as a repeat of it takes seconds."""

Shape = tuple[int, int]
HeadShape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Case:
    """One operation to be timed; `arguments` are names of `perfdb.operations.ARGUMENTS` with their values."""

    op: str
    dtype: str
    arguments: tuple[tuple[str, int], ...]

    def asked(self) -> dict[str, Any]:
        """What a worker is asked."""
        return {"op": self.op, "dtype": self.dtype, **dict(self.arguments)}

    @property
    def key(self) -> str:
        """The same for equal cases."""
        return json.dumps(self.asked(), sort_keys=True)

    def __str__(self) -> str:
        return " ".join([self.op, self.dtype, *(f"{name}={value}" for name, value in self.arguments)])

    @property
    def flops(self) -> float:
        """Arithmetic of one execution; masked scores count half."""
        a = dict(self.arguments)
        if self.op == GEMM:
            return 2.0 * a["m"] * a["n"] * a["k"]
        keys = a["prefix"] + (a["isl"] + 1) / 2
        return 4.0 * a["batch_size"] * a["heads"] * a["head_dim"] * a["isl"] * keys


@dataclass(frozen=True)
class Grid:
    """Values of every argument, ascending. `products` are (n, k), `heads` (query heads, KV heads, width)."""

    m: Sequence[int]
    products: Sequence[Shape]
    heads: Sequence[HeadShape]
    prompts: Sequence[int]
    isl: Sequence[int]
    prefix: Sequence[int]
    decodes: Sequence[int]
    cached: Sequence[int]


def grid_named(device: str, size: str) -> Grid:
    """The grid of a device and size.

    Raises:
        UnknownNameError: no grid is called so.
    """
    sizes = _GRIDS[device]
    if size not in sizes:
        raise UnknownNameError.of(f"grid for {device}", size, sizes)
    return sizes[size]


def formats_of(wanted: Sequence[str] | None, about: Mapping[str, Any], where: str) -> Sequence[str]:
    """The formats to measure: those wanted, else those that are usual there.

    Raises:
        InputError: a wanted one is none of those that `about`, what a worker says of itself, names for products.
    """
    able: Sequence[str] = about["formats"][GEMM]
    strange = [name for name in wanted or () if name not in able]
    if strange:
        raise InputError.at("--dtypes", f"{', '.join(strange)} cannot be measured with {where}", ", ".join(able))
    return wanted or about["usual"]


def cases(grid: Grid, formats: Sequence[str], able: Mapping[str, Sequence[str]], most_flops: float) -> list[Case]:
    """Every case once, the coarsest part of each grid first, formats and operations side by side."""
    found: dict[Case, tuple[int, int]] = {}
    for dtype in formats:
        for op, axes in _axes(grid):
            if dtype in able.get(op, ()):
                for depth, arguments in _mesh(axes):
                    found.setdefault(Case(op, dtype, arguments), depth)
    return sorted((case for case in found if case.flops <= most_flops), key=lambda case: found[case])


_Axis = tuple[tuple[str, ...], Sequence[tuple[int, ...]], bool]
"""Names that go together, their values, and whether those lie on a line that may be coarse or fine."""


def _axes(grid: Grid) -> Iterator[tuple[str, tuple[_Axis, ...]]]:
    heads: _Axis = (("heads", "kv_heads", "head_dim"), grid.heads, False)
    yield GEMM, (_line("m", grid.m), (("n", "k"), grid.products, False))
    prompt = (_line("batch_size", grid.prompts), _line("isl", grid.isl), _line("prefix", grid.prefix))
    yield CONTEXT, (*prompt, heads)
    # the new token is one of those that are cached
    before = _line("prefix", [tokens - 1 for tokens in grid.cached])
    yield GENERATION, (_line("batch_size", grid.decodes), _line("isl", [1]), before, heads)


def _line(name: str, values: Sequence[int]) -> _Axis:
    return (name,), [(value,) for value in values], True


def _mesh(axes: Sequence[_Axis]) -> Iterator[tuple[tuple[int, int], tuple[tuple[str, int], ...]]]:
    """All combinations, with how often the line of an argument must be halved to meet it: at most, and in all."""
    lines = [
        [(_halvings(place, len(values)) if is_line else 0, tuple(zip(names, value, strict=True)))
         for place, value in enumerate(values)]
        for names, values, is_line in axes
    ]  # fmt: skip
    for chosen in itertools.product(*lines):
        depths = [depth for depth, _ in chosen]
        yield (max(depths), sum(depths)), tuple(pair for _, pairs in chosen for pair in pairs)


def _halvings(place: int, count: int) -> int:
    """0 for both ends of a line of `count` places, 1 for its middle, 2 for the middles of its halves …"""
    low, high, depth = 0, count - 1, 0
    while place not in {low, high}:
        depth += 1
        middle = (low + high) // 2
        low, high = (low, middle) if place <= middle else (middle, high)
    return depth


def _square(*sizes: int) -> list[Shape]:
    return list(itertools.product(sizes, sizes))


_GRIDS: Mapping[str, Mapping[str, Grid]] = {
    "cpu": {
        "tiny": Grid([1, 16], _square(256), [(8, 2, 64)], [1], [32], [0], [1, 4], [128]),
        "small": Grid(
            [1, 4, 16, 64, 256], _square(1024, 4096, 14336), [(32, 8, 128)],
            [1, 4], [16, 64, 256, 1024], [0, 1024], [1, 4, 16], [128, 1024, 4096, 16384],
        ),
        "full": Grid(
            [1, 2, 4, 8, 16, 32, 64, 128, 256, 512], _square(512, 1024, 2048, 4096, 8192, 14336),
            [(32, 8, 128), (16, 4, 128), (8, 2, 128), (32, 32, 128), (16, 8, 64)],
            [1, 2, 4, 8], [16, 64, 256, 512, 1024, 2048], [0, 1024, 4096],
            [1, 2, 4, 8, 16, 32], [128, 512, 1024, 2048, 4096, 8192, 16384],
        ),
    },
    "cuda": {
        "tiny": Grid([1, 256], _square(1024), [(8, 2, 128)], [1], [256], [0], [1, 8], [1024]),
        "small": Grid(
            [1, 16, 64, 256, 1024, 4096], _square(1024, 4096, 8192, 16384), [(32, 8, 128), (8, 1, 128)],
            [1, 4, 16], [128, 512, 2048, 8192], [0, 4096], [1, 8, 32, 128], [128, 1024, 8192, 32768],
        ),
        "full": Grid(
            [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192,
             16384],
            _square(512, 1024, 1536, 2048, 3072, 4096, 5120, 6144, 8192, 10240, 12288, 14336, 16384, 28672),
            [(1, 1, 128), (2, 1, 128), (4, 1, 128), (8, 1, 128), (16, 2, 128), (32, 4, 128), (32, 8, 128),
             (64, 8, 128), (32, 32, 128), (16, 8, 64)],
            [1, 2, 4, 8, 16], [16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384], [0, 1024, 4096, 16384],
            [1, 2, 4, 8, 16, 32, 64, 128, 256], [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536],
        ),
    },
}  # fmt: skip
