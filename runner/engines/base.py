"""The seam to an engine: what one file per engine says so that its server can be launched, asked and understood."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from perfdb.facts.engines import Applied, EngineFacts
from perfdb.records import Config, Scalar
from runner.execute import Job


@dataclass(frozen=True)
class Launch:
    """How one server is started: `argv` with `env` added to ours, listening on 127.0.0.1:`port`."""

    argv: tuple[str, ...]
    port: int
    env: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None

    @property
    def url(self) -> str:
        """Where the server answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def command(self) -> str:
        """The line to paste into a shell."""
        return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in self.env.items()), shlex.join(self.argv)])


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One call to a running server, JSON in the body."""

    path: str
    body: Mapping[str, Any]
    method: str = "POST"


class Engine(Protocol):
    """One engine. Parameters reach it split by how they are applied (`split`)."""

    @property
    def facts(self) -> EngineFacts:
        """Its parameters, their defaults and how each is applied."""
        ...

    @property
    def health_path(self) -> str:
        """Answers 200 to GET once the server is ready."""
        ...

    @property
    def completions_path(self) -> str:
        """Where OpenAI completions are posted."""
        ...

    @property
    def refused_signs(self) -> tuple[str, ...]:
        """Log texts, in lower case, that say a parameter was refused."""
        ...

    def launch(self, job: Job, restart: Mapping[str, Scalar], port: int) -> Launch:
        """How the server of this job is started with these restart parameters.

        Raises:
            InputError: a parameter is unknown or has a value that the engine refuses.
            EngineError: the engine is not installed here.
        """
        ...

    def request_fields(self, request: Mapping[str, Scalar]) -> Mapping[str, Any]:
        """What goes into the body of each completion request, besides prompt, max_tokens and stream."""
        ...

    def live_calls(self, live: Mapping[str, Scalar]) -> Sequence[HttpCall]:
        """Calls that bring a running server to these live parameters.

        Raises:
            InputError: the engine cannot change one of them while it runs.
        """
        ...

    def log_facts(self, log: str) -> Mapping[str, Scalar]:
        """What the server says of itself in its log: sizes in bytes, counts, versions; only what it truly says."""
        ...


@dataclass(frozen=True)
class Split:
    """A config's parameters by how they are applied."""

    restart: Mapping[str, Scalar]
    live: Mapping[str, Scalar]
    request: Mapping[str, Scalar]


def split(config: Config, facts: EngineFacts, applied: Mapping[str, Applied]) -> Split:
    """Sort parameters by `applied` (a task's own declaration), else by the engine's facts, else as restart."""
    sorted_: dict[Applied, dict[str, Scalar]] = {way: {} for way in Applied}
    for name, value in config.items():
        known = facts.parameters[name].applied if name in facts.parameters else Applied.RESTART
        sorted_[applied.get(name, known)][name] = value
    return Split(sorted_[Applied.RESTART], sorted_[Applied.LIVE], sorted_[Applied.REQUEST])
