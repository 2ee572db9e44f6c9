"""What things cost: dollars per token, device hours, and the whole grid that was not run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.prediction import Floats

TOKENS_PER_MTOK = 1e6


def dollars_per_mtok(output_tps: Floats | float, usd_per_hour: float, devices: int | npt.NDArray[np.int64]) -> Floats:
    """Dollars per million output tokens for throughputs in tok/s and a price per device and hour."""
    per_second = usd_per_hour * np.asarray(devices, dtype=np.float64) / 3600
    cost: Floats = per_second / np.asarray(output_tps, dtype=np.float64) * TOKENS_PER_MTOK
    return cost


def device_hours(wall_s: float, devices: int) -> float:
    """Device hours of one experiment that held `devices` for `wall_s` seconds."""
    return wall_s * devices / 3600
