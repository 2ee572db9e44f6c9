"""`workload fit`: what a log or a trace says of the load, as a workload file and in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.simulate.fit import added_tokens, arrivals_of, fit
from model.simulate.reuse import opening, reuse_of, with_conversations
from model.simulate.trace import Trace
from model.simulate.trace_files import read_trace
from servecast.loads.workloads import workload_document, workload_text, write_workload
from servecast.output import cell_text, print_table

_LEVELS = (50, 90, 99)


def fit_file(path: Path, out: Path | None) -> dict[str, Any]:
    """Fit a file's requests; returns the document of the command, and writes the workload to `out`.

    Raises:
        FileError: the file is no trace.
    """
    trace = read_trace(path)
    workload = workload_document(fit(trace))
    if out is not None:
        write_workload(workload, out, f"fitted to {path.name}: {len(trace)} requests")
    return {"workload": workload, "requests": len(trace), **described(trace)}


def described(trace: Trace) -> dict[str, Any]:
    """What a trace holds: lengths, arrivals, what prompts have in common, conversations (None without any)."""
    trace = with_conversations(trace)
    added, opens = added_tokens(trace), opening(trace)
    return {
        "input_tokens": _spread(trace.prompt),
        "output_tokens": _spread(trace.output),
        "correlation": _correlation(added, trace.output),
        "arrivals": _arrivals(trace.arrival_s[opens]),
        "prefixes": _prefixes(trace),
        "conversations": None if trace.turns is None else {
            "count": int(opens.sum()),
            "mean_turns": len(trace) / int(opens.sum()),
            "mean_think_s": float(trace.turns.think_s[~opens].mean()),
            "added_tokens": _spread(added),
            "first_turns": {"input_tokens": _spread(added[opens]), "output_tokens": _spread(trace.output[opens])},
            "later_turns": {"input_tokens": _spread(added[~opens]), "output_tokens": _spread(trace.output[~opens])},
        },
    }  # fmt: skip


def _arrivals(moments: npt.NDArray[np.float64]) -> dict[str, Any]:
    rhythm = arrivals_of(moments)
    if rhythm is None:
        return {"kind": "at once", "count": len(moments)}
    steady = (rhythm.rate,)
    return {
        "kind": rhythm.kind,
        "rate": rhythm.rate,
        "gap_cv": rhythm.cv,
        "even_gap_cv": rhythm.even_cv,
        "least_rate": min(rhythm.rates or steady),
        "most_rate": max(rhythm.rates or steady),
        "duration_s": float(np.ptp(moments)),
    }


def _prefixes(trace: Trace) -> dict[str, float] | None:
    reuse = reuse_of(trace)
    if not reuse.tokens.any():
        return None
    return {
        "token_share": float(reuse.tokens.sum() / trace.prompt.sum()),
        "named_token_share": float(reuse.named.sum() / trace.prompt.sum()),
        "request_share": float((reuse.named > 0).mean()),
        "count": len(np.unique(reuse.end[reuse.named > 0])),
    }


def _spread(values: npt.NDArray[np.int64]) -> dict[str, float]:
    levels = np.percentile(values, _LEVELS)
    found = {f"p{level}": float(value) for level, value in zip(_LEVELS, levels, strict=True)}
    return {
        "mean": float(values.mean()),
        "cv": float(values.std() / values.mean()),
        **found,
        "max": float(values.max()),
    }


def _correlation(one: npt.NDArray[np.int64], two: npt.NDArray[np.int64]) -> float:
    """Of the ranks; 0 where one side does not vary."""
    first, second = (np.unique(side, return_inverse=True)[1].astype(np.float64) for side in (one, two))
    return float(np.corrcoef(first, second)[0, 1]) if first.max() > 0 and second.max() > 0 else 0.0


def say_fit(answer: Mapping[str, Any], out: Path | None) -> None:
    """The lengths as a table, a line for each of the rest, and the workload."""
    names = ("input_tokens", "output_tokens")
    rows = [[name, *answer[name].values()] for name in names]
    talk = answer["conversations"] or {}
    for turns in ("first_turns", "later_turns"):
        rows += [
            [f"{turns.replace('_', ' ')}: {name}", *spread.values()] for name, spread in talk.get(turns, {}).items()
        ]
    print_table(["", *answer[names[0]]], rows)
    for name in ("arrivals", "prefixes", "conversations"):
        found = answer[name]
        if found is not None:
            said = (f"{key} {cell_text(value)}" for key, value in found.items() if not isinstance(value, dict))
            print(f"{name}: {', '.join(said)}")
    print(f"Written: {out}" if out is not None else workload_text(answer["workload"]).rstrip())
