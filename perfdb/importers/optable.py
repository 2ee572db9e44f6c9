"""What importers of operation tables share: a file's columns, names from its path, and what the user says of it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from perfdb.batch import Number, OperationFile
from perfdb.errors import FileError, InputError
from perfdb.facts.platforms import canonical_platform
from perfdb.importers.content import PARQUET
from perfdb.importers.importer import ReadSettings
from perfdb.importers.table.fields import field_meaning
from perfdb.importers.table.names import canonical_engine
from perfdb.importers.table.redact import is_secret_name, redact
from perfdb.operations import ARGUMENTS, TEXTS

_LARGEST_FOOTER = 2**24


def parquet_footer(path: Path) -> bytes:
    """The end of a Parquet file, where the names of its columns stand as they are.

    Raises:
        FileError: it cannot be read, is empty, or is not a whole Parquet file.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if not size:
                raise FileError(f"{path}: the file is empty")
            file.seek(max(size - 8, 0))
            tail = file.read(8)
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != PARQUET or length > min(size, _LARGEST_FOOTER):
                raise FileError.at(str(path), "the end of a Parquet file is missing", "the whole file")
            file.seek(size - 8 - length)
            return file.read(length)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error


def is_parquet_with(head: bytes, path: Path, *columns: str) -> bool:
    """Whether a file is Parquet and has columns of these names."""
    if not head.startswith(PARQUET):
        return False
    try:
        footer = parquet_footer(path)
    except FileError:
        return False
    # a column's name follows the number of its field (4, one after its repetition; a text) and its length
    return all(b"\x18" + bytes([len(column)]) + column.encode() in footer for column in columns)


def csv_header(path: Path) -> list[str]:
    """The names in the first line of a CSV file.

    Raises:
        FileError: it cannot be read, is empty, or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path}: cannot be read ({error})") from error
    if not header:
        raise FileError(f"{path}: the file is empty")
    return [name.strip() for name in header]


def platform_name(text: str) -> str:
    """A platform as we spell it, or as it is given where we do not know it."""
    return canonical_platform(text)[0] or text


def with_settings(file: OperationFile, settings: ReadSettings) -> OperationFile:
    """The file as the user describes it: --set and --from-path win, --map renames columns. No secret is kept.

    Raises:
        InputError: a number is given that is none.
    """
    given = dict(file.given)
    for name, text in settings.given.items():
        column = field_meaning(name, "field").name
        given[column] = _value(column, text)
    texts, numbers = dict(file.texts), dict(file.numbers)
    for source, rule in settings.columns.items():
        column = field_meaning(rule.field, "field").name
        if column in TEXTS:
            texts[column] = (source,)
        elif column in ARGUMENTS:
            numbers[column] = Number((source,))
    return replace(file, given=given, texts=texts, numbers=numbers, is_secret=is_secret_name, redact=redact)


def _value(column: str, text: str) -> str:
    if column == "platform":
        return platform_name(text)
    if column == "engine":
        return canonical_engine(text) or text
    if column in ARGUMENTS and not text.strip().isdecimal():
        raise InputError.at(f"--set {column}={text}", "an operation counts in whole numbers", f"such as {column}=8")
    return text.strip()
