"""What `vllm bench serve` and `sglang.bench_serving` print, as the JSON document that they would have written.

A log may hold many runs: a line with the arguments (a Namespace, or the command itself), a few lines about the load,
and a block from "==== Serving Benchmark Result ====" to "====".
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from typing import Any

from perfdb.batch import BadRow

TITLE = re.compile(r"^=+ .*Benchmark Result =+$")
_END = re.compile(r"^=+$")
_PAIR = re.compile(r"^\s*([A-Za-z][\w .#&/%()-]{0,80}?)\s*:\s+(\S.*)$")
_NAMESPACE = re.compile(r"\bNamespace\((.*)\)\s*$")
_ARGUMENT = re.compile(r"\b(\w+)=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\[[^\]]*\]|\{[^}]*\}|<[^>]*>|[^,]+)(?:,\s*|$)")
_COMMAND = re.compile(r"\b(?:vllm bench serve|sglang\.bench_serving|benchmark_serving\.py|bench_serving\.py)\s+(.*)$")
_NAMES = {
    "backend": "backend",
    "traffic request rate": "request_rate",
    "request rate configured (rps)": "request_rate",
    "max request concurrency": "max_concurrency",
    "maximum request concurrency": "max_concurrency",
    "burstiness factor": "burstiness",
    "successful requests": "completed",
    "failed requests": "failed",
    "benchmark duration (s)": "duration",
    "total input tokens": "total_input_tokens",
    "total generated tokens": "total_output_tokens",
    "total generated tokens (retokenized)": "total_output_tokens_retokenized",
    "input token throughput (tok/s)": "input_throughput",
    "output token throughput (tok/s)": "output_throughput",
    "concurrency": "concurrency",
    "accept length": "accept_length",
}
_LOAD = frozenset({"request_rate", "max_concurrency", "burstiness"})
_ARGUMENTS = frozenset({
    "backend", "model", "tokenizer", "dataset_name", "num_prompts", "request_rate", "burstiness", "max_concurrency",
    "seed", "ignore_eos", "sharegpt_output_len", "num_warmups", "warmup_requests",
})  # fmt: skip
_UNSAID = frozenset({"none", "not set", "null"})


def runs(text: str) -> Iterator[dict[str, Any] | BadRow]:
    """A document per run, with the names that the tool itself gives them; one that is cut off is a `BadRow`."""
    said: dict[str, Any] = {}
    block: dict[str, Any] | None = None
    for line in _whole_lines(text):
        if TITLE.match(line):
            if block is not None:
                yield _cut_off(block)
            block = {}
        elif block is None:
            said |= _before(line)
        elif _END.match(line):
            yield {**said, **block}
            said, block = {}, None
        else:
            block |= _pair(line)
    if block is not None:
        yield _cut_off(block)


def _whole_lines(text: str) -> Iterator[str]:
    """The lines of a log; those that a backslash continues are one."""
    for line in re.sub(r"\\\r?\n\s*", " ", text).splitlines():
        # what a progress bar drew over is gone
        yield line.rsplit("\r", 1)[-1].strip()


def _cut_off(block: dict[str, Any]) -> BadRow:
    name, value = next(reversed(block.items()), ("", ""))
    return BadRow(0, name, str(value), "the block of results is cut off")


def _before(line: str) -> dict[str, Any]:
    """What a line above a block says of the run to come."""
    found = _NAMESPACE.search(line)
    if found:
        return _chosen({name: _value(text) for name, text in _ARGUMENT.findall(found[1])})
    found = _COMMAND.search(line)
    if found:
        return {**_chosen(_flags(found[1])), "command": line}
    return {name: value for name, value in _pair(line).items() if name in _LOAD}


def _chosen(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that say what was run. Lengths of datasets that were not used are told too: they are left out."""
    random = arguments.get("dataset_name") in {"random", "random-ids"}
    return {
        name: value
        for name, value in arguments.items()
        if (name in _ARGUMENTS or (random and name.startswith("random_"))) and value is not None
    }


def _flags(text: str) -> dict[str, Any]:
    try:
        words = shlex.split(text)
    except ValueError:
        return {}
    found: dict[str, Any] = {}
    for place, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            after = words[place + 1] if place + 1 < len(words) else "--"
            found[name.replace("-", "_")] = value if equals else True if after.startswith("--") else after
    return found


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text.strip()


def _pair(line: str) -> dict[str, Any]:
    """A line "Mean TTFT (ms): 12.3" as {"mean_ttft_ms": "12.3"}; empty where it is no such line."""
    found = _PAIR.match(line.rstrip())
    if not found:
        return {}
    label, value = found[1].lower(), found[2]
    if value.lower() in _UNSAID:
        return {}
    # "1.0 (Poisson process)"
    return {_NAMES.get(label) or _squeezed(label): value.split(" (")[0]}


def _squeezed(label: str) -> str:
    """ "total token throughput (tok/s)" -> "total_token_throughput", "p99 itl (ms)" -> "p99_itl_ms"."""
    plain = re.sub(r"\s*\((?:tok|req)/s\)$", "", label)
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
