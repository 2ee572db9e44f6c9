"""From the flow of requests through two pools to the metrics of a deployment, with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from model.closed_form.serving import p90_spread
from model.disagg.lessons import PoolCorrection
from model.disagg.units import Shared
from model.learning.conditioning import NOISE_SD
from model.prediction import Estimate, Floats

if TYPE_CHECKING:
    from model.disagg.answer import Asked

Ints = npt.NDArray[np.int64]
_NEAR_SD, _NEAR = 1.5, 0.15
"""An error in the capacity turns seconds into minutes near it: sd of log there, and how near that is."""


class Analytic(NamedTuple):
    """What was computed of n deployments: seconds of a request before its first token in the prefill pool and its front
    ends (`prompt_s`), for the link (`move_s`) and for a place in the decode pool (`wait_s`), per further token
    (`tpot_s`), and requests/s of one unit (`rate`)."""

    prompt_s: Floats
    move_s: Floats
    wait_s: Floats
    tpot_s: Floats
    rate: Floats


def estimates(
    asked: Asked,
    shared: Shared,
    analytic: Analytic,
    told: tuple[PoolCorrection, PoolCorrection],
    gpus: Ints,
) -> dict[str, Estimate]:
    """The metrics of n deployments on `gpus` devices each.

    Latency is the sum of its parts, which are wrong together; in a closed loop throughput follows by Little's law.

    Args:
        asked, shared: the deployments. analytic: what was computed. told: corrections of the time to the first token
            and of that per further one.
    """
    workload = asked.decode.workload
    isl, osl = float(workload.isl or 0.0), float(workload.osl or 0.0)
    ttft, own_sd = _first_token(analytic, told)
    tpot = np.log(analytic.tpot_s) + told[1].shift
    sd_first = np.hypot(own_sd, _near_capacity(shared)) if shared.is_open else own_sd
    decoding = tpot + np.log(osl - 1.0)
    e2e = np.logaddexp(ttft, decoding)
    sd = np.exp(ttft - e2e) * sd_first + np.exp(decoding - e2e) * told[1].sd
    before = np.log(analytic.prompt_s + analytic.move_s + analytic.wait_s + (osl - 1.0) * analytic.tpot_s)
    follows = np.full(len(gpus), shared.is_open) & (shared.load < shared.capacity)
    slower = 0.0 if shared.is_open else before - e2e
    rate = np.minimum(np.log(analytic.rate * shared.worth) + slower, np.log(asked.sharing.router_limit))
    sd_rate = np.where(follows, NOISE_SD, sd)
    found = {
        "ttft_s": Estimate(ttft, sd_first),
        "tpot_s": Estimate(tpot, told[1].sd),
        "itl_s": Estimate(tpot, told[1].sd),
        "output_tps_per_user": Estimate(-tpot, told[1].sd),
        "e2e_s": Estimate(e2e, sd),
    }
    # of what is left the busiest stage says how far apart requests are
    busy = analytic.rate / np.minimum.reduce([*shared.rates.values()])
    found["e2e_s_p90"] = found["e2e_s"].times(np.log(p90_spread(np.full(len(gpus), shared.is_open), busy)))
    factors: dict[str, Floats | float] = {"request_tps": 1.0, "output_tps": osl, "total_tps": isl + osl}
    factors["output_tps_per_gpu"] = osl / gpus
    found |= {name: Estimate(rate + np.log(factor), sd_rate) for name, factor in factors.items()}
    dollars = _dollars_per_second(asked, shared)
    if dollars is not None:
        found["cost_per_mtok"] = Estimate(np.log(dollars / osl * 1e6) - rate, sd_rate)
    return found


def _first_token(analytic: Analytic, told: tuple[PoolCorrection, PoolCorrection]) -> tuple[Floats, Floats]:
    """log seconds to the first token and their sd, both `n`. Servers told of steps, not of links: what is moved stands
    as computed, about as surely as what is prefilled; waits for a place are as wrong as the times of who holds it."""
    with np.errstate(divide="ignore"):
        parts = np.log(np.stack([analytic.prompt_s, analytic.move_s, analytic.wait_s]))
    parts += np.stack([told[0].shift, np.zeros_like(told[0].shift), told[1].shift])
    total: Floats = np.logaddexp.reduce(parts, axis=0)
    held = np.exp(parts[2] - total)
    return total, (1.0 - held) * told[0].sd + held * told[1].sd


def _near_capacity(shared: Shared) -> Floats:
    near: Floats = _NEAR_SD * np.exp(-(((shared.load / shared.capacity - 1.0) / _NEAR) ** 2))
    return near


def _dollars_per_second(asked: Asked, shared: Shared) -> Floats | None:
    """What all devices of both pools cost, `n`; None where one has no price."""
    prices = asked.prefill.platform.usd_per_hour, asked.decode.platform.usd_per_hour
    if not prices[0] or not prices[1]:
        return None
    dollars: Floats = (shared.device_counts * np.array(prices)).sum(axis=1) * np.maximum(shared.replicas, 1) / 3600.0
    return dollars
