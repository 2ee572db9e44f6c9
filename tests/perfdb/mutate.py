"""Damage benchmark files as the world does: bytes, numbers, JSON values, columns, encodings. Seeded, nothing else."""

from __future__ import annotations

import codecs
import csv
import io
import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

SECRET = b"hush-hush"
_TOKENS = (
    "NaN", "-NaN", "inf", "-Infinity", "1e999", "-1e999", "-1", "-0", "0", "1e308", "4.9e-324", "9" * 30, "9" * 400,
    "0x1F", "1_000", "1,5", "1.234,5", "12 ms", "50%", "١٢", "1e", "--", "OOM", "null", "true", "=1+1", "'1'",
    "../../etc/passwd", "\u202e12", "’", "￿", "N/A", "1e-400", "+7", "1.5.2", "2026-99-99", "9999-12-31T23:59:59Z",
)  # fmt: skip
_STRUCTURE = b",;\t|\n\r\"'{}[]:\\/#=-+eE0 \x00\xff\x1a\xc3\x28\x85"
_VALUES: tuple[Any, ...] = (
    None, True, False, "", "NaN", "1e999", "-1", -1, 0, 1e308, -1e308, 10**400, -(10**30), 5e-324, [], {}, [[]], [1, 2],
    {"a": {"b": [None]}}, "x" * 5000, "\u0000", "\ud800", float("nan"), float("inf"), [{"mean": "fast"}],
)  # fmt: skip
_UNITS = ("ms", "s", "us", "ns", "%", "tok/s", "GB", "mW", "hours", "")
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")

Mutation = Callable[[bytes, Sequence[bytes], random.Random], bytes]


def mutate(content: bytes, others: Sequence[bytes], rng: random.Random) -> tuple[bytes, tuple[str, ...]]:
    """The content after one to three mutations, and their names; `others` are files of other formats."""
    weights = [_WEIGHTS.get(name, 1) for name in MUTATIONS]
    names = rng.choices(list(MUTATIONS), weights, k=rng.choice((1, 1, 2, 3)))
    for name in names:
        content = MUTATIONS[name](content, others, rng)
    return content, tuple(names)


def _span(content: bytes, rng: random.Random, most: int) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(start + rng.randint(1, most), len(content))


def cut(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _span(content, rng, rng.choice((1, 8, 80, 800)))
    return content[:start] + content[end:]


def truncate(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def repeat(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _span(content, rng, 200)
    return content[:end] + content[start:end] * rng.choice((1, 2, 50)) + content[end:]


def swap(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    data = bytearray(content)
    for _turn in range(rng.randint(1, 4) if data else 0):
        i, j = rng.randrange(len(data)), rng.randrange(len(data))
        data[i], data[j] = data[j], data[i]
    return bytes(data)


def structure(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    data = bytearray(content)
    for _turn in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        data[place : place + rng.randint(0, 1)] = bytes([rng.choice(_STRUCTURE)])
    return bytes(data)


def number(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    """One number of the text becomes another token."""
    found = list(_NUMBER.finditer(content))
    if not found:
        return content
    hit = rng.choice(found)
    return content[: hit.start()] + rng.choice(_TOKENS).encode() + content[hit.end() :]


def insert_token(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(_TOKENS).encode() + content[place:]


def byte_order_mark(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    mark = rng.choice((codecs.BOM_UTF8, codecs.BOM_UTF8 * 2, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return mark + content


def encoding(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    text = content.decode("utf-8", "replace").replace("e", "é", rng.choice((0, 1)))
    return text.encode(rng.choice(("utf-16", "utf-16-le", "latin-1", "cp1252", "utf-32", "utf-7")), "replace")


def line_ends(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    end = rng.choice((b"\r\n", b"\r", b"\n\n", b"\n\r", b"\x0b", b"\xe2\x80\xa8", b"\x00\n", b" \n"))
    return content.replace(b"\n", end, rng.choice((-1, 1, 3)))


def nesting(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    place, depth = rng.randrange(len(content) + 1), rng.choice((50, 1000, 100_000))
    opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'"', b'"'), (b"(", b")")))
    return content[:place] + opened * depth + b"1" + closed * (depth if rng.random() < 0.7 else 0) + content[place:]


def joined(content: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """The file once more behind itself, or another format's content."""
    return content + rng.choice((b"", b"\n")) + rng.choice((content, *others))


def replaced(content: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    return rng.choice(others) if others else content


def long_text(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice((b"x", b"9", b" ", b",", b'"', b"\xc3\xa9")) * 300_000 + content[place:]


def json_values(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    """Change one to five places of a JSON file or of a line of JSONL: other values, keys dropped, renamed, doubled."""
    lines = content.split(b"\n")
    whole = _loaded(content)
    place = None if whole is not None else rng.randrange(len(lines))
    document = whole if place is None else _loaded(lines[place])
    if not isinstance(document, dict | list):
        return content
    for _turn in range(rng.randint(1, 5)):
        _change(document, rng)
    try:
        text = json.dumps(document, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return content
    text = _doubled(text, rng) if rng.random() < 0.2 else text
    return text if place is None else b"\n".join([*lines[:place], text, *lines[place + 1 :]])


def _loaded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _change(document: Any, rng: random.Random) -> None:
    """One random value below `document` is replaced, or its key dropped, renamed or copied."""
    node = document
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
            node = node[key]
            continue
        break
    what = rng.choice(("value", "value", "value", "drop", "rename", "wrap", "copy"))
    if what == "value":
        node[key] = json.loads(json.dumps(rng.choice(_VALUES)))
    elif what == "wrap":
        node[key] = rng.choice(([node[key]], {"value": node[key]}, str(node[key])))
    elif what == "drop":
        del node[key]
    elif isinstance(node, dict):
        new = f"{key}{rng.choice(('_ms', '_s', 'x', ' ', '.p99'))}"
        node[new] = node[key] if what == "copy" else node.pop(key)
    else:
        node.insert(key, node[key])


def _doubled(text: bytes, rng: random.Random) -> bytes:
    """A key of the outermost object stands twice."""
    found = list(re.finditer(rb'"[\w.]+": ', text))
    return text if not found else text.replace(b"{", b"{" + rng.choice(found).group() + b'"twice", ', 1)


def columns(content: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    """Drop, double, rename, swap or re-unit columns of a delimited text; or change the cells of single rows."""
    delimiter = max((",", "\t", ";", "|"), key=lambda d: content.split(b"\n", 1)[0].count(d.encode()))
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8", "replace"), newline=""), delimiter=delimiter))
    except csv.Error:
        return content
    rows = [row for row in rows if row]
    if not rows or not rows[0]:
        return content
    for _turn in range(rng.randint(1, 3)):
        _change_columns(rows, rng)
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


def _change_columns(rows: list[list[str]], rng: random.Random) -> None:
    header, column = rows[0], rng.randrange(max(len(rows[0]), 1))
    what = rng.choice(("drop", "double", "rename", "unit", "blank", "cell", "cell", "cell", "ragged", "swap"))
    if what == "cell" or len(rows) == 1:
        row = rng.choice(rows)
        if row:
            row[rng.randrange(len(row))] = rng.choice(_TOKENS)
    elif what == "ragged":
        row = rng.choice(rows[1:])
        row[:] = rng.choice((row[:-1], [*row, "", ""], [*row, "7"], []))
    elif column >= len(header):
        return
    elif what in {"rename", "blank"}:
        header[column] = "" if what == "blank" else rng.choice((header[column] + "x", rng.choice(header), "throughput"))
    elif what == "unit":
        header[column] = f"{header[column].partition('(')[0].strip()} ({rng.choice(_UNITS)})"
    else:
        other = rng.randrange(len(header))
        for row in rows:
            _change_row(row, what, column, other)


def _change_row(row: list[str], what: str, column: int, other: int) -> None:
    if max(column, other) >= len(row):
        return
    if what == "drop":
        del row[column]
    elif what == "double":
        row.insert(column, row[column])
    else:
        row[column], row[other] = row[other], row[column]


MUTATIONS: dict[str, Mutation] = {
    function.__name__: function
    for function in (
        cut, truncate, repeat, swap, structure, number, insert_token, byte_order_mark, encoding, line_ends, nesting,
        joined, replaced, long_text, json_values, columns,
    )
}  # fmt: skip
_WEIGHTS = {"json_values": 5, "columns": 5, "number": 3}
