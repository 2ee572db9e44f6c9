"""What users send, as a few numbers: lengths, arrivals, what prompts have in common, and how conversations go.

Requests drawn from it are a `Trace`; `fit` finds the numbers of a trace.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.closed_form.prefix_cache import SharedPrefixes
from model.load import VARIATION
from model.simulate.blocks import NONE, Ints
from model.simulate.costs import Floats
from model.simulate.fit_lengths import fit_lengths
from model.simulate.reuse import reuse_of
from model.simulate.trace import Trace, Turns, unshared
from perfdb.errors import InputError
from perfdb.lengths import Lengths, is_fixed, lengths_of
from perfdb.records import Arrival, Workload

MOST_SAMPLED = 10_000_000
_SMOOTHED = 4000


@dataclass(frozen=True)
class Prefixes:
    """A share of all requests begins with one of `count` prefixes; prefix i is chosen in proportion to i^-skew.

    `tokens` are quantiles of a prefix's length at equal steps, over requests; a prompt that is shorter has less of it.
    """

    share: float
    count: int
    tokens: tuple[float, ...]
    skew: float = 0.0

    @property
    def shared(self) -> SharedPrefixes:
        """What a prefix cache has to hold of them."""
        return SharedPrefixes.by_rank(self.share, self.count, _quantile_mean(self.tokens), self.skew)


@dataclass(frozen=True)
class Conversations:
    """Quantiles at equal steps: turns of a conversation, and seconds between an answer and the next turn.

    `later_lengths` are those of what a later turn adds and of its answer; None: as the first turn's.
    """

    turns: tuple[float, ...]
    think_s: tuple[float, ...]
    later_lengths: Lengths | None = None

    @property
    def mean_turns(self) -> float:
        """Turns of a conversation."""
        return max(_quantile_mean(self.turns), 1.0)

    def life_s(self, e2e_s: float) -> float:
        """Seconds from the first turn to the last answer, on average, where an answer takes `e2e_s`."""
        return self.mean_turns * e2e_s + (self.mean_turns - 1.0) * _quantile_mean(self.think_s)


@dataclass(frozen=True)
class Traffic:
    """A workload that can be drawn from.

    `lengths` is in the notation of `perfdb.lengths`: of whole prompts, in conversations of what each turn adds to them,
    or the first does where later ones have their own.
    Open arrivals come at `rate` requests/s (of all turns); the gaps are gamma distributed with shape `burstiness` (1 is
    Poisson, less is burstier, inf constant), their rate changes over equal windows of `window_s` in the proportions
    `rates`, again and again. Closed ones keep `concurrency` requests (or conversations) under way.
    """

    lengths: Lengths
    rate: float | None = None
    concurrency: int | None = None
    burstiness: float = 1.0
    rates: tuple[float, ...] = ()
    window_s: float = 0.0
    prefixes: Prefixes | None = None
    conversations: Conversations | None = None

    @classmethod
    def of(cls, workload: Workload) -> Traffic:
        """A plain workload.

        Raises:
            InputError: the workload lacks its lengths or its load.
        """
        lengths = lengths_of(workload)
        arrival = workload.arrival or (Arrival.POISSON if workload.request_rate else Arrival.CLOSED)
        if arrival in {Arrival.POISSON, Arrival.CONSTANT}:
            rate = workload.request_rate
            if rate is None or not 0 < rate < np.inf:
                raise InputError.at("workload", f"request_rate is {rate}", "requests per second above 0")
            return cls(lengths, rate=rate, burstiness=np.inf if arrival is Arrival.CONSTANT else 1.0)
        cap = workload.batch_size if arrival is Arrival.BATCH else workload.concurrency
        if cap is None or cap < 1:
            raise InputError.at("workload", f"its load ({arrival}) is {cap}", "at least 1")
        return cls(lengths, concurrency=cap)

    def under(self, rate: float | None = None, concurrency: int | None = None) -> Traffic:
        """The same requests under another load; a rate keeps its rhythm."""
        return replace(self, rate=rate, concurrency=concurrency)

    def plain(self) -> tuple[Workload, tuple[str, ...]]:
        """What a closed form can know of it: mean lengths, how what is left to compute varies, and the load; and the
        names of what that leaves out."""
        left_out = {
            "shared prefixes": self.prefixes is not None,
            "conversations": self.conversations is not None,
            "burstiness": self.rate is not None and self.burstiness not in {1.0, np.inf},
            "changes of the rate": self.rate is not None and len(self.rates) > 1,
        }
        isl, osl, computed = self.lengths.isl, self.lengths.osl, self.lengths
        if self.conversations or self.prefixes:
            drawn = sampled(self, _SMOOTHED)
            isl, osl = float(drawn.prompt.mean()), float(drawn.output.mean())
            computed = self._computed(drawn)
        constant = self.burstiness == np.inf
        arrival = Arrival.CLOSED if self.rate is None else Arrival.CONSTANT if constant else Arrival.POISSON
        workload = Workload(isl, osl, arrival, self.concurrency, self.rate, lengths=str(computed))
        return workload, tuple(name for name, is_there in left_out.items() if is_there)

    def _computed(self, drawn: Trace) -> Lengths:
        """How the lengths vary of what is left to compute of the prompts that were `drawn`, and of the answers.

        Fixed prompts that earlier ones brought about as much of stay fixed: a closed form knows but one variation.
        """
        left = drawn.prompt - reuse_of(drawn).tokens
        varies = is_fixed(str(self.lengths)) and left.std() > VARIATION / 2.0 * left.mean()
        return fit_lengths(left, drawn.output) if self.conversations or varies else self.lengths


def reused_tokens(traffic: Traffic) -> float:
    """Mean tokens of a prompt that earlier ones brought: shared prefixes, and what a conversation said before."""
    if traffic.prefixes is None and traffic.conversations is None:
        return 0.0
    return float(reuse_of(sampled(traffic, _SMOOTHED)).tokens.mean())


def sampled(load: Workload | Traffic, requests: int, seed: int = 0) -> Trace:
    """`requests` requests: lengths from the distribution, arrivals from the process; the same for the same seed.

    Raises:
        InputError: the workload lacks its lengths or its load, or the number of requests is out of range.
    """
    if not 1 <= requests <= MOST_SAMPLED:
        raise InputError.at("requests", f"{requests}", f"1 to {MOST_SAMPLED:,}")
    traffic = load if isinstance(load, Traffic) else Traffic.of(load)
    generator = np.random.default_rng(seed)
    turns, opener = _turns(traffic, requests, generator)
    prompt, output = _tokens(traffic, opener, seed)
    openers, rank = np.unique(opener, return_inverse=True)
    arrival = _arrivals(traffic, len(openers), generator)[rank]
    trace = unshared(arrival, prompt, output, traffic.concurrency or 0)
    if traffic.prefixes is not None:
        trace = _with_prefixes(trace, traffic.prefixes, opener, generator)
    return trace if turns is None else _spoken(replace(trace, turns=turns), opener)


def _turns(traffic: Traffic, requests: int, generator: np.random.Generator) -> tuple[Turns | None, Ints]:
    """Who follows whom, and the first turn of each request's conversation; turns stand in one run, in order."""
    rows = np.arange(requests)
    talk = traffic.conversations
    if talk is None:
        return None, rows
    counts = np.maximum(np.rint(_drawn(talk.turns, requests, generator)), 1).astype(np.int64)
    starts = np.cumsum(counts) - counts
    starts = starts[starts < requests]
    opener = np.repeat(starts, np.diff(np.append(starts, requests)))
    think_s = _drawn(talk.think_s, requests, generator)
    return Turns(np.where(opener == rows, NONE, rows - 1), np.where(opener == rows, 0.0, think_s)), opener


def _tokens(traffic: Traffic, opener: Ints, seed: int) -> tuple[Ints, Ints]:
    """What each turn adds to its prompt and answers, n each."""
    later = None if traffic.conversations is None else traffic.conversations.later_lengths
    opens = opener == np.arange(len(opener)) if later is not None else np.ones(len(opener), dtype=bool)
    tokens = np.empty((len(opener), 2), dtype=np.int64)
    for rows, lengths, own in ((opens, traffic.lengths, seed), (~opens, later, ~seed)):
        if lengths is not None and rows.any():
            tokens[rows] = lengths.sample(int(rows.sum()), own)
    return tokens[:, 0].copy(), tokens[:, 1].copy()


def _arrivals(traffic: Traffic, count: int, generator: np.random.Generator) -> Floats:
    """When each of so many conversations opens."""
    if traffic.rate is None:
        return np.zeros(count)
    talk, shape = traffic.conversations, traffic.burstiness
    mean = (1.0 if talk is None else talk.mean_turns) / traffic.rate
    if shape == np.inf:
        gaps = np.full(count, mean)
    else:
        gaps = generator.exponential(mean, count) if shape == 1.0 else generator.gamma(shape, mean / shape, count)
    return _in_rhythm(np.cumsum(gaps), traffic)


def _in_rhythm(even: Floats, traffic: Traffic) -> Floats:
    """Times of an even rate to times of the changing one: equally many requests, at other moments."""
    if len(traffic.rates) < 2:
        return even
    reached = np.concatenate([[0.0], np.cumsum(np.array(traffic.rates) / np.mean(traffic.rates))]) * traffic.window_s
    rounds, within = np.divmod(even, reached[-1])
    moments: Floats = rounds * reached[-1] + np.interp(within, reached, np.arange(len(reached)) * traffic.window_s)
    return moments


def _with_prefixes(trace: Trace, prefixes: Prefixes, opener: Ints, generator: np.random.Generator) -> Trace:
    n = len(trace)
    weights = np.arange(1.0, prefixes.count + 1.0) ** -prefixes.skew
    chosen = generator.choice(prefixes.count, n, p=weights / weights.sum())[opener]
    tokens = np.maximum(np.rint(_drawn(prefixes.tokens, prefixes.count, generator)), 1).astype(np.int64)
    begins = np.where(generator.random(n) < prefixes.share, np.minimum(tokens[chosen], trace.prompt - 1), 0)
    return replace(trace, shared=begins[opener], first_chunk=np.arange(n), chunks=chosen.astype(np.int64))


def _spoken(trace: Trace, opener: Ints) -> Trace:
    """Lengths of what each turn adds, to whole prompts: all that was said before, and the addition."""
    said = np.cumsum(trace.prompt + trace.output)
    before = said - trace.output
    earlier = np.where(opener > 0, said[opener - 1], 0)
    return replace(trace, prompt=before - earlier)


def _drawn(quantiles: tuple[float, ...], count: int, generator: np.random.Generator) -> Floats:
    return np.interp(generator.random(count), np.linspace(0.0, 1.0, len(quantiles)), quantiles)


def _quantile_mean(quantiles: tuple[float, ...]) -> float:
    return (sum(quantiles) - (quantiles[0] + quantiles[-1]) / 2) / (len(quantiles) - 1)
