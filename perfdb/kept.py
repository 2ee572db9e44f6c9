"""What was worked out before, kept on disk in the user's cache under names that change with whatever it was made from.

No file is ever out of date; the least used ones are removed. Nothing is kept where nothing can be written, and a file
that cannot be read, or is not what was written, is as good as none.

A file is one line of JSON (what it is of; names, types and shapes of its arrays; a checksum of what follows), and the
arrays. It is read, not mapped: a mapped file that another process cuts short kills the process that reads on.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, reduce
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
Made = TypeVar("Made")

_SUFFIX, _PART = ".kept", ".part"
_MOST_FILES, _MOST_BYTES = 1024, 512 << 20
_HALF_WRITTEN_S = 3600.0
"""Age at which a half-written file is that of a process that was killed."""
_LOOK_EVERY = 64
"""Files that a process writes until it looks again whether there are too many."""
_written = count()
_ROOMS = ("model", "perfdb")
_SOURCES = (".py", ".json", ".csv")
_FAULTS = (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError)


def cache_folder(room: str) -> Path:
    """Where the user's files of one kind are kept; it need not be there, and perhaps cannot be made."""
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        home = Path(named) if named else Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        home = Path(os.devnull)
    return home / "servecast" / room


def kept(
    name: str,
    make: Callable[[], Made],
    encode: Callable[[Made], Arrays],
    decode: Callable[[Arrays], Made],
    state: object = None,
) -> Made:
    """What `make` answers, from disk where something of this name and state is kept.

    Args:
        name: of the file; see `name_of`.
        make: works it out.
        encode: its arrays, of numbers (see `as_text` for others).
        decode: the same from arrays; one that raises says that they are not whole.
        state: of what it is made from (as `repr` tells it apart), where only that of the newest is worth keeping.
    """
    file = _file(name)
    with suppress(*_FAULTS):
        found = decode(_read(file, repr(state)))
        with suppress(OSError):  # where nothing can be written, what is there can be read
            os.utime(file)
        return found
    made = make()
    with suppress(OSError):
        _write(file, repr(state), encode(made))
    return made


def is_kept(name: str) -> bool:
    """Whether something of this name is kept: else `kept` works it out."""
    return _file(name).exists()


def _file(name: str) -> Path:
    return cache_folder("kept") / f"{name}{_SUFFIX}"


def name_of(kind: str, *parts: object) -> str:
    """A name that changes with any of the parts (bytes, or what `repr` tells apart) and with our sources."""
    digest = hashlib.sha256(code_identity())
    for part in parts:
        spelled = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(f"{len(spelled)}:".encode())
        digest.update(spelled)
    return f"{kind}-{digest.hexdigest()[:32]}"


@lru_cache(maxsize=1)
def code_identity() -> bytes:
    """A digest of when the sources that answers are made by last changed, and of their sizes: reading them all would
    take longer than most of what is kept."""
    root = Path(__file__).resolve().parents[1]
    found = sorted(entry for room in _ROOMS for entry in _sources(str(root / room)))
    return hashlib.sha256(repr((str(root), found)).encode()).digest()


def _sources(folder: str) -> Iterator[tuple[str, int, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sources(entry.path)
            elif entry.name.endswith(_SOURCES):
                stat = entry.stat()
                yield entry.path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def as_text(value: object) -> npt.NDArray[np.uint8]:
    """What JSON can say, as an array."""
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def from_text(array: npt.NDArray[Any]) -> Any:
    """What `as_text` was given."""
    return json.loads(array.tobytes())


def _read(file: Path, state: str) -> Arrays:
    """The arrays of a file of this state, writable.

    Raises:
        One of `_FAULTS` where it is not there or not whole.
    """
    with file.open("rb") as stream:
        head = json.loads(stream.readline())
        data = bytearray(stream.read())
    if head["state"] != state or zlib.crc32(data) != head["crc"]:
        raise ValueError(file)
    arrays, start = {}, 0
    for name, kind, shape in head["arrays"]:
        dtype, size = np.dtype(kind), int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(data, dtype, size, start).reshape(shape)
        start += _padded(size * dtype.itemsize)
    return arrays


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def _write(file: Path, state: str, arrays: Arrays) -> None:
    """Whole or not at all: another process may read or write the same."""
    data: list[memoryview | bytes] = []
    for values in arrays.values():
        plain = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        data += [plain.data, bytes(_padded(plain.size) - plain.size)]
    crc = reduce(lambda found, block: zlib.crc32(block, found), data, 0)
    named = [(name, values.dtype.str, values.shape) for name, values in arrays.items()]
    head = json.dumps({"state": state, "arrays": named, "crc": crc})
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=_PART, delete=False) as part:
        try:
            part.write(head.encode() + b"\n")
            part.writelines(data)
            part.close()
            Path(part.name).replace(file)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    if next(_written) % _LOOK_EVERY == 0:
        _make_room(file.parent)


def _make_room(folder: Path) -> None:
    """Remove the least used files beyond what may be kept, and what killed processes left."""
    newest_first = sorted(_stats(folder.iterdir()), reverse=True)
    total = 0
    for number, (used, size, path) in enumerate(newest_first):
        total += size
        is_left_over = path.endswith(_PART) and time.time() - used > _HALF_WRITTEN_S
        if is_left_over or (path.endswith(_SUFFIX) and (number >= _MOST_FILES or total > _MOST_BYTES)):
            Path(path).unlink(missing_ok=True)


def _stats(paths: Iterable[Path]) -> Iterator[tuple[float, int, str]]:
    for path in paths:
        with suppress(OSError):  # another process removed it
            stat = path.stat()
            yield stat.st_mtime, stat.st_size, str(path)
