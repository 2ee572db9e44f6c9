"""The line that a person pastes into a shell to launch a config, also for engines that this product does not launch."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from perfdb.facts.engines import engine
from perfdb.records import Scalar
from runner.engines import engine_adapter
from runner.engines.base import split
from runner.execute import Job

SHOWN_PORT = 8080


def launch_command(job: Job) -> str:
    """The command for a job's restart parameters; live and request parameters are not part of a launch.

    Raises:
        UnknownNameError: the engine is not known. InputError: it refuses a value. EngineError: it is not installed.
    """
    facts = engine(job.target.engine)
    restart = split(job.config, facts, job.applied).restart
    if facts.launches:
        return engine_adapter(facts.name).launch(job, restart, SHOWN_PORT).command
    program, flag = _BY_HAND[facts.name]
    words = [word.format(model=job.model_path or job.target.model) for word in program]
    return shlex.join([*words, *(word for name, value in restart.items() for word in flag(name, value))])


def _vllm_flag(name: str, value: Scalar) -> list[str]:
    """Dashes; a switch is `--x` or `--no-x`; None leaves the engine's default."""
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    return [] if value is None else [f"--{dashed}", str(value)]


def _sglang_flag(name: str, value: Scalar) -> list[str]:
    """Dashes; a switch is there or not."""
    if isinstance(value, bool):
        return [f"--{name.replace('_', '-')}"] if value else []
    return [] if value is None else [f"--{name.replace('_', '-')}", str(value)]


def _trtllm_flag(name: str, value: Scalar) -> list[str]:
    """Underscores, as in the Python API."""
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [] if value is None else [f"--{name}", str(value)]


_BY_HAND: dict[str, tuple[tuple[str, ...], Callable[[str, Scalar], list[str]]]] = {
    "vllm": (("vllm", "serve", "{model}"), _vllm_flag),
    "sglang": (("python", "-m", "sglang.launch_server", "--model-path", "{model}"), _sglang_flag),
    "trtllm": (("trtllm-serve", "{model}"), _trtllm_flag),
}
