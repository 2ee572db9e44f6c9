"""What things cost: dollars per token, device hours, and the whole grid that was not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from model.prediction import Floats

TOKENS_PER_MTOK = 1e6


def dollars_per_mtok(output_tps: Floats | float, usd_per_hour: float, devices: int | npt.NDArray[np.int64]) -> Floats:
    """Dollars per million output tokens for throughputs in tok/s and a price per device and hour."""
    per_second = usd_per_hour * np.asarray(devices, dtype=np.float64) / 3600
    cost: Floats = per_second / np.asarray(output_tps, dtype=np.float64) * TOKENS_PER_MTOK
    return cost


def shares_of(answer: Mapping[str, Any], gpus: int, usd_per_hour: float | None) -> dict[str, float | int | None]:
    """What a simulated run is per device, per user and per dollar.

    Args:
        answer: its document. gpus: devices of all servers. usd_per_hour: what all of them cost, None where one has no
            price.
    """
    tps, tpot = answer["output_tps"], answer["tpot_s"]["mean"]
    return {
        "gpus": gpus,
        "output_tps_per_gpu": tps / gpus,
        "total_tps_per_gpu": answer["total_tps"] / gpus,
        "output_tps_per_user": 1.0 / tpot,
        "cost_per_mtok": None if usd_per_hour is None else float(dollars_per_mtok(tps, usd_per_hour, 1)),
    }


def device_hours(wall_s: float, devices: int) -> float:
    """Device hours of one experiment that held `devices` for `wall_s` seconds."""
    return wall_s * devices / 3600
