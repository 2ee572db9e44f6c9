"""The operation tables of one device and engine: found and packed when first asked for, and asked.

What is not measured is answered by what is nearest: another version of the engine, another engine, another number
format, and last a roofline at rates that devices like this one reach. Each step widens `rel_sd` and is said in `code`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from model.dtypes import dtype as known_format
from model.kept.tables import kept_table
from model.prediction import Floats
from model.tables.answer import INTERPOLATED, LEARNED, MEASURED, ROOFLINE, VERSION_PROXY, Answer
from model.tables.arguments import arrays, if_one
from model.tables.ask import ask
from model.tables.efficiency import ROOFLINE_SD, rates_of
from model.tables.exchange import LOW_LATENCY_TOKENS, exchange_kernel
from model.tables.glitches import GLITCH
from model.tables.kernels import (
    ALL_HEADS,
    ALL_REDUCE,
    CONTEXT,
    EXPERTS,
    GEMM,
    GENERATION,
    MESSAGES,
    Kernel,
    Numbers,
    Rates,
    waves,
)
from model.tables.notes import Asked
from model.tables.pack import Table, pack
from model.tables.rows import columns_of, measured_rows
from model.tables.said import say
from model.tables.shapes import Exchange, Experts, Heads, Indexed, Latent, Sparse
from model.tables.sources import Choice, choose
from model.tables.sparse import latent_kernel
from perfdb.errors import UnknownNameError
from perfdb.facts.platforms import PlatformFacts
from perfdb.operations import OperationSet, OperationTable

Fetch = Callable[..., OperationTable]
"""`Store.operations`."""
Key = tuple[str, str, str | None]
"""An operation, its number format and that of the cache."""
_OF_VERSION: Key = ("", "", None)
"""The key of what is said of the engine's version."""
_NO_WAVES = np.empty(0)
_PREFIX_SD = 0.08
"""Added where cached tokens before a prompt were never measured, and the formula says what they cost."""


@dataclass(frozen=True)
class _Source:
    """What answers for one kernel and format: a table at its own rates, or nothing but the wanted ones."""

    table: Table | None
    own: Rates
    wanted: Rates
    choice: Choice | None


@dataclass(eq=False)
class Tables:
    """The tables of one platform and engine version (None: the newest); `warnings` say what stands in for what, by
    (operation, number format, that of the cache). Whoever is `model.tables.said.listening` hears those of what it asks.

    `packed` may be shared by the tables of several versions: what one has read the others need not. `identity` changes
    whenever the measurements may have changed; with None nothing is kept on disk.
    """

    platform: PlatformFacts
    engine: str
    version: str | None
    sets: Sequence[OperationSet]
    fetch: Fetch
    identity: str | None = None
    warnings: dict[Key, str] = field(default_factory=dict)
    packed: dict[tuple[str | None, ...], Table | None] = field(default_factory=dict)
    is_in_steps: bool = False
    _sources: dict[Key, _Source] = field(default_factory=dict)

    @cached_property
    def in_steps(self) -> Tables:
        """These tables for kernels that follow each other in a step: without those that hold the host's own time."""
        return self if self.is_in_steps else replace(self, is_in_steps=True, warnings={}, _sources={})

    def query_gemm(self, dtype: str, m: Numbers, n: Numbers, k: Numbers, tp: int = 1) -> Answer:
        """A product of an m×k and a k×n matrix whose columns `tp` devices share.

        Args:
            dtype: bf16, fp16, fp8, fp8_block, int8, int4, nvfp4 …
            m, n, k: arrays of one length, or numbers.

        Raises:
            UnknownNameError: a number format is not known.
        """
        return self._ask(GEMM, dtype, None, (), arrays(m, n if tp == 1 else np.divide(n, tp), k))

    def query_attention(
        self, phase: str, kv_dtype: str, heads: Heads, batch: Numbers, tokens: Numbers, prefix: Numbers = 0.0
    ) -> Answer:
        """Attention of `batch` sequences.

        Args:
            phase: "context" (`tokens` new ones after `prefix` cached ones each) or "generation" (one new token each,
                `tokens` in the cache with it).
            kv_dtype: number format of the cache.
            heads: on this device.
            batch, tokens, prefix: arrays of one length, or numbers.
        """
        reach = np.where(np.greater_equal(heads.window, np.add(tokens, prefix)), 0.0, heads.window)
        shares = ALL_HEADS if heads.kv_heads == heads.heads else heads.kv_heads
        keys = (heads.head_dim, if_one(reach), shares)
        if phase == "generation":
            return self._ask(GENERATION, "bf16", kv_dtype, keys, arrays(heads.heads, batch, tokens))
        return self._after_prefix(CONTEXT, kv_dtype, keys, arrays(heads.heads, batch, tokens, prefix))

    def query_latent_attention(
        self,
        phase: str,
        formats: tuple[str, str],
        layer: Latent | Sparse | Indexed,
        heads: float,
        batch: Numbers,
        tokens: Numbers,
        prefix: Numbers = 0.0,
    ) -> Answer:
        """A whole layer of latent attention (MLA), full or sparse, of `batch` sequences, with its projections.

        Args:
            phase: as for `query_attention`.
            formats: of the weights, and of the cache.
            layer: its sizes.
            heads: on this device.
            batch, tokens, prefix: arrays of one length, or numbers, as for `query_attention`.

        Raises:
            UnknownNameError: a number format is not known.
        """
        weights, cached = formats
        keys, kernel = (known_format(weights).bytes, *layer), latent_kernel(phase, layer)
        if phase == "generation":
            return self._ask(kernel, "bf16", cached, keys, arrays(heads, batch, tokens))
        return self._after_prefix(kernel, cached, keys, arrays(heads, batch, tokens, prefix))

    def query_experts(self, dtype: str, layer: Experts, tokens: Numbers) -> Answer:
        """The grouped products of one MoE layer for `tokens` tokens of all its devices together."""
        return self._ask(EXPERTS, dtype, None, layer, arrays(tokens))

    def query_all_reduce(self, size: Numbers, devices: float) -> Answer:
        """The sum of a message of `size` bytes on each of `devices` devices."""
        return self.query_message(ALL_REDUCE.op, size, devices)

    def query_message(self, op: str, size: Numbers, devices: float) -> Answer:
        """A collective over `devices` devices.

        Args:
            op: a name of `MESSAGES`.
            size: bytes of the whole: of all parts where each device has one.

        Raises:
            UnknownNameError: no collective is called so.
        """
        if op not in MESSAGES:
            raise UnknownNameError.of("collective", op, MESSAGES)
        return self._ask(MESSAGES[op], "bf16", None, (devices,), arrays(size))

    def query_exchange(self, op: str, way: str, dtype: str, layer: Exchange, tokens: Numbers) -> Answer:
        """Tokens (of one device each) brought to their experts, "moe_dispatch", or results back, "moe_combine".

        Args:
            op, way: see `model.tables.exchange`; `dtype` is the number format of what is sent.
            layer: its experts are spread over its devices.
        """
        rows = arrays(tokens)[0]
        few = rows <= LOW_LATENCY_TOKENS
        kernels = [exchange_kernel(op, way, is_few) for is_few in (True, False)]
        less, more = (self._ask(kernel, dtype, None, layer, [rows]) for kernel in kernels)
        return Answer(*(np.where(few, one, other) for one, other in zip(astuple(less), astuple(more), strict=True)))

    @property
    def link(self) -> float:
        """Bytes per second that one device sends to its peers."""
        return rates_of(self.platform, ALL_REDUCE.op, "bf16", "bf16").link

    def estimate(self, launch_s: float, seconds: Floats) -> Answer:
        """What no table measures: `seconds` by a formula, `n`, and a launch."""
        n = len(seconds)
        return Answer(launch_s + seconds, np.full(n, ROOFLINE_SD), np.full(n, ROOFLINE, np.int8))

    def _after_prefix(self, kernel: Kernel, kv_dtype: str, keys: Sequence[Numbers], arguments: list[Floats]) -> Answer:
        """Where no cached tokens were measured before a prompt, the whole prompt is asked for: beyond what a prompt of
        one token takes, the chunk takes its share of the formula."""
        heads, batch, isl, prefix = arguments
        source = self._source(kernel, "bf16", kv_dtype)
        if source.table is None or source.table.highs[:, 3].max() > 0 or not prefix.any():
            return self._ask(kernel, "bf16", kv_dtype, keys, arguments, _waves(kernel, batch, isl))
        whole = [heads, batch, isl + prefix, np.zeros_like(prefix)]
        answer = self._ask(kernel, "bf16", kv_dtype, keys, whole, _waves(kernel, batch, whole[2]))
        one = [heads, batch, np.ones_like(isl), np.zeros_like(prefix)]
        least = np.minimum(self._ask(kernel, "bf16", kv_dtype, keys, one).latency_s, answer.latency_s)
        work, all_work = (kernel.formula(source.own, keys, at) - source.own.launch_s for at in (arguments, whole))
        seconds = least + (answer.latency_s - least) * work / all_work
        after = prefix > 0
        sd = np.where(after, np.hypot(answer.rel_sd, _PREFIX_SD), answer.rel_sd)
        code = np.where(after & (answer.code == MEASURED), INTERPOLATED, answer.code).astype(np.int8)
        return Answer(np.where(after, seconds, answer.latency_s), sd, code)

    def _ask(
        self,
        kernel: Kernel,
        dtype: str,
        kv_dtype: str | None,
        keys: Sequence[Numbers],
        arguments: list[Floats],
        in_waves: Floats = _NO_WAVES,
    ) -> Answer:
        source = self._source(kernel, dtype, kv_dtype)
        if source.table is None or source.choice is None:
            seconds = np.asarray(kernel.formula(source.wanted, keys, arguments))
            return Answer(seconds, np.full(len(seconds), source.wanted.sd), np.full(len(seconds), ROOFLINE, np.int8))
        found = ask(source.table, kernel, source.own, keys, arguments, in_waves)
        choice, seconds, code = source.choice, found.latency_s, found.code
        if choice.is_sibling:
            seconds = (
                seconds * kernel.formula(source.wanted, keys, arguments) / kernel.formula(source.own, keys, arguments)
            )
            code = np.full(len(code), LEARNED, np.int8)
        elif choice.is_proxy:
            code = np.where(code <= INTERPOLATED, VERSION_PROXY, code).astype(np.int8)
        return Answer(seconds, np.hypot(found.rel_sd, choice.sd) if choice.sd else found.rel_sd, code)

    def _source(self, kernel: Kernel, dtype: str, kv_dtype: str | None) -> _Source:
        key = (kernel.name, dtype, kv_dtype)
        if key not in self._sources:
            self._sources[key] = self._found(kernel, dtype, kv_dtype)
        say(self.warnings[of] for of in (key, _OF_VERSION) if of in self.warnings)
        return self._sources[key]

    def _found(self, kernel: Kernel, dtype: str, kv_dtype: str | None) -> _Source:
        wanted = rates_of(self.platform, kernel.op, dtype, kv_dtype or "bf16")
        asked, about = Asked(self.platform.name, self.engine, self.version), (kernel.name, dtype, kv_dtype)
        self._note(about, asked.too_small(kernel.op, dtype, self.sets))
        sets = self.sets
        while (
            choice := choose(sets, kernel.op, self.engine, self.version, dtype, kv_dtype, self.is_in_steps)
        ) is not None:
            own = rates_of(self.platform, kernel.op, choice.dtype or dtype, choice.kv_dtype or "bf16")
            packed = self._packed(kernel, own, choice, kv_dtype)
            if packed is not None:
                break
            sets = [found for found in sets if not choice.is_of(found)]
        if choice is None or packed is None:
            return _Source(None, wanted, wanted, None)
        sentence = asked.never_measured(choice, self.sets)
        # the first table that stands in for an unknown version names it, once
        is_said = sentence is not None and self.warnings.setdefault(_OF_VERSION, sentence) == sentence
        self._note(about, asked.notes(kernel.name, dtype, choice, packed, is_said))
        return _Source(packed, own, wanted, choice)

    def _packed(self, kernel: Kernel, own: Rates, choice: Choice, kv_dtype: str | None) -> Table | None:
        key = (self.platform.name, kernel.name, choice.engine, choice.version, choice.dtype, kv_dtype)
        if key not in self.packed:
            pack = partial(self._pack, kernel, own, choice, kv_dtype)
            self.packed[key] = kept_table(self.identity, (key, own), pack)
        return self.packed[key]

    def _note(self, key: Key, sentences: Iterable[str]) -> None:
        """Each sentence once: some may be known from step costs that were kept."""
        known = filter(None, self.warnings.get(key, "").split("; "))
        if said := "; ".join(dict.fromkeys([*known, *sentences])):
            self.warnings[key] = said

    def _pack(self, kernel: Kernel, own: Rates, choice: Choice, kv_dtype: str | None) -> Table | None:
        """None where no row is usable."""
        table = self.fetch(
            platform=self.platform.name,
            engine=choice.engine,
            engine_version=choice.version,
            op=kernel.op,
            dtype=choice.dtype,
            columns=columns_of(kernel),
        )
        if kv_dtype is not None:
            table = table.where(kv_dtype=kv_dtype)
        rows = measured_rows(table, kernel)
        if not len(rows.seconds):
            return None
        return pack(rows.keys, rows.arguments, rows.seconds, partial(kernel.formula, own), kernel.coordinate, GLITCH)


def _waves(kernel: Kernel, batch: Floats, isl: Floats) -> Floats:
    return waves(batch, isl) if kernel is CONTEXT else _NO_WAVES
