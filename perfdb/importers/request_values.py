"""The cells of a request table as numbers: moments on one clock, durations and tokens, every unit decided aloud."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfdb.errors import FileError
from perfdb.importers.request_columns import Column, RequestTable, Role
from perfdb.importers.requests import Requests
from perfdb.importers.table.cells import Floats, is_blank, to_numbers
from perfdb.importers.table.dialect import squeeze
from perfdb.importers.table.outcomes import read_status
from perfdb.importers.table.redact import redact
from perfdb.importers.table.scales import SCALES
from perfdb.records import Outcome
from perfdb.texts import Bools, TextColumn

_TIMES = ("s", "ms", "us", "ns")
_SUCCESS = frozenset({"success", "ok"})
_NUMBERS = re.compile(r"|\[[\d\s.,eE+-]*\]")


def requests_of(table: RequestTable) -> Requests:
    """The requests of a table, in its order; gaps between tokens are left to `gaps_of`.

    Raises:
        FileError: a cell of a request that ended well is no number.
    """
    with np.errstate(all="ignore"):
        return _requests_of(table)


def _requests_of(table: RequestTable) -> Requests:
    is_ok = _ok(table)
    sent, first, end = (_clock(table, role, is_ok) for role in (Role.SENT, Role.FIRST, Role.END))
    # "first token time" may be a moment, or how long it took
    is_moment = np.isfinite(first).any() and np.isfinite(sent).any() and np.nanmedian(first) >= np.nanmedian(sent)
    ttft, e2e = _durations(table, is_ok, end - sent)
    return Requests(
        is_ok,
        sent,
        np.where(np.isnan(ttft), first - sent if is_moment else first, ttft),
        np.where(np.isnan(e2e), end - sent, e2e),
        _numbers(table, table.of(Role.INPUT), is_ok),
        _numbers(table, table.of(Role.OUTPUT), is_ok),
    )


def gaps_of(table: RequestTable, rows: Bools) -> Floats | None:
    """Every time between two tokens of the requests in `rows`, seconds, None where the file lists none.

    Raises:
        FileError: a cell is no list of numbers.
    """
    column = table.of(Role.GAPS)
    if column is None or not any(cell.startswith("[") for cell in column.text):
        return None
    lists = number_lists(table.path, column.name, table.rows[rows], column.text.take(rows))
    gaps = np.array([gap for each in lists for gap in each], dtype=np.float64)
    return gaps * SCALES[column.unit or _by_size(table, column.name, gaps, 1.0)]


def number_lists(path: Path, name: str, rows: npt.NDArray[np.int64], cells: TextColumn) -> list[list[float]]:
    """Cells such as "[17, 53, 31]" as lists, a blank cell as an empty one.

    Raises:
        FileError: a cell is no list of numbers; it names the row.
    """
    try:
        lists: list[list[float]] = json.loads(f"[{','.join(cell or '[]' for cell in cells)}]")
        if len(lists) == len(cells) and all(
            type(each) is list and {*map(type, each)} <= {int, float} for each in lists
        ):
            return lists
    except (ValueError, RecursionError):
        pass
    bad = next((place for place, cell in enumerate(cells) if not _NUMBERS.fullmatch(cell)), 0)
    shown = redact(cells[bad])[:60]
    raise FileError(f"{path}: row {rows[bad]}, column {name!r}: {shown!r} is no list of numbers; expected [17, 53, …]")


def _ok(table: RequestTable) -> Bools:
    mask = np.ones(len(table.rows), dtype=bool)
    for column in table.columns:
        if column.role is Role.STATUS:
            reads = _says_success if squeeze(column.name) in _SUCCESS else _says_no_failure
            mask &= column.text.mask(reads)
    return mask


def _says_success(text: str) -> bool:
    return is_blank(text) or text.strip().lower() in {"true", "1", "1.0", "yes", "ok", "success"}


def _says_no_failure(text: str) -> bool:
    return text.strip() in {"[]", "{}"} or is_blank(text) or read_status(text) is Outcome.OK


def _clock(table: RequestTable, role: Role, is_ok: Bools) -> Floats:
    """Moments in seconds, `n`, from numbers of any unit or ISO 8601."""
    column = table.of(role)
    if column is not None and column.text.mask(lambda cell: ":" in cell).any():
        return column.text.numbers(_unix_s)
    values = _numbers(table, column, is_ok)
    if column is None or not np.isfinite(values).any():
        return values
    size = float(np.nanmedian(np.abs(values)))
    unix = next((unit for unit, least in (("ns", 1e17), ("us", 1e14), ("ms", 1e11), ("s", 1e8)) if size > least), "")
    if not column.unit and not unix:
        table.warnings.append(f"unit of column {column.name!r} is not said: taken as s; name it with --map")
    return values * SCALES[column.unit or unix or "s"]


def _unix_s(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _durations(table: RequestTable, is_ok: Bools, measured: Floats) -> tuple[Floats, Floats]:
    """TTFT and latency in seconds, `n` each. Unsaid units: as `measured` (end - sent) says, else by size, aloud."""
    ttft, e2e = table.of(Role.TTFT), table.of(Role.E2E)
    values = {role: _numbers(table, column, is_ok) for role, column in ((Role.TTFT, ttft), (Role.E2E, e2e))}
    ratio = np.nanmedian(measured / values[Role.E2E]) if np.isfinite(measured / values[Role.E2E]).any() else np.nan
    unit = next((unit for unit in _TIMES if abs(ratio / SCALES[unit] - 1) < 0.1), "")
    for column, largest in ((e2e, 300.0), (ttft, 30.0)):
        if column is not None:
            unit = column.unit or unit or _by_size(table, column.name, values[column.role], largest)
            values[column.role] = values[column.role] * SCALES[unit]
    return values[Role.TTFT], values[Role.E2E]


def _by_size(table: RequestTable, name: str, values: Floats, largest: float) -> str:
    """The unit in which the median is at most `largest` seconds, said aloud."""
    median = float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
    unit = next((unit for unit in _TIMES if median * SCALES[unit] <= largest), "ns")
    table.warnings.append(f"unit of column {name!r} is not said: taken as {unit} by its size; name it with --map")
    return unit


def _numbers(table: RequestTable, column: Column | None, is_ok: Bools) -> Floats:
    if column is None:
        return np.full(len(table.rows), np.nan)
    values, wrong = to_numbers(column.text)
    wrong = wrong & is_ok & ~column.text.is_in(("nan", "NaN"))
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        shown = redact(column.text[place])[:60]
        where = f"{table.path}: row {table.rows[place]}, column {column.name!r}"
        raise FileError(f"{where}: {shown!r} is no finite number; expected {column.role} of one request")
    return np.where(np.isfinite(values), values, np.nan)
