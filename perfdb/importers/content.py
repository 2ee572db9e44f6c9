"""A file's bytes before it is read: its hash, and whether it is text or Parquet, so that it can be read at all."""

from __future__ import annotations

import codecs
import hashlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from perfdb.errors import FileError

HEAD_BYTES = 65536
LONGEST_LINE = 4 * 2**20
"""A longer line (in bytes) of a file of lines is no record of a benchmark."""
LARGEST_DOCUMENT = 512 * 2**20
"""Formats that are read as one document are refused above this many bytes."""
_CHUNK = 2**20
_LFS = b"version https://git-lfs"
PARQUET = b"PAR1"
"""How a Parquet file begins and ends."""
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh91AY&SY": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
}
"""How compressed files begin; a spreadsheet (.xlsx, .ods) is a zip file, too."""


@dataclass(frozen=True, slots=True)
class Content:
    """A readable file: its first bytes and its size in bytes."""

    head: bytes
    size: int


def look_at(path: Path) -> Content:
    """The beginning of a file.

    Raises:
        FileError: it is no regular file, cannot be opened, is empty, a Git LFS pointer, binary (but for Parquet), or
            begins with what is not UTF-8.
    """
    with _readable(path) as file:
        head, size = file.read(HEAD_BYTES), path.stat().st_size
    if not head.startswith(PARQUET):
        _refuse(path, head)
    return Content(head, size)


def digest_of(path: Path, is_lines: bool = False) -> str:
    """SHA-256 of a file's bytes, read once and in bounded memory; text is verified on the way.

    Raises:
        FileError: it cannot be read; it is text, and not UTF-8, or has a NUL in it, or, if `is_lines`, a line that is
            too long (the reading ends there).
    """
    digest = hashlib.sha256()
    with _readable(path) as file:
        check = _Text(path, is_lines) if file.read(len(PARQUET)) != PARQUET else None
        file.seek(0)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if check is not None:
                check.add(chunk)
        if check is not None:
            check.add(b"", is_end=True)
    return digest.hexdigest()


@contextmanager
def _readable(path: Path) -> Iterator[BinaryIO]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileError(f"{path}: not a regular file")
        with path.open("rb") as file:
            yield file
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
        raise _not_utf8(path, error) from error


class _Text:
    """The bytes of a text, seen piece by piece."""

    def __init__(self, path: Path, is_lines: bool) -> None:
        self._path, self._is_lines = path, is_lines
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._seen = self._lines = self._unfinished = 0

    def add(self, chunk: bytes, is_end: bool = False) -> None:
        """Verify the next piece."""
        if b"\0" in chunk:
            place = self._seen + chunk.index(b"\0")
            raise FileError(f"{self._path}: a NUL at byte {place}; expected text")
        if self._is_lines:
            self._measure(chunk.replace(b"\r", b"\n") if b"\r" in chunk else chunk)
        pending = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(chunk, is_end)
        except UnicodeDecodeError as error:
            raise _not_utf8(self._path, error, self._seen - pending) from error
        self._seen += len(chunk)

    def _measure(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        self._unfinished += len(first)
        longest = max(self._unfinished, max(map(len, others), default=0))
        if longest > LONGEST_LINE:
            what = f"a line of more than {LONGEST_LINE:,} bytes near line {self._lines + 1}"
            raise FileError(f"{self._path}: {what}; expected a record per line")
        self._lines += len(others)
        self._unfinished = len(others[-1]) if others else self._unfinished


def _not_utf8(path: Path, error: UnicodeDecodeError, start: int = 0) -> FileError:
    byte, place = error.object[error.start], start + error.start
    return FileError(f"{path}: byte 0x{byte:02x} near byte {place} is not UTF-8; expected UTF-8 text")


def _refuse(path: Path, head: bytes) -> None:
    if not head:
        raise FileError(f"{path}: the file is empty")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileError(f"{path}: UTF-16 text; expected UTF-8")
    packed = next((kind for start, kind in _PACKED.items() if head.startswith(start)), None)
    if packed is not None:
        raise FileError(f"{path}: a compressed file ({packed}); expected it unpacked, a spreadsheet saved as CSV")
    if b"\0" in head:
        raise FileError(f"{path}: a binary file; expected text")
    if head.startswith(_LFS):
        raise FileError(f"{path}: a Git LFS pointer, not the data; expected the file itself (git lfs pull)")
    if not head.strip():
        raise FileError(f"{path}: nothing but blanks")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
