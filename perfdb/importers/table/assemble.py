"""From a table of text to a batch: the steps of reading, in the one order in which they can be taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from perfdb.batch import BadRow, Batch
from perfdb.importers.importer import ReadSettings
from perfdb.importers.table.bind import bind
from perfdb.importers.table.cells import Bools, Texts, factorize, none_where_blank, said
from perfdb.importers.table.checks import flag_odd, reject_impossible, reject_text, reject_unusable
from perfdb.importers.table.factors import flag_hidden_factor
from perfdb.importers.table.fields import NUMERIC_CONTEXT, TEXT_CONTEXT, parameter_of
from perfdb.importers.table.frame import Frame, Table
from perfdb.importers.table.jsoncols import json_objects
from perfdb.importers.table.lengths import settle_lengths
from perfdb.importers.table.names import settle_names
from perfdb.importers.table.outcomes import settle_outcomes, zeros_are_missing
from perfdb.importers.table.redact import redact
from perfdb.importers.table.throughput import settle_throughput
from perfdb.importers.table.units import settle_units
from perfdb.importers.table.workload import real_numbers, settle_workload
from perfdb.metrics import METRICS


def assemble(table: Table, settings: ReadSettings) -> Batch:
    """The batch of a table: every record of it is either among the batch's n or in its `bad`.

    Raises:
        UnknownNameError: the settings name a field that does not exist.
    """
    # what is unknown is NaN and travels through every formula; what cannot be true is found by the checks
    with np.errstate(all="ignore"):
        frame = bind(table, settings)
        settle_lengths(frame)
        settle_outcomes(frame)
        reject_text(frame)
        zeros_are_missing(frame)
        settle_names(frame)
        settle_units(frame)
        settle_throughput(frame)
        settle_workload(frame)
        reject_impossible(frame)
        reject_unusable(frame)
        flag_odd(frame)
        flag_hidden_factor(frame)
        return _batch(frame, table.bad)


def _batch(frame: Frame, bad: tuple[BadRow, ...]) -> Batch:
    good = frame.good()
    context = _context(frame)
    values = {key: numbers for key, numbers in frame.numbers.items() if key[0] in METRICS}
    kept = {key: numbers[good] for key, numbers in values.items() if np.isfinite(numbers[good]).any()}
    return Batch(
        rows=frame.rows[good],
        context={name: column[good] for name, column in context.items()},
        values=kept,
        bad=(*(replace(row, value=redact(row.value)) for row in bad), *(frame.bad[row] for row in sorted(frame.bad))),
        warnings=tuple(redact(text) for text in frame.warnings),
    )


def _context(frame: Frame) -> dict[str, npt.NDArray[Any]]:
    context: dict[str, npt.NDArray[Any]] = {}
    for name in sorted(NUMERIC_CONTEXT):
        values = real_numbers(frame, name)
        if np.isfinite(values).any():
            context[name] = values
    for name in sorted(TEXT_CONTEXT):
        text = frame.text(name)
        if said(text).any():
            context[name] = none_where_blank(text)
    context["config"] = _config(frame)
    notes = json_objects({}, frame.n, ready=frame.notes)
    context["extra"] = none_where_blank(json_objects(frame.extra, frame.n, ready={"import": notes}))
    return context


def _config(frame: Frame) -> Texts:
    """Parameters under the names that each row's engine gives them; `{}` where none is said."""
    result = np.full(frame.n, "{}", dtype=object)
    if not frame.config:
        return result
    codes, engines = factorize(frame.text("engine"))
    for code, engine in enumerate(engines):
        rows: Bools = codes == code
        named: dict[str, Texts] = {}
        for name, text in frame.config.items():
            target = parameter_of(engine or None, name)
            here = text[rows]
            named[target] = here if target not in named else np.where(named[target] == "", here, named[target])
        objects = json_objects(named, int(rows.sum()))
        result[rows] = np.where(said(objects), objects, "{}")
    return result
