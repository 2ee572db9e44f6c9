"""The model from Python: one backend per engine, which predicts static batches and continuous batching, and finds the
best deployment under bounds.

    from servecast.backends import get_backend

    vllm = get_backend("vllm:0.24.0")
    vllm.run_agg("llama-3.1-8b", "h200_sxm", isl=1024, osl=256, concurrency=32, config={"tp": 2}).ttft_s
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypedDict, Unpack

import numpy as np

from model.checkpoint.architecture import resolve_model
from model.load import load_of
from model.memory import memory
from model.question import Question
from model.surrogate import Surrogate
from perfdb.errors import FileError, InputError, UnknownNameError
from perfdb.facts.engine_names import name_and_version
from perfdb.facts.engines import EngineFacts, engine
from perfdb.facts.platforms import platform
from perfdb.paths import is_there
from perfdb.records import Arrival, Grid, Target, Workload
from perfdb.store import Store
from servecast.arguments import checked_config, count, number, shared, text
from servecast.inference_summary import Config, InferenceSummary, summaries
from servecast.predicting.divisions import divisions
from servecast.predicting.whatif import surrogate
from servecast.slo import met, parse_slos
from servecast.tuning.space import devices_of

CONCURRENCIES = tuple(2**power for power in range(11))
"""Requests in flight that are tried."""
_METRICS = ("ttft_s", "tpot_s", "e2e_s", "output_tps", "request_tps", "output_tps_per_gpu", "output_tps_per_user")
_PRICE = "cost_per_mtok"
_ALL_DEFAULTS: Config = MappingProxyType({})


class Choice(TypedDict, total=False):
    """What a search takes by name: how many deployments to return (`top`, 1), the `configs` to choose from, and the
    tokens that all prompts begin with (`prefix_tokens`, 0)."""

    top: int
    configs: Sequence[Config]
    prefix_tokens: float


class BaseBackend(Protocol):
    """What predicts one engine; see `Backend` for the arguments."""

    @property
    def name(self) -> str:
        """The engine's name."""

    def run_static(
        self,
        model: str,
        platform_name: str,
        isl: float,
        osl: float,
        batch_size: int,
        config: Config = ...,
        prefix_tokens: float = ...,
    ) -> InferenceSummary:
        """A batch that is sent at once and served to its end."""

    def run_agg(
        self,
        model: str,
        platform_name: str,
        isl: float,
        osl: float,
        concurrency: int | None = None,
        request_rate: float | None = None,
        config: Config = ...,
        prefix_tokens: float = ...,
    ) -> InferenceSummary:
        """Continuous batching: prompts and answers share their steps."""

    def find_best_result_under_constraints(
        self,
        model: str,
        platform_name: str,
        isl: float,
        osl: float,
        devices: int,
        constraints: str,
        **choice: Unpack[Choice],
    ) -> list[InferenceSummary]:
        """The deployments of the best throughput per device among those that keep the bounds."""


@dataclass(frozen=True)
class Backend:
    """`BaseBackend` over the closed form, with what the database of `store` knows (None: nothing was measured)."""

    facts: EngineFacts
    version: str | None = None
    store: Store | None = None

    @property
    def name(self) -> str:
        """The engine's name."""
        return self.facts.name

    def run_static(
        self,
        model: str,
        platform_name: str,
        isl: float,
        osl: float,
        batch_size: int,
        config: Config = _ALL_DEFAULTS,
        prefix_tokens: float = 0.0,
    ) -> InferenceSummary:
        """A batch of `batch_size` requests that is sent at once and served to its end.

        The first `prefix_tokens` of every prompt are the same; a server with prefix caching computes them once.

        Raises:
            UnknownNameError: the model, platform or a parameter is not known.
            InputError: an argument is of a wrong type, or a length, the batch or a parameter's value cannot be right.
        """
        workload = Workload(*_lengths(isl, osl), Arrival.BATCH, batch_size=count("batch_size", batch_size))
        return self._predicted(model, platform_name, workload, [config], prefix_tokens)[0]

    def run_agg(
        self,
        model: str,
        platform_name: str,
        isl: float,
        osl: float,
        concurrency: int | None = None,
        request_rate: float | None = None,
        config: Config = _ALL_DEFAULTS,
        prefix_tokens: float = 0.0,
    ) -> InferenceSummary:
        """Continuous batching of `concurrency` requests in flight, or of `request_rate` requests per second.

        The first `prefix_tokens` of every prompt are the same; a server with prefix caching computes them once.

        Raises:
            See `run_static`; InputError also where not exactly one load is given.
        """
        isl, osl = _lengths(isl, osl)
        if concurrency is not None and request_rate is not None:
            raise InputError.at("load", "concurrency and request_rate", "one of both")
        if concurrency is not None:
            workload = Workload(isl, osl, Arrival.CLOSED, concurrency=count("concurrency", concurrency))
        elif request_rate is not None:
            workload = Workload(isl, osl, Arrival.POISSON, request_rate=number("request_rate", request_rate))
        else:
            raise InputError.at("load", "neither concurrency nor request_rate", "one of both")
        return self._predicted(model, platform_name, workload, [config], prefix_tokens)[0]

    def find_best_result_under_constraints(
        self,
        model: str,
        platform_name: str,
        isl: float,
        osl: float,
        devices: int,
        constraints: str,
        **choice: Unpack[Choice],
    ) -> list[InferenceSummary]:
        """The deployments of the best throughput per device, best first; none where no bound can be kept.

        Args:
            model, platform_name: names that `servecast models` and `servecast platforms` list, or a model's folder.
            isl, osl: tokens of a prompt and of an answer.
            devices: how many a deployment may take.
            constraints: bounds on predicted means, such as "ttft_s<0.5, tpot_s<0.03".
            choice: see `Choice`. Each of its configs is tried at every one of `CONCURRENCIES`; without any, all
                `servecast.predicting.divisions.divisions`.

        Raises:
            See `run_static`; InputError also where a bound cannot be read. UnknownNameError: `choice` has no such part.
        """
        for name in choice.keys() - Choice.__annotations__.keys():
            raise UnknownNameError.of("argument", name, Choice.__annotations__)
        devices, top, configs = count("devices", devices), count("top", choice.get("top", 1)), choice.get("configs", ())
        slos = parse_slos(text("constraints", constraints))
        if isinstance(configs, str | Mapping) or not isinstance(configs, Sequence):
            raise InputError.at("configs", f"{configs!r}", "a list of configs")
        chosen = configs or divisions(self.facts, resolve_model(text("model", model)), devices)
        workload = Workload(*_lengths(isl, osl), Arrival.CLOSED, concurrency=1)
        bounded = tuple(slo.name for slo in slos)
        prefix_tokens = choice.get("prefix_tokens", 0.0)
        found = self._predicted(model, platform_name, workload, chosen, prefix_tokens, CONCURRENCIES, bounded)
        means = {name: np.array([one.metrics[name].mean for one in found]) for name in bounded}
        good = [one for one, keeps in zip(found, met(slos, means), strict=True) if keeps and one.feasible]
        within = [one for one in good if one.devices <= devices]
        return sorted(within, key=lambda one: -one.output_tps_per_gpu)[:top]

    def _predicted(
        self,
        model: str,
        platform_name: str,
        workload: Workload,
        configs: Sequence[Config],
        prefix_tokens: float,
        concurrencies: Sequence[int] = (),
        bounded: tuple[str, ...] = (),
    ) -> list[InferenceSummary]:
        """Of every config, under `workload` or at each concurrency instead of its own."""
        architecture, hardware = resolve_model(text("model", model)), platform(text("platform_name", platform_name))
        reused = shared("prefix_tokens", prefix_tokens, workload.isl or 0.0)
        named = [self._named(each) for each in configs]
        rows = [config for config in named for _ in concurrencies or (0,)]
        grid = Grid.of([config or {next(iter(self.facts.parameters)): None} for config in rows])
        load = load_of(workload, len(rows))
        if concurrencies:
            load = replace(load, amount=np.tile(np.array(concurrencies, np.float64), len(named)))
        wanted = tuple(dict.fromkeys([*_METRICS, *bounded, *([_PRICE] if hardware.usd_per_hour else [])]))
        needed, fitted = devices_of(grid, self.facts), _model_of(self.store)
        found: list[InferenceSummary] = []
        for size in np.unique(needed):
            part = np.flatnonzero(needed == size)
            target = Target(architecture.name, hardware.name, self.name, int(size), self.version)
            question = Question(target, architecture, hardware, workload, grid.take(part), fitted.shelf, reused)
            answer = fitted.predict(question, wanted, load.take(part))
            account = memory(question.resolve(question.grid, load.take(part)))
            loads = load.amount[part] if concurrencies else None
            found += summaries([rows[row] for row in part.tolist()], workload, int(size), answer, account, loads)
        return found

    def _named(self, given: Config) -> Config:
        """A config by the engine's own names."""
        return {self.facts.parameter(name).name: value for name, value in checked_config("config", given).items()}


def _lengths(isl: float, osl: float) -> tuple[float, float]:
    return number("isl", isl), number("osl", osl)


def _model_of(store: Store | None) -> Surrogate:
    return Surrogate.fit({}) if store is None else surrogate(store)


def get_backend(name: str, db: str | Path | None = None) -> BaseBackend:
    """The backend of an engine, "vllm" or, for the tables of a version, "vllm:0.24.0".

    Args:
        name: an engine of `servecast engines`.
        db: the performance database whose tables and results are used; none, where it is not given.

    Raises:
        UnknownNameError: no engine is called so; the sentence lists those there are. InputError: an argument is of a
            wrong type. FileError: there is no such file.
    """
    if not isinstance(db, str | Path | None):
        raise InputError.at("db", f"{db!r} is no path", "the file of a performance database")
    if db is not None and not is_there(Path(db)):
        raise FileError(f"{db}: no such file; expected a performance database")
    base, version = name_and_version(text("name", name))
    return Backend(engine(base), version, None if db is None else Store(Path(db)))
