"""Tables with one row per request, in any tool's words: which column says what, in which unit, and what was run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfdb.errors import FileError
from perfdb.importers.importer import ReadSettings
from perfdb.importers.table.dialect import meaning, squeeze, unit_of
from perfdb.importers.table.fields import Kind, Meaning, field_meaning
from perfdb.importers.table.frame import Table
from perfdb.texts import Bools, TextColumn


class Role(StrEnum):
    """What a column of a request table holds. `POINT` columns tell the operating points apart; what is known, but says
    nothing of one request or of the point (a throughput), is of another kind."""

    ID = "id"
    SENT = "sent"
    FIRST = "first token"
    END = "end"
    TTFT = "ttft"
    E2E = "e2e"
    INPUT = "input tokens"
    OUTPUT = "output tokens"
    STATUS = "status"
    GAPS = "times between tokens"
    POINT = "point"
    ELSE = "of another kind"
    UNKNOWN = "unknown"


_NAMES = {
    Role.ID: "requestid reqid",
    Role.SENT: """arrivaltime arrival arrivedat arrivaltimestamp starttime start startts starttimestamp sentat senttime
        sendtime requeststart requeststarttime submittime queuedts""",
    Role.FIRST: "firsttokentime firsttokents firsttokentimestamp firsttokenat",
    Role.END: """endtime end endts endtimestamp finishtime finishedat completedat requestend requestendtime
        lasttokentime lasttokents""",
    Role.GAPS: "itl itls intertokenlatencies intertokenlatency",
    Role.STATUS: "success error errors iserror ok",
    Role.INPUT: "inputtoks ninputtokens numinputtokens numprompttokens prompttokens inputtokencount",
    Role.OUTPUT: """outputtoks noutputtokens numoutputtokens numgeneratedtokens completiontokens generatedtokens
        outputtokencount""",
}
_BY_NAME = {name: role for role, names in _NAMES.items() for name in names.split()}
_BY_FIELD = {
    "ttft_s": Role.TTFT, "e2e_s": Role.E2E, "itl_s": Role.GAPS, "input_tokens": Role.INPUT, "isl": Role.INPUT,
    "output_tokens": Role.OUTPUT, "osl": Role.OUTPUT, "status": Role.STATUS, "outcome": Role.STATUS,
    "measured_at": Role.SENT,
}  # fmt: skip
_POINT = frozenset({
    "model", "platform", "devices", "engine", "engine_version", "concurrency", "request_rate", "batch_size", "client",
    "origin", "warmup_requests", "arrival",
})  # fmt: skip
_TIMES = ("s", "ms", "us", "ns")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in the file, its role, the unit that its name says ("" if none), and its text, `n`."""

    name: str
    role: Role
    unit: str
    text: TextColumn


@dataclass
class RequestTable:
    """n requests of a file, with the columns that tell their operating points apart."""

    path: Path
    rows: npt.NDArray[np.int64]
    columns: tuple[Column, ...]
    warnings: list[str] = field(default_factory=list)

    def of(self, role: Role) -> Column | None:
        """The first column of a role."""
        return next((column for column in self.columns if column.role is role), None)

    def points(self) -> Iterator[tuple[dict[str, str], Bools]]:
        """(what was run as column -> text, mask of its requests, `n`) of each operating point, in the file's order."""
        columns = [column for column in self.columns if column.role is Role.POINT]
        told = list(zip(*(column.text for column in columns), strict=True)) or [()] * len(self.rows)
        places = {texts: place for place, texts in enumerate(dict.fromkeys(told))}
        codes = np.array([places[texts] for texts in told])
        for texts, place in places.items():
            yield {column.name: text for column, text in zip(columns, texts, strict=True)}, codes == place

    def facts(self) -> dict[str, str]:
        """ "extra.NAME" -> text of the other columns that say the same in every row."""
        others = [column for column in self.columns if column.role is Role.UNKNOWN]
        same = {column.name: column.text[0] for column in others if len(column.text.distinct().known) == 1}
        return {f"extra.{name}": text for name, text in same.items()}


def request_table(table: Table, path: Path, settings: ReadSettings) -> RequestTable:
    """Give every column of a table its role; the user's map says more than a name.

    Raises:
        FileError: a line of the file is damaged: a request would be missing from the statistics.
    """
    if table.bad:
        row = table.bad[0]
        raise FileError(f"{path}: row {row.row}: {row.reason}; expected one whole request per line")
    named = zip(table.header, table.columns, strict=True)
    columns = tuple(Column(*_role(name, settings), text) for name, text in named)
    # a column without a name tells nothing of a point
    warnings = [text for text in table.warnings if not text.endswith("kept in extra")]
    return RequestTable(path, table.rows, columns, warnings)


def role_of(name: str) -> Role:
    """What a column of this name holds in a request table."""
    return _role(name, ReadSettings())[1]


def _role(name: str, settings: ReadSettings) -> tuple[str, Role, str]:
    rule = settings.columns.get(name)
    if rule is not None:
        found = field_meaning(rule.field, "field of the column map")
        return rule.field, _by_meaning(found), rule.unit or found.unit
    words, unit = _without_unit(name)
    role = _BY_NAME.get(squeeze(words))
    known = meaning(name)
    if role is not None:
        return name, role, unit or (known.unit if known else "")
    return (name, _by_meaning(known), known.unit) if known else (name, Role.UNKNOWN, "")


def _by_meaning(found: Meaning) -> Role:
    if found.name in _BY_FIELD:
        return _BY_FIELD[found.name]
    is_point = found.kind is Kind.CONFIG or (found.kind is Kind.CONTEXT and found.name in _POINT)
    return Role.POINT if is_point else Role.ELSE


def _without_unit(name: str) -> tuple[str, str]:
    """ "arrival_time_ms" and "Arrival time (ms)" -> (the name alone, "ms")."""
    found = re.fullmatch(r"(.{0,80}?)[\s_]{0,9}[_(\[\s]([A-Za-zµ]{1,20})[)\]]?", name.strip())
    unit = unit_of(found[2]) if found else ""
    return (found[1], unit) if found and unit in _TIMES else (name, "")
