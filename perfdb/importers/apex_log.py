"""Logs of APEX+'s trace replay: a line per request, and at the end what the server's /metrics told.

Each log is of one server. A deployment with data parallelism is several servers, each with a log of its own share.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from perfdb.errors import FileError

HEAD = (b"Trace file: ", b"output_len_diff = ")
"""By these a log is recognised."""
_NUMBER = re.compile(
    r"^(?P<who>Trace file|vLLM|sglang)\s*"
    r"(?P<what>TTFT|TPOT|Total Latency|(?:prompt|output) len(?:gth)? sum):(?P<number>.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_TRACE = re.compile(r"^Trace file:\s*(\S+)", re.MULTILINE)
_REPLICA = re.compile(r"_(?P<dp>\d+)DP(?P<tp>\d+)TP(?:_fp8)?_(?P<replica>\d+)$")
_ALONE = re.compile(r"_(?P<tp>\d+)TP(?:_fp8)?$|_(?P<role>tp|ep)_(?P<size>\d+)_")
_CLOSES = 0.02
"""How far the parts of the latency may be off its whole."""


def record(text: str, path: Path, warnings: list[str]) -> dict[str, Any]:
    """The one record of a log.

    Raises:
        FileError: the numbers at its end are missing, or one of them is none.
    """
    lines = {_key(found): found["number"].strip() for found in _NUMBER.finditer(text)}
    requests = sum("output_len_diff = " in line for line in text.splitlines())
    asked = [_number(lines, f"trace {name}", path) for name in ("prompt", "output")]
    prompt, output, ttft, latency = (_number(lines, name, path) for name in ("prompt", "output", "ttft", "latency"))
    engines = [found["who"].lower() for found in _NUMBER.finditer(text) if found["what"].upper() == "TTFT"]
    return {
        "engine": engines[-1],
        "client": "APEX+ trace.py",
        **_server(text, path, warnings),
        "requests": requests,
        "completed": requests,
        "isl": asked[0] / requests,
        "osl": asked[1] / requests,
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "ttft_s:mean": ttft,
        # a sum over all requests
        "e2e_s:mean": latency / requests,
        **_between_tokens(_number(lines, "tpot", path), output, requests, latency - ttft * requests, warnings),
    }


def _key(found: re.Match[str]) -> str:
    """ "Trace file prompt length sum" -> "trace prompt", "vLLM Total Latency" -> "latency"."""
    what = found["what"].lower().removeprefix("total ").split()[0]
    return f"trace {what}" if found["who"].lower().startswith("trace") else what


def _number(lines: dict[str, str], name: str, path: Path) -> float:
    if name not in lines:
        raise FileError(f"{path}: no {name} at the end of the log; expected TTFT, TPOT, latency and token sums")
    try:
        return float(lines[name])
    except ValueError:
        raise FileError(f"{path}: {name} is {lines[name][:60]!r}; expected a number") from None


def _between_tokens(
    tpot: float, tokens: float, requests: int, decoding_s: float, warnings: list[str]
) -> dict[str, float]:
    """The log's TPOT is the sum of all times between tokens over all tokens; as their mean, if that sum is true.

    `decoding_s` is what the latencies leave for it, summed over the requests.
    """
    if tokens > requests and abs(tpot * tokens / decoding_s - 1) <= _CLOSES:
        return {"itl_s:mean": tpot * tokens / (tokens - requests)}
    warnings.append(
        f"TPOT {tpot:g} s over {tokens:g} tokens is {tpot * tokens:.4g} s, but the latencies less the TTFTs sum up to "
        f"{decoding_s:.4g} s: kept in extra"
    )
    return {"extra.tpot": tpot}


def _server(text: str, path: Path, warnings: list[str]) -> dict[str, Any]:
    """What the names of the trace and of the file tell of the deployment."""
    trace = _TRACE.search(text)
    named = {"extra.trace": trace[1]} if trace else {}
    part = next(
        (found for name in (trace[1] if trace else "", path.name) if (found := _REPLICA.search(Path(name).stem))), None
    )
    quantization = {"config.quantization": "fp8"} if re.search(r"_fp8(_\d+)?$", path.stem) else {}
    if part:
        warnings.append(
            f"one of {part['dp']} replicas of a deployment: its numbers are of its own requests on its own devices"
        )
        replica = {"extra.replica": part["replica"], "extra.replicas": part["dp"]}
        return {**named, **quantization, "tp": part["tp"], "devices": part["tp"], **replica}
    alone = _ALONE.search(path.stem)
    if alone is None:
        return {**named, **quantization}
    role, size = alone["role"] or "tp", alone["size"] or alone["tp"]
    warnings.append(f"{role} = {size} is said by the file's name alone")
    return {**named, **quantization, role: size, "devices": size}
