"""Where a table of operations has measurements: their number in bins of powers of two over two arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.errors import InputError, UnknownNameError
from perfdb.operations import OPERATIONS
from perfdb.store.connect import Database

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_TABLE = ("platform", "engine", "engine_version")
_AXES: tuple[tuple[frozenset[str], str, str], ...] = (
    (frozenset("mnk"), "m", "n * k"),
    (frozenset("mk"), "m", "k"),
    (frozenset({"decode_batch", "isl"}), "isl + prefix", "decode_batch"),
    (frozenset({"batch_size", "isl"}), "isl + prefix", "batch_size"),
    (frozenset({"elements", "devices"}), "elements", "devices"),
    (frozenset({"tokens", "experts"}), "tokens", "experts"),
    (frozenset({"tokens", "heads"}), "tokens", "heads"),
    (frozenset({"tokens", "hidden"}), "tokens", "hidden"),
    (frozenset({"batch_size", "hidden"}), "batch_size", "hidden"),
)
"""Arguments that an operation must have -> what is drawn to the right and upwards; the first that fits."""


@dataclass(frozen=True)
class Coverage:
    """One table: `counts` maps (a, b) to the rows with 2^a <= `x` < 2^(a+1) and 2^b <= `y` < 2^(b+1).

    `x` and `y` are arguments or formulas of some. `rows` are all, also those in which an argument is 0 or unknown.
    """

    table: Mapping[str, str | None]
    x: str
    y: str
    rows: int
    counts: Mapping[tuple[int, int], int]

    def to_json(self) -> dict[str, Any]:
        """The table with its bins as a JSON object."""
        bins = [{"x": 2**a, "y": 2**b, "rows": n} for (a, b), n in sorted(self.counts.items())]
        return {**self.table, "x": self.x, "y": self.y, "rows": self.rows, "bins": bins}


def coverage(database: Database, op: str, filters: Mapping[str, str | None]) -> list[Coverage]:
    """The tables of one operation; see `Store.coverage`."""
    if op not in OPERATIONS:
        raise UnknownNameError.of("operation", op, OPERATIONS)
    x, y = _axes(op)
    wanted = {name: value for name, value in filters.items() if value is not None}
    where = " AND ".join(["op = ?", *(f"{name} = ?" for name in wanted)])
    with database.reading() as connection:
        rows = _bins(connection, x, y, where, [op, *wanted.values()])
    tables: dict[tuple[str | None, ...], dict[tuple[int, int] | None, int]] = {}
    for *table, a, b, n in rows:
        place = None if a is None or b is None else (int(a), int(b))
        bins = tables.setdefault(tuple(table), {})
        bins[place] = bins.get(place, 0) + int(n)
    return [
        Coverage(
            dict(zip((*_TABLE, "op"), (*table, op), strict=True)),
            x.replace(" * ", "·"),
            y.replace(" * ", "·"),
            sum(bins.values()),
            {place: n for place, n in bins.items() if place is not None},
        )
        for table, bins in tables.items()
    ]


def _axes(op: str) -> tuple[str, str]:
    arguments = set(OPERATIONS[op].arguments)
    found = next(((x, y) for needed, x, y in _AXES if needed <= arguments), None)
    if found is None:
        raise InputError.at(f"operation {op}", "it has no two sizes to draw", "another operation")
    return found


def _bins(connection: Connection, x: str, y: str, where: str, given: list[str]) -> list[tuple[Any, ...]]:
    return connection.execute(
        f"""SELECT {", ".join(_TABLE)}, {_bin(x)} AS a, {_bin(y)} AS b, count(*)
            FROM op_measurements WHERE {where} GROUP BY ALL ORDER BY {", ".join(_TABLE)}, a, b""",
        given,
    ).fetchall()


def _bin(formula: str) -> str:
    """SQL of the power of two below a formula of whole numbers, NULL where it is not positive; sums skip unknowns."""
    terms = formula.split(" + ")
    value = " + ".join(f"coalesce({term}, 0)::DOUBLE" for term in terms) if len(terms) > 1 else _product(formula)
    return f"CASE WHEN {value} > 0 THEN floor(log2({value}))::INTEGER END"


def _product(formula: str) -> str:
    # as whole numbers the product of two sizes may overflow
    return " * ".join(f"{factor}::DOUBLE" for factor in formula.split(" * "))
