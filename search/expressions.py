"""Constraints in words: a safe boolean expression over parameter names, such as "tp * pp <= 8".

The text is parsed, never executed: names, literals, comparisons, arithmetic, and/or/not/in, a conditional and the
functions min, max and abs are all that is known. An order or a sum with None ("not set") holds for no config; ask for
it by name ("threads is None or threads <= 8").
"""

from __future__ import annotations

import ast
import itertools
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from perfdb.errors import InputError, UnknownNameError
from perfdb.records import Scalar

Row = Mapping[str, Scalar]
Term = Callable[[Row], Any]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "max": max, "min": min}
_RIGHT = 'a condition such as "n_ubatch <= n_batch" or "kv_type == \'f16\' or n_parallel > 1"'


class _MissingError(Exception):
    """An order or a sum met None."""


@dataclass(frozen=True)
class Constraint:
    """One boolean expression; `text` is as the user wrote it, `names` the parameters that it mentions, in order."""

    text: str
    names: tuple[str, ...]
    _term: Term

    @classmethod
    def parse(cls, text: str, known: Collection[str]) -> Constraint:
        """Read and check an expression over the parameters `known`.

        Raises:
            InputError: it is no expression, or holds what is not allowed; the message says where.
            UnknownNameError: it mentions a parameter that is not known.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            builder = _Builder(text.strip(), known)
            return cls(text, (), builder.term(tree))._with(builder.mentioned)
        except SyntaxError as error:
            raise InputError.at(f"constraint {text!r}, column {error.offset or 1}", "cannot be read", _RIGHT) from None
        except (ValueError, RecursionError, MemoryError):
            raise InputError.at(f"constraint {text!r}", "cannot be read", _RIGHT) from None

    def _with(self, names: dict[str, None]) -> Constraint:
        return Constraint(self.text, tuple(names), self._term)

    def holds(self, row: Row) -> bool:
        """Whether a config satisfies it; `row` has a value, perhaps None, for every one of `names`.

        Raises:
            InputError: the values do not fit the operation, as in text < number.
        """
        try:
            return bool(self._term(row))
        except _MissingError:
            return False
        except (TypeError, ValueError, ArithmeticError) as error:
            values = ", ".join(f"{name}={row[name]!r}" for name in self.names)
            raise InputError.at(
                f"constraint {self.text!r}", f"cannot be worked out for {values} ({error})", _RIGHT
            ) from None


class _Builder:
    """Turns a checked syntax tree into closures; every kind of node that has no method here is refused."""

    def __init__(self, text: str, known: Collection[str]) -> None:
        self._text = text
        self._known = known
        self.mentioned: dict[str, None] = {}

    def term(self, node: ast.expr) -> Term:
        """The function that works `node` out for a row."""
        build: Callable[[Any], Term] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if build is None:
            raise self._refused(node, f"{type(node).__name__} is not allowed")
        return build(node)

    def _refused(self, node: ast.AST, what: str) -> InputError:
        column = getattr(node, "col_offset", 0) + 1
        return InputError.at(f"constraint {self._text!r}, column {column}", what, _RIGHT)

    def _name(self, node: ast.Name) -> Term:
        name = node.id
        if name not in self._known:
            kind = f"parameter in constraint {self._text!r}, column {node.col_offset + 1}:"
            raise UnknownNameError.of(kind, name, self._known)
        self.mentioned[name] = None
        return lambda row: row[name]

    def _constant(self, node: ast.Constant) -> Term:
        value = node.value
        if not isinstance(value, str | int | float | bool | None):
            raise self._refused(node, f"the literal {value!r} is not allowed")
        return lambda row: value

    def _tuple(self, node: ast.Tuple | ast.List | ast.Set) -> Term:
        items = [self.term(item) for item in node.elts]
        return lambda row: [item(row) for item in items]

    _list = _set = _tuple

    def _boolop(self, node: ast.BoolOp) -> Term:
        # A part with None is false by itself, so that "a > 1 or b > 1" still holds where only a is not set.
        parts = [_settled(self.term(part)) for part in node.values]
        join = all if isinstance(node.op, ast.And) else any
        return lambda row: join(part(row) for part in parts)

    def _unaryop(self, node: ast.UnaryOp) -> Term:
        operand = self.term(node.operand)
        if isinstance(node.op, ast.Not):
            return lambda row: not operand(row)
        if isinstance(node.op, ast.USub):
            return lambda row: -_present(operand(row))
        raise self._refused(node, "this sign is not allowed")

    def _binop(self, node: ast.BinOp) -> Term:
        left, right = self.term(node.left), self.term(node.right)
        apply = _ARITHMETIC.get(type(node.op))
        if apply is None:
            raise self._refused(node, f"{type(node.op).__name__} is not allowed")
        return lambda row: apply(_number(left(row)), _number(right(row)))

    def _compare(self, node: ast.Compare) -> Term:
        terms = [self.term(node.left), *(self.term(item) for item in node.comparators)]
        kinds = [type(op) for op in node.ops]

        def compare(row: Row) -> bool:
            values = [term(row) for term in terms]
            return all(_holds(kind, *pair) for kind, pair in zip(kinds, itertools.pairwise(values), strict=True))

        return compare

    def _ifexp(self, node: ast.IfExp) -> Term:
        test, yes, no = (self.term(part) for part in (node.test, node.body, node.orelse))
        return lambda row: yes(row) if test(row) else no(row)

    def _call(self, node: ast.Call) -> Term:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _FUNCTIONS or node.keywords or len(node.args) < (1 if name == "abs" else 2):
            raise self._refused(node, f"only {', '.join(_FUNCTIONS)} can be called, with values")
        arguments = [self.term(argument) for argument in node.args]
        return lambda row: _FUNCTIONS[name](*(_number(argument(row)) for argument in arguments))


def _settled(term: Term) -> Term:
    def settled(row: Row) -> bool:
        try:
            return bool(term(row))
        except _MissingError:
            return False

    return settled


def _present(value: Any) -> Any:
    if value is None:
        raise _MissingError
    return value


def _number(value: Any) -> Any:
    """The value if it can be reckoned with: text times a number would be a very long text."""
    if not isinstance(_present(value), int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


def _holds(kind: type[ast.cmpop], left: Any, right: Any) -> bool:
    if kind in _COMPARE:
        return bool(_COMPARE[kind](left, right))
    return bool(_ORDER[kind](_present(left), _present(right)))
