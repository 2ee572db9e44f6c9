"""Rows of tables as numbers: which are usable, and which of several implementations counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from model.tables.kernels import ALL_HEADS, ALL_REDUCE, EXPERTS, GEMM, GENERATION
from model.tables.rows import measured_rows
from perfdb.operations import OperationTable

Rows = Callable[[Mapping[str, Any]], OperationTable]


def gemm(**columns: Any) -> dict[str, Any]:
    return {"m": [1.0, 2.0], "n": 8.0, "k": 8.0, "latency_s": [1e-6, 2e-6], **columns}


def test_of_several_implementations_the_captured_one_counts(table_rows: Rows) -> None:
    said = {"devices": 2.0, "elements": [8.0, 8.0, 16.0], "dtype": "bf16", "latency_s": [9e-6, 3e-6, 4e-6]}
    kernels = np.array(["vllm_eager", "vllm_graph", "vllm_eager"], dtype=object)
    rows = measured_rows(table_rows({**said, "kernel": kernels}), ALL_REDUCE)
    assert rows.seconds.tolist() == [3e-6, 4e-6]
    assert rows.arguments[0].tolist() == [16.0, 32.0]


def test_of_several_implementations_of_a_place_the_most_measured_counts(table_rows: Rows) -> None:
    kernels = np.array(["rare", "usual", "usual", "usual", "rare"], dtype=object)
    table = table_rows(gemm(m=[1.0, 1, 2, 3, 4], latency_s=[5e-6, 1e-6, 2e-6, 3e-6, 9e-6], kernel=kernels))
    rows = measured_rows(table, GEMM)
    assert dict(zip(rows.arguments[0].tolist(), rows.seconds.tolist(), strict=True)) == {
        1: 1e-6,
        2: 2e-6,
        3: 3e-6,
        4: 9e-6,
    }


@pytest.mark.parametrize("broken", [{"m": [1.0, np.nan]}, {"latency_s": [1e-6, 0.0]}, {"latency_s": [1e-6, np.inf]}])
def test_incomplete_rows_are_left_out(table_rows: Rows, broken: dict[str, Any]) -> None:
    rows = measured_rows(table_rows(gemm(**broken)), GEMM)
    assert rows.seconds.tolist() == [1e-6]
    assert rows.keys.shape == (1, 0)


def test_a_message_is_as_long_as_its_bytes_or_its_numbers(table_rows: Rows) -> None:
    dtypes = np.array(["fp16", "int8", "fp16"], dtype=object)
    table = table_rows(
        {"devices": 2.0, "elements": 8.0, "dtype": dtypes, "bytes": [np.nan, np.nan, 5.0], "latency_s": 1e-6}
    )
    assert measured_rows(table, ALL_REDUCE).arguments[0].tolist() == [16.0, 8.0, 5.0]


@pytest.mark.parametrize(
    ("name", "exponent"), [("power_law_1.2", 1.2), ("power_law_1.01", 1.01), ("balanced", 0.0), (None, 0.0)]
)
def test_distributions_are_exponents(table_rows: Rows, name: str | None, exponent: float) -> None:
    said = {"hidden": 8.0, "inter": 8.0, "topk": 2.0, "experts": 4.0, "tokens": [1.0], "latency_s": 1e-6}
    rows = measured_rows(table_rows({**said, "distribution": np.array([name], dtype=object)}), EXPERTS)
    assert rows.keys.tolist() == [[8, 8, 2, 4, 1, 1, exponent]]


def test_decoding_counts_its_new_token_and_no_window_is_none(table_rows: Rows) -> None:
    said = {"heads": [8.0, 4.0], "kv_heads": [2.0, 4.0], "head_dim": 128.0, "batch_size": 1.0, "prefix": 127.0}
    rows = measured_rows(table_rows({**said, "isl": 1.0, "latency_s": 1e-6}), GENERATION)
    assert rows.arguments[2].tolist() == [128.0, 128.0]
    assert rows.keys.tolist() == [[128, 0, 2], [128, 0, ALL_HEADS]]


def test_heads_of_their_own_end_the_slice_of_their_number(table_rows: Rows) -> None:
    said = {"heads": [8.0, 4.0], "kv_heads": [4.0, 4.0], "head_dim": 128.0, "batch_size": 1.0, "prefix": 127.0}
    rows = measured_rows(table_rows({**said, "isl": 1.0, "latency_s": [1e-6, 2e-6]}), GENERATION)
    found = {
        (key[2], heads): s for key, heads, s in zip(rows.keys.tolist(), rows.arguments[0], rows.seconds, strict=True)
    }
    assert found == {(4.0, 8.0): 1e-6, (ALL_HEADS, 4.0): 2e-6, (4.0, 4.0): 2e-6}


def test_of_several_implementations_of_experts_the_fastest_counts(table_rows: Rows) -> None:
    said = {"hidden": 8.0, "inter": 8.0, "topk": 2.0, "experts": 4.0, "tokens": [1.0, 1, 2, 2, 4]}
    kernels = np.array(["plain", "quick", "plain", "quick", "plain"], dtype=object)
    rows = measured_rows(table_rows({**said, "latency_s": [4e-6, 2e-6, 4e-6, 5e-6, 6e-6], "kernel": kernels}), EXPERTS)
    assert dict(zip(rows.arguments[0].tolist(), rows.seconds.tolist(), strict=True)) == {1: 2e-6, 2: 4e-6, 4: 6e-6}
