"""From one config to the steps that its ranks of attention take together."""

from __future__ import annotations

import numpy as np

from model.points import Points
from model.simulate.together import LockstepCosts
from model.steps.config import step_model
from model.tables.library import Tables

_LARGEST_GRAPH = 512


def lockstep_costs(points: Points, tables: Tables) -> LockstepCosts:
    """Tables of the one config in `points`. vLLM captures graphs of up to twice the most sequences with their drafted
    tokens, at most 512, and SGLang those of up to 512 sequences.

    What the engine adds to a step counts where layers were measured, too: the host of one rank works while its device
    does, but the devices of all wait for the last host.
    """
    most, seqs = int(points.max_num_batched_tokens[0]), int(points.max_num_seqs[0] * (1.0 + points.draft_tokens[0]))
    steps, added = step_model(points, 0, tables), points.overheads
    whole, together = steps.costs(most, seqs), steps.together(most)
    own = whole._replace(tokens=whole.tokens - together)
    if own.step == 0.0:
        own = own._replace(step=added.step_s, sequences=own.sequences + added.sequence_s * np.arange(seqs + 1))
    largest = min(2 * seqs, _LARGEST_GRAPH, most)
    if points.engine.name == "sglang":
        largest = min(seqs, _LARGEST_GRAPH * (1 + int(points.draft_tokens[0])))
    return LockstepCosts(own, together, 0 if points.eager[0] > 0 else largest)
