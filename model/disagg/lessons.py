"""What was learned from servers that do both, for pools that do one thing each.

A prefill worker with k prompts in it errs about as a whole server with k requests does in its time to the first token,
a decode engine with k sequences as a whole server with k in its time per output token: their residuals are taken, and
widened, since no runs of pools are learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from model.learning.history import groups_of
from model.learning.lessons import Lessons
from model.learning.residual import PRIOR_SD, familiarity
from model.load import ARRIVALS, load_of
from model.prediction import Floats
from model.question import Question, analyse
from perfdb.records import Arrival

Ints = npt.NDArray[np.int64]

APART_SD: Mapping[str, float] = {"ttft_s": 1.2, "tpot_s": 0.25}
"""sd of log that pools add to what is known of whole servers. On 267 public runs of two pools (mixtures of experts, 19
groups of model, platform, engine and format; `tests/bench/disagg_silicon.py`) nine tenths of |log errors| were below
2.0 and 0.47 after the correction, 2.3 and 0.56 without: engines wait for each other as nothing here models."""
_PER_OCTAVE = 2.0
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class PoolCorrection:
    """Expected log(measured / analytic) of n rows, its sd, both `n`, and whether anything was learned."""

    shift: Floats
    sd: Floats
    learned: bool


def correction(family: str, question: Question, rows: Ints, held: Floats, lessons: Lessons | None) -> PoolCorrection:
    """The correction of one family for workers of a pool.

    Args:
        family: "ttft_s" or "tpot_s". question: of the pool. rows: which config of its grid each worker has, `n`.
        held: requests in the worker, `n`. lessons: of whole servers, None where there are none.
    """
    wider = familiarity(question.platform)
    if lessons is None or not lessons.learned:
        prior = np.full(len(rows), PRIOR_SD[family] * wider)
        return PoolCorrection(np.zeros(len(rows)), np.hypot(prior, APART_SD[family]), learned=False)
    # many deployments have a worker in common, with about as many requests in it
    size = np.round(np.log2(np.maximum(held, 1.0)) * _PER_OCTAVE)
    pairs = np.stack([rows, size], axis=1)
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    alike = load_of(question.workload, len(distinct))
    load = replace(
        alike,
        arrival=np.full(len(distinct), ARRIVALS.index(Arrival.CLOSED)),
        amount=np.maximum(np.round(2.0 ** (distinct[:, 1] / _PER_OCTAVE)), 1.0),
        requests=np.full(len(distinct), np.inf),
    )
    found = analyse(question, question.grid.take(distinct[:, 0].astype(np.int64)), load)
    told = lessons.corrections(*groups_of(found.points), found.features, _NONE)[family]
    sd = told.sd if told.learned else told.sd * wider
    wide = np.hypot(np.broadcast_to(sd, len(distinct)), APART_SD[family])
    place = which.ravel()
    return PoolCorrection(np.broadcast_to(told.shift, len(distinct))[place], wide[place], told.learned)
