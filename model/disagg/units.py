"""Units of a prefill pool and a decode pool: how many workers each has, and what share of the load comes to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.disagg.decoding import Decoding
from model.disagg.flow import Units, steps_at
from model.disagg.pools import Pool, moved_bytes, prompts
from model.disagg.rate_match import matched
from model.prediction import Floats

Ints = npt.NDArray[np.int64]
POOLS = ("prefill", "decode")
STAGES = ("prefill", "transfer", "decode")


@dataclass(frozen=True)
class Sharing:
    """How devices are shared out: `devices` there are in all (None: one unit), what each of several units serves over
    what it serves alone (`efficiency`), the most requests/s that the router passes on, and bytes/s of the link."""

    devices: int | None = None
    efficiency: float = 1.0
    router_limit: float = np.inf
    link: float | None = None


ALONE = Sharing()
"""One unit, as many devices as it takes."""


@dataclass(frozen=True)
class Deployments:
    """n deployments: rows of both pools' grids, and how many workers a unit has in each, 0 where they are matched."""

    prefill: Ints
    decode: Ints
    prefill_workers: Ints
    decode_workers: Ints


@dataclass(frozen=True)
class Shared:
    """n deployments: the `workers` and devices (`device_counts`) of both pools of a unit, `n x 2`, and devices of both.

    `replicas` there are devices for (0 where not even for one), which serve `worth` times as much as one. Of one unit,
    `load` are the requests in flight, or per second where they come at a rate of their own (`is_open`), and `requests`
    those sent in all. Answers take `longer` times as long where the cache of the decode pool is full.
    """

    units: Units
    workers: Ints
    device_counts: Ints
    size: Ints
    replicas: Ints
    worth: Floats
    load: Floats
    requests: Floats
    longer: Floats
    is_open: bool

    @cached_property
    def rates(self) -> Mapping[str, Floats]:
        """Requests/s that each of `STAGES` of a unit serves at most, `n`."""
        units = self.units
        most = units.curves[units.place, -1]
        return {
            "prefill": units.prompt_engines * units.most / units.full,
            "transfer": np.minimum(units.sends, units.takes),
            "decode": units.decode_engines * units.top / (units.steps * self.longer * most),
        }

    @cached_property
    def capacity(self) -> Floats:
        """Requests/s that one unit serves at most, `n`."""
        least: Floats = np.minimum.reduce([*self.rates.values(), self.units.limit])
        return least


def shared_out(
    pools: tuple[Pool, Pool], asked: Deployments, sharing: Sharing, link: float, amounts: Floats | None = None
) -> Shared:
    """Match the workers that are not given, and share devices and load among units.

    Args:
        pools: the prefill pool and the decode pool. asked: n deployments of them. sharing: devices and their router.
        link: bytes/s between two devices of different pools. amounts: requests/s or in flight of each deployment, `n`;
            None where they are the pools' own, of which all rows have the same.
    """
    devices = np.stack([pools[0].devices[asked.prefill], pools[1].devices[asked.decode]], axis=1)
    load = pools[1].points.load
    is_open = bool(load.is_open[0])
    amount = np.full(len(devices), load.amount[0]) if amounts is None else amounts
    decoding = Decoding.of(pools[1])
    one, longer = _units(pools, decoding, asked, link), decoding.longer[asked.decode]
    workers = _workers(asked, one._replace(steps=one.steps * longer), devices, sharing, amount, is_open)
    counts = workers * devices
    size = counts.sum(axis=1)
    replicas = np.ones(len(size), np.int64) if sharing.devices is None else sharing.devices // size
    count = np.maximum(replicas, 1).astype(np.float64)
    at_work = count if is_open else np.minimum(count, amount)
    # beside others a unit does less: for a load from outside that is as if more came
    each = np.where(count > 1, sharing.efficiency, 1.0)
    x, y = workers.astype(np.float64).T
    share = at_work * each if is_open else at_work
    engines = one.decode_engines * y
    held = np.minimum(one.top, np.inf if is_open else amount / share / engines)
    # a decode step that was decided before a request came passes without it
    ahead = pools[1].points.decided_ahead[asked.decode]
    decided_s = ahead * steps_at.taking(1e-5 * len(held))(one, held) * np.minimum(held, 1.0)
    full_s = one.steps * longer * one.curves[one.place, -1]
    most = np.where(longer > 1.0, engines * one.top / full_s, np.inf)
    units = one._replace(
        prompt_engines=one.prompt_engines * x, sends=one.sends * x, decode_engines=engines, takes=one.takes * y,
        think=one.think + decided_s, limit=np.minimum(sharing.router_limit / (at_work * each), most),
    )  # fmt: skip
    requests = load.requests[0] / at_work
    return Shared(units, workers, counts, size, replicas, at_work * each, amount / share, requests, longer, is_open)


def _workers(asked: Deployments, one: Units, devices: Ints, sharing: Sharing, amount: Floats, is_open: bool) -> Ints:
    """Workers of both pools of a unit, `n x 2`: as given, else matched by what `one` of each does when it is full."""
    workers = np.stack([asked.prefill_workers, asked.decode_workers], axis=1)
    silent = np.flatnonzero((workers == 0).any(axis=1))
    if not len(silent):
        return workers
    part = Units(*(column if name == "curves" else column[silent] for name, column in one._asdict().items()))
    unbounded = np.full(len(silent), np.inf)
    most = unbounded if is_open else amount[silent]
    # what units do beside others is not known before their number is
    wanted = amount[silent] / sharing.efficiency if is_open else unbounded
    workers[silent] = matched.taking(5e-3 * len(silent))(
        part, devices[silent], sharing.devices or 0, most, wanted, workers[silent]
    )
    return workers


def _units(pools: tuple[Pool, Pool], decoding: Decoding, asked: Deployments, link: float) -> Units:
    """Units of one worker in each pool."""
    prefill, decode = pools
    times, added, load = prompts(prefill), decode.points.overheads, decode.points.load
    there, here, n = asked.prefill, asked.decode, len(asked.prefill)
    sent, taken = moved_bytes(prefill, decode, there, here)
    steps = (decode.points.answer_steps - 1.0)[here]
    return Units(
        prompt_engines=prefill.engines[there],
        alone=times.alone[there],
        full=times.full[there],
        most=times.most[there],
        once=np.maximum(sent, taken) / link,
        sends=prefill.points.dp[there] * link / sent,
        takes=decode.points.dp[here] * link / taken,
        decode_engines=decode.engines[here],
        curves=decoding.curves,
        place=here,
        top=decoding.top[here],
        steps=steps,
        # a request passes the front ends of both pools
        think=np.full(n, 2.0 * added.request_s + (load.osl[0] - 1.0) * added.token_s),
        varied=np.full(n, 1.0 - float(load.alike[0])),
        limit=np.full(n, np.inf),
    )
