"""Workload files: what users send, written by `workload fit` or by hand, read by every command. docs/traffic.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from model.simulate.traffic import Conversations, Prefixes, Traffic
from perfdb.errors import FileError, InputError
from perfdb.lengths import Lengths
from servecast.documents import first_problem, read_document
from servecast.loads.mixes import PartSpec, mixed, without_files

_DIGITS = 5
_FINITE, _MOST = 1e12, 1_000_000_000

Positive = Annotated[float, Field(gt=0, lt=_FINITE)]
Share = Annotated[float, Field(gt=0, le=1)]


def _listed(given: object) -> object:
    """One number is a distribution without spread."""
    return given if isinstance(given, list) else [given, given]


def _rising(given: list[float]) -> list[float]:
    if sorted(given) != given:
        raise ValueError("these quantiles fall; expected them from least to most")
    return given


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PrefixSpec(_Strict):
    """See `model.simulate.traffic.Prefixes`."""

    share: Share
    count: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    tokens: Annotated[list[Annotated[float, Field(ge=1, lt=_FINITE)]], BeforeValidator(_listed), Field(min_length=2)]
    skew: Annotated[float, Field(ge=0, le=10)] = 0.0

    def prefixes(self) -> Prefixes:
        """As the simulator takes them."""
        return Prefixes(self.share, self.count, tuple(_rising(self.tokens)), self.skew)


class ConversationSpec(_Strict):
    """See `model.simulate.traffic.Conversations`."""

    turns: Annotated[list[Annotated[float, Field(ge=1, lt=_FINITE)]], BeforeValidator(_listed), Field(min_length=2)]
    think_s: Annotated[
        list[Annotated[float, Field(ge=0, lt=_FINITE)]], BeforeValidator(_listed), Field(min_length=2)
    ] = [0.0, 0.0]
    later_lengths: str | None = None

    def conversations(self) -> Conversations:
        """As the simulator takes them.

        Raises:
            InputError: the lengths cannot be read. ValueError: quantiles fall.
        """
        later = None if self.later_lengths is None else Lengths.parse(self.later_lengths)
        return Conversations(tuple(_rising(self.turns)), tuple(_rising(self.think_s)), later)


class RhythmSpec(_Strict):
    """Rates over equal windows; their proportions count."""

    window_s: Positive
    rates: Annotated[list[Annotated[float, Field(ge=0, lt=_FINITE)]], Field(min_length=2)]


class WorkloadSpec(_Strict):
    """A workload file. Lengths in tokens, rates in requests/s; without a load, the command must say one."""

    lengths: str | None = None
    mix: Annotated[list[PartSpec], Field(min_length=1)] | None = None
    arrival: Literal["poisson", "constant", "closed"] | None = None
    request_rate: Positive | None = None
    concurrency: Annotated[int, Field(gt=0, le=_MOST)] | None = None
    burstiness: Positive = 1.0
    rate_over_time: RhythmSpec | None = None
    prefixes: PrefixSpec | None = None
    conversations: ConversationSpec | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.lengths is None) == (self.mix is None):
            given = "lengths beside a mix" if self.mix is not None else "neither lengths nor a mix"
            raise ValueError(f"{given}; expected one of both")
        if self.request_rate is not None and self.concurrency is not None:
            raise ValueError("both request_rate and concurrency; expected at most one of them")
        wrong = {"closed": self.request_rate, "constant": self.concurrency, "poisson": self.concurrency}
        if self.arrival is not None and wrong[self.arrival] is not None:
            raise ValueError(f"arrival {self.arrival} with the other kind of load; expected request_rate, or closed")
        if self.arrival == "constant" and self.burstiness != 1.0:
            raise ValueError("constant arrivals with a burstiness; expected one of them")
        if self.rate_over_time is not None and not any(self.rate_over_time.rates):
            raise ValueError("rate_over_time: all rates are 0; expected one above it")
        return self

    def traffic(self) -> Traffic:
        """What can be drawn from.

        Raises:
            InputError: the lengths cannot be read. ValueError: quantiles fall.
        """
        rhythm = self.rate_over_time
        return Traffic(
            mixed(self.mix) if self.mix is not None else Lengths.parse(self.lengths or ""),
            self.request_rate,
            self.concurrency,
            np.inf if self.arrival == "constant" else self.burstiness,
            () if rhythm is None else tuple(rhythm.rates),
            0.0 if rhythm is None else rhythm.window_s,
            None if self.prefixes is None else self.prefixes.prefixes(),
            None if self.conversations is None else self.conversations.conversations(),
        )


def read_workload(path: Path) -> Traffic:
    """The workload of a file (YAML or JSON).

    Raises:
        FileError: it cannot be read. InputError: a field is wrong.
    """
    return _read(path, ())


def lengths_in(path: Path) -> Lengths:
    """The lengths of a file that has nothing more, but perhaps a load.

    Raises:
        FileError, InputError: see `read_workload`; or it has prefixes or conversations.
    """
    return _lengths_in(path, ())


def _lengths_in(path: Path, above: tuple[Path, ...]) -> Lengths:
    traffic = _read(path, above)
    if traffic.prefixes is not None or traffic.conversations is not None:
        raise InputError.at(str(path), "prefixes or conversations in a part of a mix", "lengths only")
    return traffic.lengths


def _read(path: Path, above: tuple[Path, ...]) -> Traffic:
    """A file that a mix of those `above` it names."""
    if path.resolve() in above:
        raise InputError.at(str(path), "a mix that holds itself", "parts that are other files")
    given = read_document(path, "a workload")
    if not isinstance(given, dict):
        raise InputError.at(str(path), "not a workload", "a mapping with lengths (or mix), and perhaps request_rate")
    inside = (*above, path.resolve())
    if "mix" in given:
        parts = without_files(given["mix"], f"{path}: mix", lambda name: _lengths_in(path.parent / name, inside))
        given = {**given, "mix": parts}
    try:
        spec = WorkloadSpec.model_validate(given)
    except ValidationError as error:
        raise InputError(first_problem(error, str(path), "workload", WorkloadSpec.model_fields)) from None
    try:
        return spec.traffic()
    except (ValueError, InputError) as error:
        raise InputError(f"{path}: {error}") from None


def workload_under(path: Path, rate: float | None, concurrency: int | None) -> Traffic:
    """The workload of a file under the load that a command says, or its own.

    Raises:
        FileError, InputError: see `read_workload`; or there is no load, or two.
    """
    traffic = read_workload(path)
    if rate is not None and concurrency is not None:
        raise InputError.at("load", "both --rate and --concurrency", "one of them")
    if rate is not None or concurrency is not None:
        return traffic.under(rate, concurrency)
    if traffic.rate is None and traffic.concurrency is None:
        raise InputError.at(str(path), "no load", "request_rate or concurrency there, or --rate or --concurrency")
    return traffic


def workload_document(traffic: Traffic) -> dict[str, Any]:
    """The fields of a workload file, numbers to five digits."""
    found: dict[str, Any] = {"lengths": str(traffic.lengths)}
    if traffic.rate is not None:
        found["request_rate"] = _short(traffic.rate)
        if traffic.burstiness == np.inf:
            found["arrival"] = "constant"
        elif traffic.burstiness != 1.0:
            found["burstiness"] = _short(traffic.burstiness)
    if traffic.concurrency is not None:
        found["concurrency"] = traffic.concurrency
    if traffic.rates:
        found["rate_over_time"] = {"window_s": _short(traffic.window_s), "rates": [_short(r) for r in traffic.rates]}
    if traffic.prefixes is not None:
        prefixes = traffic.prefixes
        found["prefixes"] = {
            "share": _short(prefixes.share), "count": prefixes.count, "skew": _short(prefixes.skew),
            "tokens": _shorts(prefixes.tokens),
        }  # fmt: skip
    if traffic.conversations is not None:
        talk = traffic.conversations
        later = {} if talk.later_lengths is None else {"later_lengths": str(talk.later_lengths)}
        found["conversations"] = {"turns": _shorts(talk.turns), "think_s": _shorts(talk.think_s), **later}
    return found


def workload_text(document: Mapping[str, Any]) -> str:
    """The fields as a file has them."""
    return yaml.safe_dump(dict(document), sort_keys=False, default_flow_style=None, width=110)


def write_workload(document: Mapping[str, Any], path: Path, origin: str) -> None:
    """Write a workload file with a line that says where its numbers come from.

    Raises:
        FileError: the file cannot be written.
    """
    try:
        path.write_text(f"# {origin}\n{workload_text(document)}", encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror}); expected a file in a folder there is") from None


def _shorts(quantiles: Sequence[float]) -> float | list[float]:
    short = [_short(each) for each in quantiles]
    return short[0] if len(set(short)) == 1 else short


def _short(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
