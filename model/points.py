"""Configs under loads as plain arrays: what the model computes with (see `model.knobs` for how they come about)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.checkpoint.architecture import Architecture
from model.dtypes import dtype, peak_flops
from model.load import Load
from model.prediction import Floats
from model.steps.overheads import Overheads, overheads
from perfdb.facts.engines import EngineFacts
from perfdb.facts.platforms import PlatformFacts

if TYPE_CHECKING:
    from model.tables.library import Tables


@dataclass(frozen=True)
class Points:
    """n launched configs under n loads, on one model, platform and engine: all arrays float64 `n`.

    `dp` ranks have a scheduler and requests of their own; of these `attention_dp` share the experts of each layer,
    whole ones spread over `ep` of their `group` devices, which DeepEP's kernels reach where `all_to_all` is 1.
    `eager` is 1 where no CUDA graphs are captured, `async_scheduling` where a step is decided while the one before it
    runs; `draft_tokens` are drafted a step by `draft_layers` layers, each
    accepted with probability `acceptance`; `reused` tokens of a prompt are found in the prefix cache, where running
    requests hold `shared` tokens together (without it as many as one reuses). `conservativeness` is how many times
    what SGLang would reserve of answers it does.
    `weight_row` and `cache_row` are places in `weight_names` and `cache_names`, the number formats of the rows;
    `tables` are measured operations, if there are any; `fitted_overheads` what real runs tell of the engine's.
    `layer_bytes` (the mean of all parts) and `head_bytes` are bytes per weight, `kv_bytes` bytes per element of the KV
    cache, `gemm_flops` and `attention_flops` peak FLOP/s of one device in the formats used, `bandwidth` its bytes/s.
    """

    architecture: Architecture
    platform: PlatformFacts
    engine: EngineFacts
    load: Load
    tp: Floats
    pp: Floats
    dp: Floats
    ep: Floats
    attention_dp: Floats
    group: Floats
    all_to_all: Floats
    max_num_seqs: Floats
    max_num_batched_tokens: Floats
    prefill_chunk: Floats
    chunked_prefill: Floats
    continuous_batching: Floats
    memory_fraction: Floats
    max_model_len: Floats
    block_size: Floats
    kv_blocks: Floats
    eager: Floats
    async_scheduling: Floats
    draft_tokens: Floats
    acceptance: Floats
    draft_layers: Floats
    conservativeness: Floats
    reused: Floats
    layer_bytes: Floats
    head_bytes: Floats
    kv_bytes: Floats
    gemm_flops: Floats
    attention_flops: Floats
    bandwidth: Floats
    weight_names: tuple[str, ...]
    cache_names: tuple[str, ...]
    weight_row: npt.NDArray[np.int64]
    cache_row: npt.NDArray[np.int64]
    tables: Tables | None = None
    fitted_overheads: Overheads | None = None
    shared: Floats | None = None

    def __len__(self) -> int:
        return len(self.tp)

    def take(self, rows: npt.NDArray[np.int64]) -> Points:
        """The given rows."""
        names = (name for name in self.__dataclass_fields__ if isinstance(getattr(self, name), np.ndarray))
        return replace(self, load=self.load.take(rows), **{name: getattr(self, name)[rows] for name in names})

    def bytes_of(self, part: str) -> Floats:
        """Bytes per weight of a part of `model.checkpoint.parts`, `n`."""
        if part not in self._part_bytes:
            sizes = [self.architecture.part_bytes(part, name) for name in self.weight_names]
            self._part_bytes[part] = np.array(sizes)[self.weight_row]
        return self._part_bytes[part]

    def flops_of(self, part: str) -> Floats:
        """Peak FLOP/s of one device for products with a part's weights, `n`; "" for the checkpoint's format."""
        if not part:
            return self.gemm_flops
        if part not in self._part_flops:
            peaks = [
                peak_flops(self.platform.flops, dtype(self.architecture.format_of(part, name)))
                / peak_flops(self.platform.flops, dtype(name))
                for name in self.weight_names
            ]
            self._part_flops[part] = self.gemm_flops * np.asarray(peaks, np.float64)[self.weight_row]
        return self._part_flops[part]

    @cached_property
    def _part_bytes(self) -> dict[str, Floats]:
        return {}

    @cached_property
    def _part_flops(self) -> dict[str, Floats]:
        return {}

    @cached_property
    def overheads(self) -> Overheads:
        """What the engine adds to kernels and requests: fitted to real runs, or its priors."""
        return self.fitted_overheads or overheads(self.engine.name)

    @cached_property
    def computed(self) -> Floats:
        """Tokens of a prompt that are computed: all but those found in the prefix cache."""
        return self.load.isl - self.reused

    @cached_property
    def emitted(self) -> Floats:
        """Tokens that a sequence gains in one step: 1 + a + a² + … + aᵏ of k drafted ones (arXiv 2211.17192, eq. 1)."""
        share, drafted = self.acceptance, self.draft_tokens
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(share < 1.0, (1.0 - share ** (drafted + 1.0)) / (1.0 - share), drafted + 1.0)

    @cached_property
    def answer_steps(self) -> Floats:
        """Steps in which a request's answer is made."""
        return 1.0 + (self.load.osl - 1.0) / self.emitted

    @cached_property
    def answer_deviation(self) -> Floats:
        """Standard deviation of these steps, as far as the lengths are known: of tokens of an answer, and of a step.

        A renewal process of steps that bring e tokens each with variance v takes n/e steps for n tokens, with variance
        n·v/e³ (Cox, Renewal Theory, 1962, 3.3). A step brings j tokens or more with probability a^(j − 1), j ≤ k + 1.
        """
        lengths = np.nan_to_num(self.load.deviation, posinf=np.inf)
        if not self.draft_tokens.any():
            return lengths
        share, drafted, mean = self.acceptance, self.draft_tokens, self.emitted
        with np.errstate(invalid="ignore", divide="ignore"):
            later = share * (1.0 - (drafted + 1.0) * share**drafted + drafted * share ** (drafted + 1.0))
            variance = np.where(share < 1.0, mean + 2.0 * later / (1.0 - share) ** 2 - mean**2, 0.0)
        steps = np.maximum(self.load.osl - 1.0, 0.0) * np.maximum(variance, 0.0) / mean**3
        return np.asarray(np.sqrt((lengths / mean) ** 2 + steps))

    @cached_property
    def generated(self) -> Floats:
        """Tokens that a running request has generated so far: half of its own, and longer answers run for longer."""
        osl, deviation = self.load.osl, np.nan_to_num(self.load.deviation, posinf=0.0)
        return np.asarray((osl + deviation**2 / osl) / 2.0)

    @property
    def prefills_apart(self) -> bool:
        """Whether steps with prompts hold none that decodes, and come first: SGLang's, unless it mixes chunks."""
        return self.engine.name == "sglang"

    @cached_property
    def decided_ahead(self) -> Floats:
        """1 where a step is decided while the one before it runs, else 0; SGLang does it where nothing is drafted. What
        runs in a pipeline meanwhile are steps of others."""
        ahead = np.where(self.draft_tokens > 0, 0.0, 1.0) if self.prefills_apart else self.async_scheduling
        return np.where(self.pp > 1.0, 0.0, ahead)

    @cached_property
    def devices(self) -> Floats:
        """Devices that each config takes."""
        return self.tp * self.pp * self.dp
