"""S0.6: the grid of a space, its forms, its constraints, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.errors import InputError, UnknownNameError
from perfdb.facts.engines import Applied
from search.space import ConfigSpace, Parameter

LLAMA = {
    "n_parallel": [1, 2, 4, 8],
    "n_batch": [64, 256, 2048],
    "n_ubatch": [64, 256, 512],
    "kv_type": ["f16", "q8_0"],
    "threads": [None, 1, 2],
}


def test_s0_6_324_configs_in_the_order_of_nested_loops():
    forms = {"tp": [1, 2, 4], "pp": [1, 2], "batch": [1, 2, 4, 8, 16, 32], "q": ["fp16", "fp8", "int4"], "c": [0, 1, 2]}
    grid = ConfigSpace.of(forms).grid()
    assert len(grid) == 324
    expected = [dict(zip(forms, row, strict=True)) for row in itertools.product(*forms.values())]
    assert [dict(grid.config(row)) for row in range(324)] == expected


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ([1, 2], (1, 2)),
        ([1, True, 1], (1, True)),
        ("fp8", ("fp8",)),
        ([], (None,)),
        ({}, (None,)),
        ({"choice": ["a", "b"]}, ("a", "b")),
        ({"type": "categorical", "values": [1, None]}, (1, None)),
        ({"type": "boolean"}, (False, True)),
        ({"type": "integer", "low": 1, "high": 16, "levels": 5, "log": True}, (1, 2, 4, 8, 16)),
        ({"type": "integer", "low": 1, "high": 3}, (1, 2, 3)),
        ({"type": "continuous", "low": 0.5, "high": 0.9, "levels": 3}, (0.5, 0.7, 0.9)),
    ],
)
def test_s2_3_forms_of_a_parameter(form, values):
    parameter = Parameter.of("p", form)
    assert parameter.values == values
    assert [type(value) for value in parameter.values] == [type(value) for value in values]


def test_applied_is_declared_beside_the_values():
    assert Parameter.of("cache_prompt", {"values": [True], "applied": "request"}).applied is Applied.REQUEST
    assert Parameter.of("tp", [1]).applied is Applied.RESTART


@pytest.mark.parametrize(
    "form",
    [
        {"type": "integer", "low": 4, "high": 1},
        {"type": "continuous", "low": 0, "high": 1, "log": True},
        {"type": "integer", "low": 1},
        {"type": "odd"},
        {"values": [1], "applied": "never"},
        [[1, 2]],
    ],
)
def test_a_wrong_form_names_the_parameter(form):
    with pytest.raises(InputError, match="parameter tp"):
        Parameter.of("tp", form)


CASES = {
    "n_ubatch <= n_batch": lambda c: c["n_ubatch"] <= c["n_batch"],
    "kv_type == 'f16' or n_parallel > 1": lambda c: c["kv_type"] == "f16" or c["n_parallel"] > 1,
    "not (n_parallel * 64 > n_batch)": lambda c: c["n_parallel"] * 64 <= c["n_batch"],
    "64 <= n_ubatch < 512 and kv_type in ('f16', 'q4')": lambda c: c["n_ubatch"] < 512 and c["kv_type"] == "f16",
    "threads is None or threads <= n_parallel": lambda c: c["threads"] is None or c["threads"] <= c["n_parallel"],
    "threads <= n_parallel": lambda c: c["threads"] is not None and c["threads"] <= c["n_parallel"],
    "threads > 1 or n_parallel == 1": lambda c: (c["threads"] or 0) > 1 or c["n_parallel"] == 1,
    "min(n_batch, 256) == n_ubatch": lambda c: min(c["n_batch"], 256) == c["n_ubatch"],
    "n_batch // n_ubatch % 2 == 0 if n_parallel > 1 else abs(-n_batch) == 64": lambda c: (
        c["n_batch"] // c["n_ubatch"] % 2 == 0 if c["n_parallel"] > 1 else c["n_batch"] == 64
    ),
}


@given(st.lists(st.sampled_from(list(CASES)), max_size=3))
def test_s0_6_constraints_keep_what_python_would(texts):
    space = ConfigSpace.of(LLAMA, texts)
    rows = [dict(zip(LLAMA, row, strict=True)) for row in itertools.product(*LLAMA.values())]
    expected = [row for row in rows if all(CASES[text](row) for text in texts)]
    assert space.counts() == (216, len(expected))
    if expected:
        grid = space.grid()
        assert [dict(grid.config(row)) for row in range(len(grid))] == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tp <> 2", "column 4: cannot be read"),
        ("", "cannot be read"),
        ("tp.real", "column 1: Attribute is not allowed"),
        ("__import__('os')", "only abs, max, min can be called"),
        ("tp and [x for x in tp]", "column 8: ListComp is not allowed"),
        ("(lambda: 1)()", "can be called"),
        ("tp ** 9 ** 9 ** 9", "Pow is not allowed"),
        ("b'x' == tp", "the literal b'x' is not allowed"),
        ("tp < 'a'", "cannot be worked out for tp=1"),
        ("'a' * tp == 'a'", "'a' is not a number"),
        ("tp / 0 > 1", "cannot be worked out"),
        ("~tp", "this sign is not allowed"),
        ("(" * 500 + "tp" + ")" * 500, "cannot be read"),
    ],
)
def test_a_wrong_constraint_is_named_with_its_place(text, said):
    with pytest.raises(InputError) as caught:
        ConfigSpace.of({"tp": [1, 2]}, [text]).grid()
    assert said in str(caught.value)
    assert repr(text) in str(caught.value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UnknownNameError, match=r"'nubatch', column 1: 'nubatch' \(did you mean n_ubatch, n_batch\?\); known: n_b"
    ):
        ConfigSpace.of({"n_ubatch": [1], "n_batch": [2]}, ["nubatch"])


def test_nothing_left_and_too_much_are_said():
    with pytest.raises(InputError, match="no combination satisfies 'tp > 9'"):
        ConfigSpace.of({"tp": [1, 2]}, ["tp > 9"]).grid()
    with pytest.raises(InputError, match=r"1,000,000,000 combinations \(10 p0 × 10 p1"):
        ConfigSpace.of({f"p{i}": list(range(10)) for i in range(9)})
    with pytest.raises(InputError, match="the parameter tp stands twice"):
        ConfigSpace((Parameter("tp", (1,)), Parameter("tp", (2,))))


def test_columns_keep_their_type():
    grid = ConfigSpace.of({"a": [1, 2], "b": [True, False], "c": [0.5, 1], "d": ["x"], "e": [None, 1]}).grid()
    assert [column.dtype for column in grid.columns.values()] == [np.int64, bool, np.float64, object, object]


def test_no_parameters_are_one_config():
    assert ConfigSpace(()).counts() == (1, 1)
