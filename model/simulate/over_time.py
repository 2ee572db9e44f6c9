"""What a simulated server held while it served, at evenly spaced times."""

from __future__ import annotations

import numpy as np

from model.simulate.blocks import Ints
from model.simulate.costs import Floats
from model.simulate.log import Served
from model.simulate.run import Run

MOST_TIMES = 200


def over_time(run: Run, replicas: int = 1, most: int = MOST_TIMES) -> dict[str, list[float] | list[int]]:
    """At `most` times from the first arrival to the last token, all lists as long.

    "time_s" since the first arrival; "kv_share" of a replica's cache in use (of several their mean since the time
    before); "prompting" requests without a first token yet, waiting ones too; "answering" those between first and last.
    """
    served = run.served
    times = np.linspace(float(served.arrived.min()), float(served.last_s.max()), most)
    came, begun, done = (_until(times, moments) for moments in (served.arrived, served.first_s, served.last_s))
    share = _used(served, times, replicas > 1) / run.settings.num_blocks
    return {
        "time_s": (times - times[0]).tolist(),
        "kv_share": np.where(came > done, share, 0.0).tolist(),
        "prompting": (came - begun).tolist(),
        "answering": (begun - done).tolist(),
    }


def _until(times: Floats, moments: Floats) -> Ints:
    """How many moments are no later than each of the times, which are in order."""
    places = np.searchsorted(times, moments)
    return np.asarray(np.cumsum(np.bincount(places, minlength=len(times)))[: len(times)], dtype=np.int64)


def _used(served: Served, times: Floats, is_several: bool) -> Floats:
    """Blocks in use: between what was written at the ends of two stretches; of several replicas, which write into one
    log, the mean of what was written since the time before, by the seconds that a stretch took."""
    if not len(served.end_s):  # a decode pool that nothing came to
        return np.zeros(len(times))
    order = np.argsort(served.end_s, kind="stable")
    ends, used = served.end_s[order], served.used[order]
    between = np.interp(times, ends, used, left=0.0)
    if not is_several:
        return between
    seconds = (served.steps * (served.gap_first + served.gap_last) / 2.0)[order]
    places = np.minimum(np.searchsorted(times, ends), len(times) - 1)
    held, written = (np.bincount(places, weight, len(times)) for weight in (seconds * used, seconds))
    return np.where(written > 0, held / np.maximum(written, 1e-300), between)
