"""One turnover of the requests that an engine serves at once, in closed form.

Notation, all per replica and stage of a pipeline: A requests are active, each computes `isl` tokens of its prompt and
then takes S steps of v tokens (one, and the drafted ones). Of a step's budget B they leave R tokens to prompts, so that
K = R/isl prompts fit, or a prompt takes P = ⌈1/K⌉ steps. In one cycle every request is replaced once: M = A·isl/p steps
are mixed, with p tokens of prompts each, and a request takes N = S + P steps. Then

    cycle = M·t_mixed + max(N − M, 0)·t_decode          late = max(M − N, 0)·t_mixed

Requests of equal length start as a burst and stay one behind the other: a prompt that does not fit beside those before
it ends a step later, where the next begins. Each round they come apart by about a step, until a step holds whole
prompts only. Requests of varying length drift apart: as many as end in a step begin in the next, and wait as in a queue
whose clock are the steps: for q steps, q = max(M − N, 0) without chance, and with it the root of q·(q − (M − N)) = h
(M/G/1 whose customers are few: while some wait, fewer come).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.closed_form.convoy import ahead, burst_share, in_step
from model.closed_form.joint import in_step_s, joint_s
from model.closed_form.pipeline import groups, held_up, through_s
from model.load import VARIATION
from model.points import Points
from model.prediction import Floats
from model.steps.ops import StepLoad
from model.steps.step import steps_s


@dataclass(frozen=True)
class Cycle:
    """One turnover of the `active` requests, all `n`, in seconds.

    `first_s` from a request's first step to its first token, `late_s` before that for the prompts of others, `burst_s`
    the same of requests that all come at once. `seconds` of the cycle, `unhindered_s` of one whose prompts never wait.
    A prompt adds `each_s` to a step, of which `fitting` go into one (below one: the share of one that does). Steps that
    only decode do `decode` in `decode_s`, mixed ones `mixed` in `mixed_s`, for `mixed_share` of the time. The share
    `in_step` (see `model.closed_form.convoy`) begins in turns, `first_share` of all in the first.
    """

    active: Floats
    seconds: Floats
    unhindered_s: Floats
    first_s: Floats
    late_s: Floats
    burst_s: Floats
    each_s: Floats
    fitting: Floats
    decode: StepLoad
    mixed: StepLoad
    decode_s: Floats
    mixed_s: Floats
    mixed_share: Floats
    in_step: Floats
    first_share: Floats


class _Packing(NamedTuple):
    """`prompts` begin together, `most` where all come at once, and take `each` mixed steps; one alone takes `own`, on
    average it `spans` so many."""

    prompts: Floats
    most: Floats
    each: Floats
    own: Floats
    spans: Floats


def cycle(
    points: Points,
    wanted: Floats,
    crowd: Floats | float = 1.0,
    again: Floats | float = 0.0,
    apart: Floats | float = 1.0,
) -> Cycle:
    """One cycle with `wanted` active requests; of those that arrive at random `crowd` are prefilled in one step, and
    they are in so many groups (see `model.closed_form.parting`). The share `again` of each prompt is computed once
    more."""
    rest, active = points.answer_steps - 1.0, _active(points, wanted)
    together = groups(points, active, apart)
    group = np.maximum(active / together, 1.0)
    room, burst = prompt_room(points, group), burst_share(points, group * together)
    alike = in_step(points, group, burst)
    pack = _packing(points, group, burst, alike, room, crowd)
    mixed_steps = group / pack.prompts * pack.each * (1.0 + again)
    alone = rest if points.prefills_apart else rest + pack.own
    steps = alone + ahead(points, group, burst, alike, pack.prompts)
    mixed, decode = _loads(points, group, pack)
    often = mixed_steps / np.maximum(alone + mixed_steps if points.prefills_apart else steps, mixed_steps)
    spent = in_step_s(points, (mixed, decode), steps_s(points, (mixed, decode)))
    most = np.maximum(_fitting(points, room), 1.0)
    mixed_s, decode_s = joint_s(points, (mixed, decode), spent, often, pack.prompts, most, alike)
    longer = np.maximum(mixed_s - (0.0 if points.prefills_apart else decode_s), 0.0)
    each = longer * pack.each / pack.prompts
    held = held_up(points, together, alike, mixed_steps, steps, np.maximum(points.computed / room, 1.0))
    round_s = mixed_s + longer * (held - 1.0)
    chance, company = _by_chance(points, group, alike, steps, room, pack.prompts)
    behind, decode_steps = _taking_turns(points, mixed_steps, steps)
    # of those in step one group follows the other
    follows = alike * (together - 1.0) / (2.0 * points.pp) * mixed_s
    seconds = mixed_steps * round_s + (decode_steps + chance) * decode_s
    return Cycle(
        active=active,
        seconds=seconds,
        unhindered_s=group * each * held + alone * decode_s,
        first_s=through_s(points, pack.spans, mixed_s) - alike * _fewer(group, pack.prompts) * each,
        late_s=(behind + chance) * round_s + company * each + follows,
        burst_s=_burst_s(points, active, pack, spent),
        each_s=each,
        fitting=_fitting(points, room),
        decode=decode,
        mixed=mixed,
        decode_s=decode_s,
        mixed_s=mixed_s,
        mixed_share=mixed_steps * round_s / seconds,
        in_step=alike,
        first_share=pack.prompts / group,
    )


def _fitting(points: Points, room: Floats) -> Floats:
    """Prompts that fit into the room of a step; below one: the share of one that does."""
    fitting = room / points.computed
    return np.where(points.chunked_prefill > 0, fitting, np.maximum(np.floor(fitting), 1.0))


def _loads(points: Points, group: Floats, pack: _Packing) -> tuple[StepLoad, StepLoad]:
    """What steps of a group do that hold prompts, and those that do not."""
    rest = points.answer_steps - 1.0
    decoding = np.minimum(group - pack.prompts, rest * pack.prompts / pack.each) * (not points.prefills_apart)
    mixed = mixed_load(points, pack.prompts * points.computed / pack.each, pack.each, decoding)
    return mixed, decode_load(points, group)


def _burst_s(points: Points, active: Floats, pack: _Packing, spent: Sequence[Floats]) -> Floats:
    """Seconds to the first token, `n`, where all come at once: in steps full of prompts, each of which adds to what the
    others take; both kinds of steps take the seconds `spent` where all ranks with requests do the same."""
    beside_s = np.zeros(len(points)) if points.prefills_apart else np.minimum(spent[0], spent[1])
    each_s = (spent[0] - beside_s) * pack.each / pack.prompts
    # where prompts have steps of their own, who is in step comes so each time: as many as end together
    full = pack.prompts if points.prefills_apart else pack.most
    steps = (active / full + 1.0) * pack.each / 2.0
    return through_s(points, steps, beside_s + each_s * full / pack.each)


def _taking_turns(points: Points, mixed_steps: Floats, steps: Floats) -> tuple[Floats, Floats]:
    """Steps that prompts wait because they cannot keep up, and steps of a cycle that only decode; both `n`.

    Where prompts have steps of their own, those come between any two that decode, as many as it takes.
    """
    if points.prefills_apart:
        return np.maximum(mixed_steps / np.maximum(steps, 1.0) - 1.0, 0.0) / 2.0, steps
    return np.maximum(mixed_steps - steps, 0.0), np.maximum(steps - mixed_steps, 0.0)


def _active(points: Points, wanted: Floats) -> Floats:
    """Requests that are served at once, `n`: without continuous batching a wave is what one step can prefill."""
    whole = np.maximum(np.floor(points.max_num_batched_tokens / points.computed), 1.0)
    return np.where(points.continuous_batching > 0, wanted, np.minimum(wanted, whole))


def prompt_room(points: Points, group: Floats) -> Floats:
    """Tokens of the budget that `group` requests which share a step leave to prompts, `n`.

    All but one decode. Where prompts cannot keep up with that, isl of every isl + v·S tokens are a prompt's.
    """
    budget, share = points.max_num_batched_tokens, _budget_share(points)
    decoding = share * (points.answer_steps - 1.0)
    return np.asarray(
        np.maximum(budget - share * (group - 1.0), budget * points.computed / (points.computed + decoding))
    )


def _budget_share(points: Points) -> Floats:
    """Tokens of a step's budget that a sequence takes which decodes, `n`."""
    return np.zeros(len(points)) if points.prefills_apart else _verified(points)


def _packing(
    points: Points, group: Floats, burst: Floats, alike: Floats, room: Floats, crowd: Floats | float
) -> _Packing:
    isl, chunked = points.computed, points.chunked_prefill > 0
    most, share = np.maximum(room / isl, 1.0), _budget_share(points)
    whole = np.maximum(np.floor((room - share) / np.maximum(isl - share, 1.0)), 1.0)
    # steps of a round while prompts are one behind the other, and apart; half of the way there on average
    apart_by = (group / np.minimum(whole, most) - group / most) * np.maximum(burst, 1e-9)
    dense = np.where(apart_by < 1.0, apart_by / 2.0, 1.0 - 0.5 / np.maximum(apart_by, 1.0)) * alike * chunked
    together = np.minimum(whole + dense * np.maximum(most - whole, 0.0), group)
    met = group / points.answer_steps
    begin = np.where(points.load.is_open, np.maximum(met, crowd), met / -np.expm1(-met))
    apart = np.minimum(np.clip(begin, 1.0, most), group)
    prompts = apart + (together - apart) * alike
    exact = np.where(chunked, np.maximum(isl / room, 1.0), 1.0)
    own = np.ceil(exact)
    # a prompt that follows another shares a step with it
    busy = np.minimum((group - 1.0) * exact / prompts / (points.answer_steps - 1.0 + exact), 1.0)
    each = own - (own - exact) * np.maximum(busy, np.where(group > 1.0, alike, 0.0))
    return _Packing(prompts, together, each, own, np.where(room > isl, 1.0 + dense / most, own))


def _fewer(group: Floats, prompts: Floats) -> Floats:
    """How many fewer than `prompts` begin with a prompt on average, as the last of a `group` are what is left; `n`."""
    rest = group % prompts
    return np.asarray(rest * (prompts - rest) / group)


def _by_chance(
    points: Points, group: Floats, alike: Floats, steps: Floats, room: Floats, prompts: Floats
) -> tuple[Floats, Floats]:
    """Of a closed loop of varying lengths: steps that a prompt waits because others came by chance before it, and
    prompts beyond `prompts` that it meets in its step; both `n`."""
    varied = np.where(points.load.is_open, 0.0, 1.0 - alike) * (1.0 - 1.0 / group)
    one, wide = 1.0 / _fitting(points, room), np.maximum(room / points.computed, 1.0)
    behind = np.abs(group * one - steps)
    spread = (1.0 + VARIATION**2) / 2.0 * np.minimum(group * one / np.maximum(steps, 1.0), 1.0) ** (2.0 * wide)
    chance = (np.sqrt(behind**2 + 4.0 * spread * steps * one * varied) - behind) / 2.0
    met = np.minimum(1.0 + group / points.answer_steps * (1.0 - 1.0 / group), wide)
    return chance * (not points.prefills_apart), np.maximum(met - prompts, 0.0) * varied


def mixed_load(points: Points, prefill: Floats, own: Floats, decoding: Floats) -> StepLoad:
    """A step with `prefill` tokens of prompts that take `own` steps each, beside `decoding` sequences; all `n`."""
    isl, reused = points.computed, points.reused
    prompts = prefill / isl
    # averaged over the chunks of a prompt, half of it attends and (1 − 1/P)/2 of it was computed before
    past = np.maximum(prompts * own, 1.0) * (reused + isl * (1.0 - 1.0 / own) / 2.0)
    return StepLoad(
        prefill, reused + isl / 2.0, prompts, past, np.maximum(decoding, 0.0), _mean_kv(points), _verified(points)
    )


def decode_load(points: Points, sequences: Floats) -> StepLoad:
    """A step of `sequences` (`n`) that decode, midway through their answers."""
    zero = np.zeros_like(sequences)
    return StepLoad(zero, zero, zero, zero, sequences, _mean_kv(points), _verified(points))


def _verified(points: Points) -> Floats:
    return 1.0 + points.draft_tokens


def _mean_kv(points: Points) -> Floats:
    return points.load.isl + points.generated
