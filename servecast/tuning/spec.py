"""The task file: what is tuned, on what, under which load, towards which objectives. Checked field by field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from perfdb.errors import InputError
from perfdb.facts.engines import Applied
from perfdb.lengths import Lengths
from perfdb.metrics import METRICS, Direction, Statistic
from perfdb.records import Arrival, Workload, content_key
from search.objective import Objective
from servecast.loads.mixes import PartSpec, mixed
from servecast.tuning.budget import Budget

Value = bool | int | float | str | None
"""A parameter's value; the order keeps true a bool and 1 an integer."""

OBJECTIVE_ALIASES = {
    "throughput": "output_tps",
    "ttft": "ttft_s",
    "tpot": "tpot_s",
    "latency": "e2e_s",
    "latency_p90": "e2e_s_p90",
    "cost": "cost_per_mtok",
}
_DIRECTIONS = {"max": "max", "maximize": "max", "maximise": "max", "min": "min", "minimize": "min", "minimise": "min"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ParameterSpec(_Strict):
    """One parameter of the space: its values, and how a change of it is applied (None: as the engine declares)."""

    values: Annotated[list[Value], Field(min_length=1)]
    applied: Applied | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, given: object) -> object:
        """Accept `name: [1, 2]` and `name: 1` beside `name: {values: [1, 2]}`."""
        if isinstance(given, dict):
            return given
        return {"values": given if isinstance(given, list) else [given]}

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: list[Value]) -> list[Value]:
        if len({(type(v), v) for v in values}) < len(values):
            raise ValueError("values repeat; each may stand once")
        return values


class ObjectiveSpec(_Strict):
    """One objective: a metric (or an alias such as `throughput`), perhaps with `_p90` and the like; a direction."""

    name: str
    direction: Literal["max", "min"]

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: object) -> object:
        """Accept "ttft_s", "ttft_s:min" and {"name": "throughput", "direction": "maximize"}."""
        if isinstance(given, str):
            name, _, direction = given.partition(":")
            given = {"name": name, "direction": direction or None}
        if not isinstance(given, dict) or "name" not in given:
            return given
        name = OBJECTIVE_ALIASES.get(str(given["name"]), str(given["name"]))
        metric, statistic = split_statistic(name)
        if statistic in {Statistic.MEAN, Statistic.VALUE}:
            # Both are what the bare name means; under two names one metric would be two objectives.
            name = metric
        direction = given.get("direction") or METRICS[metric].better
        return {**given, "name": name, "direction": _DIRECTIONS.get(str(direction), direction)}

    @model_validator(mode="after")
    def _towards_better(self) -> Self:
        better = METRICS[split_statistic(self.name)[0]].better
        if better is not Direction.NONE and better.value != self.direction:
            raise ValueError(f"{self.name} has its best value at the other end; write {self.name}:{better}")
        return self

    def objective(self) -> Objective:
        """This objective for the search; its name stays as written, so that documents and files agree."""
        _, statistic = split_statistic(self.name)
        return Objective(self.name, Direction(self.direction), statistic)


def split_statistic(name: str) -> tuple[str, Statistic | None]:
    """ "e2e_s_p90" -> ("e2e_s", p90); "ttft_s" -> ("ttft_s", None).

    Raises:
        ValueError: no such metric.
    """
    if name in METRICS:
        return name, None
    base, _, suffix = name.rpartition("_")
    if base in METRICS and suffix in set(Statistic):
        return base, Statistic(suffix)
    known = ", ".join([*OBJECTIVE_ALIASES, *METRICS])
    raise ValueError(
        f"unknown metric {name!r}; known: {known} (with _p50, _p90, _p95 or _p99 where it is a distribution)"
    )


def plain_statistic(metric: str) -> Statistic:
    """What a metric's bare name stands for: the mean of a latency, the value of anything else."""
    return Statistic.MEAN if metric in {"ttft_s", "tpot_s", "itl_s", "e2e_s"} else Statistic.VALUE


def _listed(given: object) -> object:
    return given if isinstance(given, list) else [given]


class LoadSpec(_Strict):
    """The operating points: lengths or a mix of them, and one load or several. In tokens and requests/s."""

    isl: Annotated[float, Field(gt=0)] | None = None
    osl: Annotated[float, Field(gt=0)] | None = None
    lengths: str | None = None
    mix: Annotated[list[PartSpec], Field(min_length=1)] | None = None
    arrival: Arrival = Arrival.CLOSED
    concurrency: Annotated[list[Annotated[int, Field(gt=0)]], BeforeValidator(_listed)] | None = None
    request_rate: Annotated[list[Annotated[float, Field(gt=0)]], BeforeValidator(_listed)] | None = None
    requests: Annotated[int, Field(gt=0)] = 32
    warmup_requests: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._one_kind_of_lengths()
        if self.arrival is Arrival.BATCH:
            raise ValueError(
                "a server is measured with arrival closed, poisson or constant; batch is for imported results"
            )
        try:
            self.distribution()
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def _one_kind_of_lengths(self) -> None:
        both = {"isl": self.isl, "osl": self.osl}
        given = [name for name, value in both.items() if value is not None]
        shapes = [name for name in ("lengths", "mix") if getattr(self, name) is not None]
        if len(shapes) > 1 or (shapes and given):
            raise ValueError(f"{' and '.join([*given, *shapes])} stand together; expected isl and osl, lengths, or mix")
        if not shapes and len(given) < 2:
            lacks = f"{given[0]} alone" if given else "no lengths"
            raise ValueError(f"{lacks}; give isl and osl, lengths such as D(96,24), or a mix of lengths")

    @model_validator(mode="after")
    def _one_kind_of_load(self) -> Self:
        fields = {"request_rate": self.request_rate, "concurrency": self.concurrency}
        wanted = "request_rate" if self.arrival in {Arrival.POISSON, Arrival.CONSTANT} else "concurrency"
        loads: Sequence[float] = fields.pop(wanted) or ()
        [(other, unwanted)] = fields.items()
        if not loads:
            raise ValueError(f"arrival {self.arrival} needs {wanted}, one value or a list")
        if unwanted:
            raise ValueError(f"{other} has no meaning with arrival {self.arrival}; leave it out")
        if len(set(loads)) < len(loads):
            raise ValueError("a load stands twice; each operating point may stand once")
        return self

    def distribution(self) -> Lengths:
        """The lengths of the requests."""
        return Lengths.parse(self._notation) if self.mix is None else mixed(self.mix)

    @property
    def _notation(self) -> str:
        if self.mix is not None:
            return str(mixed(self.mix))
        return self.lengths or f"D({self.isl:.12g},{self.osl:.12g})"

    def workloads(self) -> tuple[Workload, ...]:
        """One `Workload` per load, in the order given."""
        open_loop = self.arrival in {Arrival.POISSON, Arrival.CONSTANT}
        loads: list[dict[str, Any]] = (
            [{"request_rate": rate} for rate in self.request_rate or []]
            if open_loop
            else [{"concurrency": concurrency} for concurrency in self.concurrency or []]
        )
        lengths = self.distribution()
        return tuple(
            Workload(
                isl=lengths.isl,
                osl=lengths.osl,
                arrival=self.arrival,
                lengths=self._notation,
                requests=self.requests,
                warmup_requests=self.warmup_requests,
                client="servecast",
                **load,
            )
            for load in loads
        )


class TaskSpec(_Strict):
    """A whole task. Paths are relative to the task file's folder."""

    name: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]
    engine: str
    platform: str = "local"
    devices: Annotated[int, Field(gt=0)] | None = None
    model_files: dict[str, str] = {}
    quality_loss: dict[str, Annotated[float, Field(ge=0)]] = {}
    max_quality_loss: Annotated[float, Field(ge=0)] | None = None
    load: LoadSpec
    at: Annotated[int, Field(ge=0)] = 0
    space: Annotated[dict[str, ParameterSpec], Field(min_length=1)]
    constraints: list[str] = []
    objectives: Annotated[list[ObjectiveSpec], Field(min_length=1, max_length=5)] = [
        ObjectiveSpec(name="output_tps", direction="max"),
        ObjectiveSpec(name="ttft_s", direction="min"),
        ObjectiveSpec(name="tpot_s", direction="min"),
    ]
    baseline: dict[str, Value] | Literal[False] = {}
    strategy: str = "active"
    budget: StrictStr | StrictInt = 12
    stop_early: bool = True
    seed: Annotated[int, Field(ge=0)] = 0
    usd_per_hour: Annotated[float, Field(gt=0)] | None = None
    launch_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    run_timeout_s: Annotated[float, Field(gt=0)] = 1800.0
    replay: str | None = None

    @field_validator("objectives")
    @classmethod
    def _distinct_objectives(cls, objectives: list[ObjectiveSpec]) -> list[ObjectiveSpec]:
        if len({o.name for o in objectives}) < len(objectives):
            raise ValueError("an objective stands twice")
        return objectives

    @model_validator(mode="after")
    def _points_exist(self) -> Self:
        if self.at >= len(self.load.workloads()):
            raise ValueError(f"at: {self.at} names no operating point; there are {len(self.load.workloads())}, from 0")
        return self

    @model_validator(mode="after")
    def _can_be_measured(self) -> Self:
        if self.replay is not None:
            return self
        names = {objective.name for objective in self.objectives}
        for name, given, field in (
            ("cost_per_mtok", self.usd_per_hour, "usd_per_hour"),
            ("quality_loss", self.quality_loss, "quality_loss (a number per quantization)"),
        ):
            if name in names and not given:
                raise ValueError(f"objectives: {name} cannot be measured without {field}; set it in the task")
        return self

    def key(self) -> str:
        """Identity of the run: everything but the budget and the clock limits, so that a larger budget goes on."""
        apart = {"budget", "stop_early", "launch_timeout_s", "run_timeout_s"}
        said = self.model_dump(mode="json", exclude=apart)
        if self.load.mix is None:  # what no task said before mixes came must not make other runs of them
            del said["load"]["mix"]
        return content_key(said)

    def budget_cap(self) -> Budget:
        """The task's own budget."""
        return Budget.parse(self.budget)
