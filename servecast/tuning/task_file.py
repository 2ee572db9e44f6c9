"""Reading a task file: YAML or JSON in, a checked `TaskSpec` out, or one sentence on the first thing that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from perfdb.errors import InputError
from servecast.documents import first_problem, read_document
from servecast.tuning.spec import TaskSpec


def parse_task(given: object, where: str) -> TaskSpec:
    """Check a task document.

    Raises:
        InputError: with the path of the first wrong field, what is wrong and what would be right.
    """
    if not isinstance(given, dict):
        raise InputError.at(where, "not a task", "a mapping with name, model, engine, load and space")
    try:
        return TaskSpec.model_validate(given)
    except ValidationError as error:
        raise InputError(first_problem(error, where, "task", TaskSpec.model_fields)) from None


def load_task(path: Path) -> TaskSpec:
    """Read a task file (YAML or JSON, by content).

    Raises:
        FileError: it cannot be read. InputError: a field is wrong.
    """
    given = read_document(path, "a task file")
    load = given.get("load") if isinstance(given, dict) else None
    if isinstance(given, dict) and isinstance(load, dict):
        given = {**given, "load": _without_files(load, path)}
    return parse_task(given, str(path))


def _without_files(load: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """A task's load with what the workload files say that it or its mix names."""
    if "workload" in load:
        return _with_workload(load, path)
    if "mix" not in load:
        return load
    from servecast.loads.mixes import without_files
    from servecast.loads.workloads import lengths_in

    parts = without_files(load["mix"], f"{path}: load.mix", lambda name: lengths_in(path.parent / name))
    return {**load, "mix": parts}


def _with_workload(load: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A task's load with the lengths of its workload file, and the file's arrivals where the task says none."""
    from servecast.loads.workloads import read_workload

    where, name = f"{path}: load.workload", load["workload"]
    if not isinstance(name, str):
        raise InputError.at(where, f"{name!r} is no path", "a workload file, relative to the task's folder")
    twice = [field for field in ("lengths", "mix", "isl", "osl") if field in load]
    if twice:
        raise InputError.at(where, f"{', '.join(twice)} beside it", "one of both")
    traffic = read_workload(path.parent / name)
    own = {field for field in ("concurrency", "request_rate") if field in load}
    if own:
        traffic = traffic.under(rate=1.0) if "request_rate" in own else traffic.under(concurrency=1)
    plain, left_out = traffic.plain()
    if left_out:
        raise InputError.at(where, f"{name} has {', '.join(left_out)}", "lengths and a load: no client here sends more")
    loads = {} if own else {"concurrency": plain.concurrency, "request_rate": plain.request_rate}
    found = {"lengths": plain.lengths, "arrival": str(plain.arrival), **loads}
    said = {field: value for field, value in load.items() if field != "workload"}
    return {**{field: value for field, value in found.items() if value is not None}, **said}
