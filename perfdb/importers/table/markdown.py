"""Tables in markdown: found by the line of dashes under their header, their cells as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfdb.importers.table.cells import number

_BAR = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r":?-+:?")
_INNER_RULE = re.compile(r":?--+:?")  # a single dash is a blank cell
_QUOTE = re.compile(r"^[\s>]+")
_IMAGE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_TAG = re.compile(r"<[^<>]{1,80}>")
_AROUND = re.compile(r"([*_`~]+)(.+)\1")
_SPREAD = re.compile(r"(.+?)\s*(?:±|\+/-|&plusmn;)\s*(.+)")
_LONGEST = 1000
"""A longer cell is prose, and no number stands in it."""


@dataclass(frozen=True, slots=True)
class MarkdownTable:
    """One table: the places of its header's line and of the first line after it, header and rows as plain text.

    A row that is shorter than the header is filled up with blanks; one that is longer keeps its length.
    """

    start: int
    end: int
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def markdown_tables(lines: Sequence[str]) -> Iterator[MarkdownTable]:
    """Every table of a text, in order. Inside of code blocks they are tables, too: logs are quoted so."""
    place = 0
    while place + 1 < len(lines):
        if not _starts(lines, place):
            place += 1
            continue
        start, header = place, _cells(lines[place])
        rows: list[tuple[str, ...]] = []
        place += 2
        while place < len(lines) and "|" in lines[place]:
            cells = _cells(lines[place])
            if _starts(lines, place) and not any(number(cell) is not None for cell in cells):
                break
            if not _is_rule(cells, _INNER_RULE):
                rows.append(cells + ("",) * (len(header) - len(cells)))
            place += 1
        yield MarkdownTable(start, place, header, tuple(rows))


def with_spread(cell: str) -> tuple[str, str] | None:
    """("388.64", "0.03") of "388.64 ± 0.03", None if the cell is no number with its deviation."""
    found = _SPREAD.fullmatch(cell.strip()) if len(cell) <= _LONGEST else None
    if found is None or number(found[1]) is None or number(found[2]) is None:
        return None
    return found[1], found[2]


def _starts(lines: Sequence[str], place: int) -> bool:
    """Whether the line is a header: the next one is a line of dashes, and as wide."""
    if place + 1 >= len(lines) or "|" not in lines[place] or "-" not in lines[place + 1]:
        return False
    header, rule = _cells(lines[place]), _cells(lines[place + 1])
    return len(header) == len(rule) and _is_rule(rule) and not _is_rule(header)


def _is_rule(cells: Sequence[str], dashes: re.Pattern[str] = _RULE) -> bool:
    return all(dashes.fullmatch(cell) for cell in cells)


def _cells(line: str) -> tuple[str, ...]:
    body = _QUOTE.sub("", line).rstrip().removeprefix("|")
    cells = _BAR.split(body)
    if len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    return tuple(_plain(cell) for cell in cells)


def _plain(cell: str) -> str:
    """The text of a cell without emphasis, links and tags: "**[1,024](#a)**" is "1,024"."""
    if len(cell) > _LONGEST:
        return cell.strip()
    text = cell.replace("\\|", "|").replace("**", "").replace("&nbsp;", " ")
    text = _TAG.sub(" ", _LINK.sub(r"\1", _IMAGE.sub(r"\1", text))).strip()
    while (found := _AROUND.fullmatch(text)) is not None:
        text = found[2].strip()
    return text
