"""One pass over a file's bytes before it is read: its hash, and whether it is text that can be read at all."""

from __future__ import annotations

import codecs
import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perfdb.errors import FileError

HEAD_BYTES = 65536
LONGEST_LINE = 4 * 2**20
"""A longer line (in bytes) of a delimited text is no record of a benchmark."""
LARGEST_DOCUMENT = 512 * 2**20
"""Formats that are read as one document are refused above this many bytes."""
_CHUNK = 2**20
_LFS = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Content:
    """A readable text file: the SHA-256 of its bytes, its first bytes, its size and its longest line, in bytes."""

    digest: str
    head: bytes
    size: int
    longest_line: int


def look_at(path: Path) -> Content:
    """Read the file once, in bounded memory.

    Raises:
        FileError: it is no regular file, cannot be opened, is empty, a Git LFS pointer, binary, or not UTF-8.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileError(f"{path}: not a regular file")
        with path.open("rb") as file:
            return _read(path, iter(lambda: file.read(_CHUNK), b""))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error


def whole_text(path: Path) -> str:
    """The text of a file that is read as one document, a byte-order mark dropped.

    Raises:
        FileError: it cannot be opened, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise FileError(f"{path}: byte 0x{byte:02x} is not UTF-8; expected UTF-8 text") from error


def _read(path: Path, chunks: Iterator[bytes]) -> Content:
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    head, size, longest, current = b"", 0, 0, 0
    for chunk in chunks:
        if not head:
            head = chunk[:HEAD_BYTES]
            _refuse(path, head)
        digest.update(chunk)
        first, *others = chunk.split(b"\n")
        current += len(first)
        for line in others:
            longest, current = max(longest, current), len(line)
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            place = size + error.start
            byte = error.object[error.start]
            raise FileError(f"{path}: byte 0x{byte:02x} near byte {place} is not UTF-8; expected UTF-8 text") from error
        size += len(chunk)
    if not size:
        raise FileError(f"{path}: the file is empty")
    return Content(digest.hexdigest(), head, size, max(longest, current))


def _refuse(path: Path, head: bytes) -> None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileError(f"{path}: UTF-16 text; expected UTF-8")
    if b"\0" in head:
        raise FileError(f"{path}: a binary file; expected text")
    if head.startswith(_LFS):
        raise FileError(f"{path}: a Git LFS pointer, not the data; expected the file itself (git lfs pull)")
    if not head.strip():
        raise FileError(f"{path}: nothing but blanks")
