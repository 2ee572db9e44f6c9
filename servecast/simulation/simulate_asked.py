"""The flags of `simulate`: which of them go together, and the one config that they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from perfdb.errors import InputError
from perfdb.records import Scalar
from servecast.options import pairs, typed

_WITHOUT_TRACE = ("--rate", "--concurrency", "--requests", "--seed")


def check_flags(given: Mapping[str, object]) -> None:
    """Refuse flags that would count for nothing; `given` are the flags by name, None where one was left out.

    Raises:
        InputError: one has no effect beside another, or what it needs is missing.
    """
    said = [flag for flag, value in given.items() if value is not None and value != []]
    if "--scenarios" in said:
        return _check_scenarios(said)
    if "--out" in said:
        raise InputError.at(
            "--out", "without --scenarios", "--scenarios, whose decisions it takes; answers are printed"
        )
    if "--model" not in said or "--platform" not in said:
        raise InputError.at("simulate", "no --model or no --platform", "both, or --scenarios")
    if len({"--trace", "--scenario", "--workload"} & set(said)) != 1:
        raise InputError.at("simulate", "none or several of --trace, --scenario and --workload", "exactly one")
    for flag in _WITHOUT_TRACE:
        if "--trace" in said and flag in said:
            raise InputError.at(flag, "beside --trace", "the trace's own requests and times, or --workload")


def _check_scenarios(said: Sequence[str]) -> None:
    rest = [flag for flag in said if flag not in {"--scenarios", "--out"}]
    if rest:
        raise InputError.at(rest[0], "beside --scenarios", "--out alone: scenarios say all that decisions take")
    if "--out" not in said:
        raise InputError.at("--scenarios", "no --out", "the file that the decisions go to")


def one_config(sets: Iterable[str] | None) -> dict[str, Scalar]:
    """The config that --set says, one value of each parameter.

    Raises:
        InputError: a value cannot be read, or several stand where one is meant.
    """
    found = pairs(sets, "--set")
    for name, text in found.items():
        if "," in text:
            what = f"{text} are several values, and simulate takes one"
            raise InputError.at(f"--set {name}", what, "one value; whatif compares several")
    return {name: typed(text) for name, text in found.items()}
