"""From a grid of engine parameters and a workload to the plain arrays that the model computes with.

An engine's parameter names become the model's words through the `role` of each parameter (see `perfdb.facts.engines`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from model.architecture import Architecture
from model.dtypes import Dtype, dtype, peak_flops
from model.prediction import Bools, Floats
from perfdb.errors import InputError, UnknownNameError
from perfdb.facts.engines import EngineFacts
from perfdb.facts.local import usable_cores
from perfdb.facts.platforms import PlatformFacts
from perfdb.records import Arrival, Grid, Workload

_NUMERIC_DEFAULTS: Mapping[str, float] = {
    "tp": 1.0,
    "pp": 1.0,
    "dp": 1.0,
    "max_num_seqs": 256.0,
    "max_num_batched_tokens": 8192.0,
    "prefill_chunk": np.inf,
    "memory_fraction": 0.9,
    "max_model_len": 0.0,
    "threads": 0.0,
    "chunked_prefill": 1.0,
    "continuous_batching": 1.0,
}
_AT_LEAST_ONE = ("tp", "pp", "dp", "max_num_seqs", "max_num_batched_tokens", "prefill_chunk")


@dataclass(frozen=True)
class Load:
    """Which requests arrive and how, for n rows: all arrays `n`.

    `amount` is the concurrency, the static batch or the request rate (1/s), whichever `arrival` (index into
    `tuple(Arrival)`) takes; `requests` how many are sent in all, inf where unknown; `alike` is 1 where all requests
    have the same lengths, 0 where they vary, 0.5 where it is not known.
    """

    isl: Floats
    osl: Floats
    arrival: npt.NDArray[np.int64]
    amount: Floats
    requests: Floats
    alike: Floats

    @property
    def is_batch(self) -> Bools:
        """Rows that are one static batch."""
        return np.equal(self.arrival, ARRIVALS.index(Arrival.BATCH))

    @property
    def is_open(self) -> Bools:
        """Rows whose requests arrive at a rate of their own."""
        return np.isin(self.arrival, [ARRIVALS.index(Arrival.POISSON), ARRIVALS.index(Arrival.CONSTANT)])

    def take(self, rows: npt.NDArray[Any]) -> Load:
        """The given rows."""
        return Load(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


ARRIVALS = tuple(Arrival)


def load_of(workload: Workload, n: int) -> Load:
    """One workload for n configs.

    Raises:
        InputError: the lengths or the load are missing or not positive.
    """
    return loads_of([workload]).take(np.zeros(n, np.int64))


def loads_of(workloads: list[Workload]) -> Load:
    """One workload per row.

    Raises:
        InputError: the lengths or the load of a row are missing or not positive.
    """
    rows = [_one_load(workload) for workload in workloads]
    columns = [np.array(column, np.float64) for column in zip(*rows, strict=True)]
    return Load(columns[0], columns[1], columns[2].astype(np.int64), *columns[3:])


def _one_load(workload: Workload) -> tuple[float, ...]:
    arrival, amount = _amount(workload)
    for name, value in (("isl", workload.isl), ("osl", workload.osl), (f"load ({arrival.value})", amount)):
        if value is None or not value > 0:
            raise InputError.at("workload", f"{name} is {value}", "a number above zero")
    alike = 0.5 if workload.lengths is None else float(workload.lengths.startswith("D"))
    requests = float(workload.requests) if workload.requests else np.inf
    return float(workload.isl or 0), float(workload.osl or 0), ARRIVALS.index(arrival), amount or 0.0, requests, alike


def _amount(workload: Workload) -> tuple[Arrival, float | None]:
    """The arrival process and its one number. Without a process, or with an infinite rate, whichever number is given
    decides: n requests sent at once are a closed loop of n."""
    rate = workload.request_rate
    amounts = {
        Arrival.CLOSED: workload.concurrency,
        Arrival.BATCH: workload.batch_size,
        Arrival.POISSON: rate,
        Arrival.CONSTANT: rate,
    }
    arrival = workload.arrival
    if rate == np.inf and arrival not in {Arrival.CLOSED, Arrival.BATCH}:
        arrival = None
        amounts |= {Arrival.POISSON: workload.requests}
    if arrival is None:
        arrival = next(
            (way for way in (Arrival.CLOSED, Arrival.BATCH, Arrival.POISSON) if amounts[way]), Arrival.CLOSED
        )
    amount = amounts[arrival]
    is_burst = rate == np.inf and arrival is Arrival.POISSON
    return Arrival.CLOSED if is_burst else arrival, None if amount is None else float(amount)


@dataclass(frozen=True)
class Points:
    """n launched configs under n loads, on one model, platform and engine: all arrays float64 `n`.

    `layer_bytes` and `head_bytes` are bytes per weight, `kv_bytes` bytes per element of the KV cache, `gemm_flops` and
    `attention_flops` peak FLOP/s of one device in the formats used, `bandwidth` its bytes/s.
    """

    architecture: Architecture
    platform: PlatformFacts
    engine: EngineFacts
    load: Load
    tp: Floats
    pp: Floats
    dp: Floats
    max_num_seqs: Floats
    max_num_batched_tokens: Floats
    prefill_chunk: Floats
    chunked_prefill: Floats
    continuous_batching: Floats
    memory_fraction: Floats
    max_model_len: Floats
    layer_bytes: Floats
    head_bytes: Floats
    kv_bytes: Floats
    gemm_flops: Floats
    attention_flops: Floats
    bandwidth: Floats

    def __len__(self) -> int:
        return len(self.tp)

    @cached_property
    def devices(self) -> Floats:
        """Devices that each config takes."""
        return self.tp * self.pp * self.dp


def points_of(
    architecture: Architecture,
    platform: PlatformFacts,
    engine: EngineFacts,
    devices: int | None,
    grid: Grid,
    load: Load,
) -> Points:
    """Resolve a grid into `Points`. What a config leaves out, or gives as None, takes the engine's default.

    Where a config says nothing of tp, pp and dp, the model is split over all `devices` of the target (by tensor, or by
    layers on an engine that cannot split tensors).

    Raises:
        InputError: a value is not of its parameter's kind.
        UnknownNameError: a number format is not known.
    """
    roles = _by_role(engine, grid)
    n = len(load.isl)
    numbers = {role: _numbers(roles, role, default, n) for role, default in _NUMERIC_DEFAULTS.items()}
    _spread_over(numbers, devices, engine)
    for role in _AT_LEAST_ONE:
        numbers[role] = np.maximum(numbers[role], 1.0)
    threads = numbers.pop("threads")
    weights, weight_rows = _formats(roles.get("weight_dtype"), architecture.dtype, n)
    caches, cache_rows = _formats(roles.get("kv_dtype"), _half(architecture.dtype), n)
    sizes = np.array([architecture.bytes_per_weight(item.name) for item in weights])[weight_rows]
    share = _thread_share(platform, threads)
    gemm = np.array([peak_flops(platform.flops, item) for item in weights])[weight_rows]
    return Points(
        architecture=architecture,
        platform=platform,
        engine=engine,
        load=load,
        layer_bytes=np.ascontiguousarray(sizes[:, 0]),
        head_bytes=np.ascontiguousarray(sizes[:, 1]),
        kv_bytes=np.array([item.bytes for item in caches])[cache_rows],
        gemm_flops=gemm * share,
        attention_flops=np.full(n, peak_flops(platform.flops, dtype("bf16"))) * share,
        # half of the cores already draw about all of a socket's bandwidth
        bandwidth=platform.bandwidth_bytes_s * np.minimum(1.0, 2.0 * share),
        **numbers,
    )


def _by_role(engine: EngineFacts, grid: Grid) -> dict[str, tuple[npt.NDArray[Any] | None, Any]]:
    """Role -> the grid's column, if it has one, and the engine's default. A parameter that the grid names wins."""
    roles: dict[str, tuple[npt.NDArray[Any] | None, Any]] = {}
    for parameter in engine.parameters.values():
        column = grid.columns.get(parameter.name)
        if parameter.role and (parameter.role not in roles or column is not None):
            roles[parameter.role] = (column, parameter.default)
    return roles


def _numbers(roles: Mapping[str, tuple[npt.NDArray[Any] | None, Any]], role: str, fallback: float, n: int) -> Floats:
    column, default = roles.get(role, (None, None))
    start = fallback if default is None else float(default)
    if column is None:
        return np.full(n, start)
    if column.dtype.kind in "biuf":
        values = column.astype(np.float64)
        return np.where(np.isnan(values), start, values)
    return _mapped(column, lambda value: start if value is None else _number(value, role))


def _number(value: Any, role: str) -> float:
    words = {"true": 1.0, "on": 1.0, "false": 0.0, "off": 0.0}
    try:
        return words[value.lower()] if isinstance(value, str) and value.lower() in words else float(value)
    except (TypeError, ValueError):
        raise InputError.at(f"parameter for {role}", f"{value!r} is not a number", "a number") from None


def _mapped(column: npt.NDArray[Any], function: Callable[[Any], float]) -> Floats:
    """`function` of each value, called once per distinct one."""
    answers = {value: function(value) for value in set(column.tolist())}
    return np.array([answers[value] for value in column.tolist()], np.float64)


def _spread_over(numbers: dict[str, Floats], devices: int | None, engine: EngineFacts) -> None:
    silent = (numbers["tp"] == 1) & (numbers["pp"] == 1) & (numbers["dp"] == 1)
    has_tp = any(parameter.role == "tp" for parameter in engine.parameters.values()) or not engine.parameters
    role = "tp" if has_tp else "pp"
    numbers[role] = np.where(silent, float(max(devices or 1, 1)), numbers[role])


def _half(number_format: str) -> str:
    return "fp32" if number_format == "fp32" else "bf16"


def _formats(
    found: tuple[npt.NDArray[Any] | None, Any] | None, own: str, n: int
) -> tuple[list[Dtype], npt.NDArray[np.int64]]:
    """The distinct formats and each row's index into them. "auto" and None: the checkpoint's own."""
    column, default = found or (None, None)
    names = [default] * n if column is None else column.tolist()
    distinct = {name: index for index, name in enumerate(dict.fromkeys(names))}
    formats = [_format(default if name is None else name, own) for name in distinct]
    return formats, np.array([distinct[name] for name in names], np.int64)


def _format(name: Any, own: str) -> Dtype:
    if name is None or name in {"auto", "none", ""}:
        return dtype(own)
    if not isinstance(name, str):
        raise UnknownNameError.of("number format", str(name), ())
    return dtype(name)


def _thread_share(platform: PlatformFacts, threads: Floats) -> Floats:
    """Share of a CPU's cores at work; 1 on an accelerator. Threads beyond the cores add nothing."""
    if platform.kind != "cpu":
        return np.ones_like(threads)
    cores = usable_cores()
    return np.where(threads > 0, np.minimum(threads, cores) / cores, 1.0)
