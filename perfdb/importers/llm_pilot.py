"""LLM-Pilot's raw results: requests with a list of the times between messages, one file per run of TGI.

The list counts milliseconds from the moment of sending. Its element [0] is the time to the first message, which carries
no token; LLM-Pilot's TTFT is element [1], and what follows are the times between tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from perfdb.importers.request_columns import RequestTable
from perfdb.importers.request_values import number_lists
from perfdb.importers.requests import Requests
from perfdb.importers.table.cells import says_oom
from perfdb.texts import Bools

LIST = "latency_ms_per_token"
"""The column by which such a file is recognised."""
_FILE = re.compile(r"results_(?P<model>.+)_gpu(?P<n_gpus>\d+)_(?P<gpu_type>[^_]+)_u(?P<num_users>\d+)\.csv")
_FIELDS = {"model": "model", "n_gpus": "devices", "gpu_type": "platform", "num_users": "concurrency"}
# its gpu_features.csv says 40 GB and no SXM
_PLATFORMS = {"a100": "A100 PCIe 40GB"}


def timings(table: RequestTable, requests: Requests, rows: Bools) -> tuple[Requests, dict[str, object]]:
    """The requests of one point with the times of their lists, and what else the lists tell, as "extra.NAME".

    Args:
        table: the file, N rows.
        requests: those of the point, n, without the lists.
        rows: mask of the point's rows, N.

    Raises:
        FileError: a cell is no list of numbers.
    """
    text = next(column.text for column in table.columns if column.name == LIST).take(rows)
    lists = [np.array(each, dtype=np.float64) / 1e3 for each in number_lists(table.path, LIST, table.rows[rows], text)]
    done = [each for each, well in zip(lists, requests.is_ok, strict=True) if well and len(each) > 1]
    timed = replace(
        requests,
        ttft=np.array([each[1] if len(each) > 1 else np.nan for each in lists]),
        decode=np.array([each[2:].sum() if len(each) > 1 else np.nan for each in lists]),
        gaps=np.concatenate([each[2:] for each in done]) if done else None,
    )
    waits = [each[0] for each in done]
    return timed, {"extra.median_first_message_s": float(np.median(waits)) if waits else None}


def facts(table: RequestTable, said: Mapping[str, str], path: Path) -> dict[str, object]:
    """What was run: `said` (column -> text of one point), and the file's name where it follows the tool's scheme."""
    found = {field: said.get(name, "") for name, field in _FIELDS.items()}
    match = _FILE.fullmatch(path.name)
    named = {_FIELDS[name]: text.replace("__", "/") for name, text in match.groupdict().items()} if match else {}
    for field, text in named.items():
        if not found[field]:
            table.warnings.append(f"{field} is said by the file's name alone: {text!r} was taken")
            found[field] = text
        elif found[field].lower() != text.lower():
            table.warnings.append(
                f"the file's name says {field} {text!r}, its column {found[field]!r}, which was taken"
            )
    platform = _PLATFORMS.get(found["platform"].lower())
    if platform:
        table.warnings.append(
            f"{found['platform']!r} was read as {platform}, as LLM-Pilot's gpu_features.csv describes it"
        )
        found["platform"] = platform
    rest = {name: text for name, text in said.items() if name not in _FIELDS}
    return {**rest, **found, "engine": "TGI", "client": "LLM-Pilot", "arrival": "closed"}


def status(table: RequestTable, requests: Requests, rows: Bools) -> str:
    """Why a point without any answer failed: "oom" if its errors say so."""
    if requests.is_ok.any():
        return ""
    errors = [column.text for column in table.columns if column.name == "errors"]
    return "oom" if any((text.mask(says_oom) & rows).any() for text in errors) else "failed"
