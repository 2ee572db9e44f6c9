"""llama-bench's CSV and markdown as the objects of its JSON; what markdown tells around its tables goes into them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow
from perfdb.errors import FileError
from perfdb.importers.content import whole_text
from perfdb.importers.table.markdown import MarkdownTable, markdown_tables, with_spread
from perfdb.importers.table.textfile import read_table

_SHORT = {
    "model": "model_type", "backend": "backends", "ngl": "n_gpu_layers", "sm": "split_mode", "threads": "n_threads",
    "nkvo": "no_kv_offload", "fa": "flash_attn", "mmap": "use_mmap", "dio": "use_direct_io", "embd": "embeddings",
    "nopo": "no_op_offload", "noh": "no_host", "dev": "devices", "ts": "tensor_split", "ot": "tensor_buft_overrides",
    "fitt": "fit_target", "fitc": "fit_min_ctx",
}  # fmt: skip
_TEST = re.compile(r"(?:pp ?(\d+))?(?:\+?tg ?(\d+))?(?: ?@ ?d(\d+))?")
_BUILD = re.compile(r"^build: (\w+) \((\d+)\)", re.MULTILINE)
_DEVICE = re.compile(r"^[ \t]*Device \d+: ([^,\n]+),", re.MULTILINE)

Test = Mapping[str, Any]
"""One test under the names of llama-bench's JSON."""


def is_table_of_tests(header: Sequence[str]) -> bool:
    """Whether a markdown table with this header is llama-bench's."""
    return {"model", "test", "t/s"} <= set(header)


def rows_of_csv(path: Path) -> Iterator[Test | BadRow]:
    """Every line of llama-bench's CSV, in order. Raises as `read_table`."""
    table = read_table(path, ",")
    found: dict[int, Test | BadRow] = {row.row: row for row in table.bad}
    for place, number in enumerate(table.rows.tolist()):
        found[number] = {name: column[place] for name, column in zip(table.header, table.columns, strict=True)}
    if not found:
        raise FileError(f"{path}: no record below the header; expected at least one")
    yield from (found[number] for number in sorted(found))


def rows_of_markdown(path: Path) -> Iterator[Test | BadRow]:
    """Every row of the tables of llama-bench; the devices stand in the lines before a table, the build in those after.

    Raises:
        FileError: there is no such table.
    """
    lines = whole_text(path).splitlines()
    tables = [table for table in markdown_tables(lines) if is_table_of_tests(table.header)]
    if not tables:
        what = "it is empty" if not lines else "no table of llama-bench in it"
        raise FileError(f"{path}: {what}; expected columns model, test and t/s")
    ends = [0, *(table.end for table in tables)]
    starts = [*(table.start for table in tables), len(lines)]
    for place, table in enumerate(tables):
        before = "\n".join(lines[ends[place] : starts[place]])
        after = "\n".join(lines[ends[place + 1] : starts[place + 1]])
        yield from _rows(table, {"gpu_info": ", ".join(_DEVICE.findall(before)), **_build(after)})


def _build(text: str) -> dict[str, str]:
    found = _BUILD.search(text)
    return {"build_commit": found[1], "build_number": found[2]} if found else {}


def _rows(table: MarkdownTable, about: Mapping[str, str]) -> Iterator[Test | BadRow]:
    for row in table.rows:
        if len(row) != len(table.header):
            shown = " | ".join(row)[:200]
            yield BadRow(0, "", shown, f"the line has {len(row)} cells, the header {len(table.header)}")
            continue
        cells = dict(zip(table.header, row, strict=True))
        test, speed = cells.pop("test"), cells.pop("t/s")
        counts = _TEST.fullmatch(test)
        if counts is None or not (counts[1] or counts[2]):
            yield BadRow(0, "test", test, "no test that we know: expected pp512, tg128 or pp512+tg128, perhaps @ d4096")
            continue
        average, deviation = with_spread(speed) or (speed, "")
        settings = {_SHORT.get(name, name): cell for name, cell in cells.items() if cell}
        timed = {"n_prompt": counts[1], "n_gen": counts[2], "n_depth": counts[3]}
        yield {**about, **settings, **timed, "avg_ts": average, "stddev_ts": deviation}
