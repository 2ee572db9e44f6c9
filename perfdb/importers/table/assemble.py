"""From a table of text to a batch: the steps of reading, in the one order in which they can be taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from perfdb.batch import BadRow, Batch
from perfdb.facts.engines import ENGINES
from perfdb.importers.importer import ReadSettings
from perfdb.importers.table.bind import bind
from perfdb.importers.table.checks import reject_impossible, reject_text, reject_unusable
from perfdb.importers.table.factors import flag_hidden_factor
from perfdb.importers.table.fields import NUMERIC_CONTEXT, TEXT_CONTEXT, parameter_of
from perfdb.importers.table.frame import Frame, Table
from perfdb.importers.table.jsoncols import json_objects, listed
from perfdb.importers.table.lengths import settle_lengths
from perfdb.importers.table.names import settle_names
from perfdb.importers.table.odd import flag_odd, settle_statistics
from perfdb.importers.table.outcomes import settle_outcomes, zeros_are_missing
from perfdb.importers.table.redact import MARK, is_secret_name, redact, sentence
from perfdb.importers.table.rounded import settle_rounded
from perfdb.importers.table.throughput import settle_throughput
from perfdb.importers.table.understood import understood
from perfdb.importers.table.units import settle_units
from perfdb.importers.table.workload import real_numbers, settle_workload
from perfdb.metrics import METRICS
from perfdb.records import canonical_json
from perfdb.texts import Bools, TextColumn, printable


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
        settle_rounded(frame)
        zeros_are_missing(frame)
        settle_names(frame)
        settle_units(frame)
        settle_statistics(frame)
        settle_throughput(frame)
        settle_workload(frame)
        reject_impossible(frame)
        reject_unusable(frame)
        flag_odd(frame)
        flag_hidden_factor(frame)
        return _batch(frame, table.bad)


def _batch(frame: Frame, bad: tuple[BadRow, ...]) -> Batch:
    good = frame.good()
    # a line whose cells do not fit the header does not say which of them is the secret
    hides = any(is_secret_name(column.header) for column in frame.columns)
    values = {key: numbers[good] for key, numbers in frame.numbers.items() if key[0] in METRICS}
    return Batch(
        rows=frame.rows[good],
        context=_context(frame, good),
        values={key: numbers for key, numbers in values.items() if np.isfinite(numbers).any()},
        bad=(
            *(replace(row, value=MARK if hides and not row.column else printable(redact(row.value))) for row in bad),
            *(frame.bad[row] for row in sorted(frame.bad)),
        ),
        warnings=tuple(sentence(text) for text in frame.warnings),
        columns=understood(frame),
    )


def _context(frame: Frame, good: Bools) -> dict[str, npt.NDArray[Any]]:
    numbers = {name: real_numbers(frame, name) for name in sorted(NUMERIC_CONTEXT)}
    context: dict[str, npt.NDArray[Any]] = {
        name: values[good] for name, values in numbers.items() if np.isfinite(values).any()
    }
    texts = {name: frame.text(name) for name in sorted(TEXT_CONTEXT)}
    texts = {name: text for name, text in texts.items() if text.said().any()}
    texts["config"] = _config(frame)
    texts["extra"] = json_objects(frame.extra, frame.n, ready={"import": _notes(frame)})
    return context | {name: _none_where_blank(text.take(good)) for name, text in texts.items()}


def _notes(frame: Frame) -> TextColumn:
    """What this reading decided and doubted, one JSON object per row."""
    units = TextColumn.constant(canonical_json(frame.decided) if frame.decided else "", frame.n)
    flags = TextColumn.constant("", frame.n)
    for reason, rows in sorted(frame.flags.items()):
        flags = flags.pairs(TextColumn.constant(canonical_json(reason), frame.n).blank(~rows), listed)
    flags = flags.map(lambda reasons: f"[{reasons}]" if reasons else "")
    return json_objects({}, frame.n, ready=frame.notes | {"units": units, "flags": flags})


def _none_where_blank(text: TextColumn) -> npt.NDArray[Any]:
    known = text.known.copy()
    known[known == ""] = None
    return np.asarray(known[text.codes], dtype=object)


def _config(frame: Frame) -> TextColumn:
    """Parameters under the names that each row's engine gives them; `{}` where none is said."""
    result = TextColumn.constant("{}", frame.n)
    engines = frame.text("engine").map(lambda name: name if name in ENGINES else "").distinct()
    for code, engine in enumerate(engines.known if frame.config else ()):
        rows = engines.codes == code
        named: dict[str, TextColumn] = {}
        for name, text in frame.config.items():
            target, here = parameter_of(engine or None, name), text.take(rows)
            named[target] = named[target].or_else(here) if target in named else here
        objects = json_objects(named, int(rows.sum()))
        result = result.put(rows, objects.or_else(TextColumn.constant("{}", len(objects))))
    return result
