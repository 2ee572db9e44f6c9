"""What one config would do, as one object: estimates, memory, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from model.memory import Memory
from model.prediction import Floats, GridPrediction
from perfdb.records import Interval, Scalar, Workload

Config = Mapping[str, Scalar]
"""Parameters by the engine's names, or by the model's words for them ("tp")."""


@dataclass(frozen=True)
class InferenceSummary:
    """What one config would do under one load: estimates with 90 % intervals, and whether and how it fits.

    `metrics` are in the units of `perfdb.metrics`; `memory_bytes` of one device: available, weights, overhead, kv;
    `provenance` says what the estimates stand on, `reason` why the config does not fit.
    """

    config: Config
    workload: Workload
    devices: int
    metrics: Mapping[str, Interval]
    memory_bytes: Mapping[str, float]
    feasible: bool
    reason: str | None
    provenance: str

    @property
    def ttft_s(self) -> float:
        """Seconds to the first token, mean."""
        return self.metrics["ttft_s"].mean

    @property
    def tpot_s(self) -> float:
        """Seconds per output token after the first, mean."""
        return self.metrics["tpot_s"].mean

    @property
    def e2e_s(self) -> float:
        """Seconds of a whole request, mean."""
        return self.metrics["e2e_s"].mean

    @property
    def output_tps(self) -> float:
        """Output tokens per second of the deployment."""
        return self.metrics["output_tps"].mean

    @property
    def output_tps_per_gpu(self) -> float:
        """Output tokens per second and device."""
        return self.metrics["output_tps_per_gpu"].mean


def summaries(
    configs: Sequence[Config],
    workload: Workload,
    devices: int,
    answer: GridPrediction,
    account: Memory,
    concurrencies: Floats | None,
) -> Iterator[InferenceSummary]:
    """One for each of n configs, under `workload` or at `concurrencies` (`n`) instead of its own."""
    for row, config in enumerate(configs):
        load = workload if concurrencies is None else replace(workload, concurrency=int(concurrencies[row]))
        held = {"available": account.available, "weights": account.weights, "overhead": account.overhead}
        held["kv"] = account.available - account.weights - account.overhead
        yield InferenceSummary(
            config,
            load,
            devices,
            {name: estimate.interval(row) for name, estimate in answer.metrics.items()},
            {name: float(values[row]) for name, values in held.items()},
            bool(answer.feasible[row]),
            answer.reasons.get(row),
            str(answer.provenance[row]),
        )
