"""What each column of a file was read as, in the words of a column map."""

from __future__ import annotations

from perfdb.importers.table.dialect import known_units
from perfdb.importers.table.fields import Kind, Meaning, engine_parameters
from perfdb.importers.table.frame import Column, Frame
from perfdb.metrics import Statistic


def understood(frame: Frame) -> dict[str, tuple[str, str]]:
    """Column of the file -> (field, unit): read back as a map, they give the same records. Units are settled by now."""
    return {
        column.header: (_field(column.meaning), _unit(frame, column)) for column in frame.columns if _is_own(column)
    }


def _is_own(column: Column) -> bool:
    return column.origin == "file"


def _field(meaning: Meaning) -> str:
    if meaning.kind is Kind.METRIC and meaning.statistic is not Statistic.VALUE:
        return f"{meaning.name}:{meaning.statistic}"
    if meaning.kind is Kind.CONFIG and meaning.name not in engine_parameters():
        return f"config.{meaning.name}"
    return f"extra.{meaning.name}" if meaning.kind is Kind.EXTRA else meaning.name


def _unit(frame: Frame, column: Column) -> str:
    """By name or as decided; "" where there is none that a map can say."""
    decided = frame.decided.get(column.header, "").split(",")[0]
    unit = decided or column.meaning.unit
    return unit if unit in known_units() else ""
