"""llama.cpp: its HTTP server from the PyPI package `xllamacpp`, or the `llama-server` binary (same flags)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfdb.errors import EngineError, InputError, UnknownNameError
from perfdb.facts.engines import engine
from perfdb.lengths import longest
from perfdb.records import Scalar
from runner.engines.base import HttpCall, Launch
from runner.execute import Job

_SERVER = Path(__file__).resolve().with_name("llamacpp_server.py")
CACHE_TYPES = engine("llamacpp").parameters["kv_type"].values
"""KV cache dtypes that the server takes."""
BINARY_VARIABLE = "SERVECAST_LLAMA_SERVER"
"""Environment variable with the path of a `llama-server` binary to use instead of `xllamacpp`."""
# Spinning OpenMP barriers make a busy machine 12-40 times slower; sleeping ones cost a quarter when it is idle.
_ENV = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
_CELLS = 256
_COUNTS = {"n_parallel": "-np", "n_batch": "-b", "n_ubatch": "-ub"}
_MIB = 1024 * 1024


class LlamaCpp:
    """The adapter of llama.cpp; `binary` forces a `llama-server` binary."""

    facts = engine("llamacpp")
    health_path = "/health"
    completions_path = "/v1/completions"
    refused_signs = (
        "error: invalid argument",
        "unrecognized arguments",
        "invalid choice",
        "error while handling argument",
    )

    def __init__(self, binary: str | None = None) -> None:
        self.binary = binary

    def launch(self, job: Job, restart: Mapping[str, Scalar], port: int) -> Launch:
        """See `Engine.launch`. `n_ctx` not given: what the longest request of the load needs, times the slots."""
        for name in restart:
            if name not in self.facts.parameters:
                raise UnknownNameError.of("llamacpp parameter", name, self.facts.parameters)
        program, version = self._program()
        counts = {name: self._count_of(restart, name) for name in _COUNTS}
        slots = counts["n_parallel"]
        flags = ["-m", _model_file(job, restart), "--port", str(port), "--offline", "--metrics", "-lv", "4"]
        # Saving idle slots to host memory would charge each run for the one before it.
        flags += ["--cache-ram", "0", "-c", str(_context(job, restart, slots))]
        flags += [part for name, flag in _COUNTS.items() for part in (flag, str(counts[name]))]
        if restart.get("threads") is not None:
            threads = str(_count("threads", restart["threads"]))
            flags += ["-t", threads, "-tb", threads]
        for name, flag in (("cache_type_k", "-ctk"), ("cache_type_v", "-ctv")):
            flags += [flag, _cache_type(name, restart)]
        if not _switch("cont_batching", restart.get("cont_batching", True)):
            flags.append("--no-cont-batching")
        return Launch((*program, *flags), port, dict(_ENV), version)

    def _count_of(self, restart: Mapping[str, Scalar], name: str) -> int:
        given = restart.get(name)
        return _count(name, self.facts.parameters[name].default if given is None else given)

    def _program(self) -> tuple[tuple[str, ...], str | None]:
        asked = self.binary or os.environ.get(BINARY_VARIABLE)
        if asked is None and importlib.util.find_spec("xllamacpp") is not None:
            return (sys.executable, "-P", str(_SERVER)), f"xllamacpp {importlib.metadata.version('xllamacpp')}"
        found = shutil.which(asked or "llama-server")
        if found is None:
            missing = f"{asked!r} is not an executable" if asked else "neither xllamacpp nor llama-server is installed"
            raise EngineError(f"llamacpp: {missing}; install it with `pip install xllamacpp`")
        return (found,), None

    def request_fields(self, request: Mapping[str, Scalar]) -> Mapping[str, Any]:
        """Greedy, to the full length, prompt cache off, unless the config says otherwise."""
        return {"temperature": 0, "ignore_eos": True, "cache_prompt": False, **request}

    def live_calls(self, live: Mapping[str, Scalar]) -> Sequence[HttpCall]:
        """llama.cpp changes nothing that matters here while it runs."""
        if live:
            names = ", ".join(sorted(live))
            raise InputError.at(f"llamacpp parameter {names}", "declared live", "restart or request")
        return ()

    def log_facts(self, log: str) -> Mapping[str, Scalar]:
        """Context, batch, threads and buffer sizes as the server states them at start."""
        facts: dict[str, Scalar] = {}
        for name in ("n_seq_max", "n_ctx", "n_ctx_seq", "n_batch", "n_ubatch"):
            if found := re.search(rf"llama_context: {name}\s+= (\d+)", log):
                facts[name] = int(found[1])
        if found := re.search(r"system_info: n_threads = (\d+)", log):
            facts["threads"] = int(found[1])
        if found := re.search(r"K \((\w+)\):\s+([\d.]+) MiB, V \((\w+)\):\s+([\d.]+) MiB", log):
            facts.update(cache_type_k=found[1], cache_type_v=found[3])
            facts["kv_cache_bytes"] = int((float(found[2]) + float(found[4])) * _MIB)
        for name, text in (("model_bytes", "model buffer"), ("compute_bytes", "compute buffer")):
            sizes = re.findall(rf"{text} size =\s+([\d.]+) MiB", log)
            if sizes:
                facts[name] = int(sum(map(float, sizes)) * _MIB)
        return facts


def _model_file(job: Job, restart: Mapping[str, Scalar]) -> str:
    wanted = restart.get("quantization")
    path = job.model_path if wanted is None else job.model_files.get(str(wanted))
    if path is None:
        raise UnknownNameError.of("quantization", str(wanted), job.model_files)
    if not path and job.model_files:
        path = next(iter(job.model_files.values()))
    if not Path(path).is_file():
        raise InputError.at("llamacpp model", f"{path!r} is not a file", "a GGUF file")
    return str(Path(path).resolve())


def _context(job: Job, restart: Mapping[str, Scalar], slots: int) -> int:
    asked = restart.get("n_ctx")
    if asked is not None:
        return _count("n_ctx", asked)
    # A tenth more prompt than asked: words of an unknown tokenizer are split into tokens only approximately.
    need = max((_need(*longest(workload)) for workload in job.workloads), default=_CELLS)
    return slots * -(-need // _CELLS) * _CELLS


def _need(isl: int, osl: int) -> int:
    """Cells that one request may fill."""
    return isl + isl // 10 + osl + 8


def _count(name: str, value: Scalar) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer() or value < 1:
        raise InputError.at(f"llamacpp parameter {name}", f"{value!r}", "a whole number of at least 1")
    return int(value)


def _switch(name: str, value: Scalar) -> bool:
    if not isinstance(value, bool):
        raise InputError.at(f"llamacpp parameter {name}", f"{value!r}", "true or false")
    return value


def _cache_type(name: str, restart: Mapping[str, Scalar]) -> str:
    both, own = restart.get("kv_type"), restart.get(name)
    if both is not None and own is not None and both != own:
        raise InputError.at("llamacpp parameters", f"kv_type {both!r} and {name} {own!r} disagree", "one of them")
    value = own or both or "f16"
    if value not in CACHE_TYPES:
        raise UnknownNameError.of(f"{name}", str(value), CACHE_TYPES)
    return str(value)
