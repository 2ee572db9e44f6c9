"""From what a person says to shapes, formats and seconds; from times to what a person reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from perfdb.errors import InputError
from runner.collect.cases import Case, grid_named
from runner.collect.journal import Timed
from runner.collect.run import Collected
from servecast.kernels.collecting import (
    check_places,
    document_of,
    number_formats,
    say_collected,
    seconds_of,
    shapes_of,
    threads_of,
    watch,
    with_models,
)

DENSE = ["llama-3.1-8b", "qwen3-8b", "llama-3.1-70b", "mistral-7b"]
GRID = grid_named("cuda", "small")


def timed(op: str = "gemm", dtype: str = "bf16", spread: float = 0.02, error: str | None = None) -> Timed:
    answer: dict[str, Any] = {"error": error} if error else {"latency_s": 2e-4, "spread": spread, "outliers": 0}
    return Timed({"op": op, "dtype": dtype}, answer, 1.8e9, 0.5)


@given(st.lists(st.sampled_from(DENSE), min_size=1, unique=True), st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1))
def test_shapes_of_several_models_are_those_of_each(models: list[str], shares: list[int]) -> None:
    """Each once, whole; the weights of a layer's products are those of the model, divided."""
    found = with_models(GRID, models, shares)
    each = [with_models(GRID, [name], [tp]) for name in models for tp in shares]
    assert len(set(found.products)) == len(found.products)
    assert set(found.products) == {shape for grid in each for shape in grid.products}
    assert set(found.heads) == {shape for grid in each for shape in grid.heads}
    assert (found.m, found.isl, found.cached) == (GRID.m, GRID.isl, GRID.cached)


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("tp", [1, 2, 8])
def test_the_products_of_a_layer_hold_all_of_its_weights(name: str, tp: int) -> None:
    """qkv, output, up and gate, and down projections; the output matrix of the model comes last."""
    model = resolve_model(name)
    *layer, head = with_models(GRID, [name], [tp]).products
    weights = model.attention_params + model.dense_mlp_params
    assert tp * sum(n * k for n, k in layer) == weights
    assert tp * head[0] * head[1] == model.vocab * model.hidden


@pytest.mark.parametrize(
    ("models", "tp", "said"),
    [
        (None, "2", "--tp: no --models beside it; expected both, or neither"),
        ("", None, "--models: '' holds an empty name"),
        ("llama-3.1-8b,", None, "--models: 'llama-3.1-8b,' holds an empty name"),
        ("llama-3.1-8b", "1,true", "--tp: '1,true'; expected numbers of devices, such as 1,2,4,8"),
        ("llama-3.1-8b", "1.5", "--tp: '1.5'; expected numbers of devices"),
    ],
)
def test_shapes_that_cannot_be_meant_are_refused(models: str | None, tp: str | None, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        shapes_of("cpu", "tiny", models, tp)


def test_without_models_the_shapes_are_the_grids() -> None:
    assert shapes_of("cpu", "tiny", None, None) == grid_named("cpu", "tiny")
    four = shapes_of("cpu", "tiny", "llama-3.1-8b, qwen3-8b", None)
    assert four == with_models(grid_named("cpu", "tiny"), ["llama-3.1-8b", "qwen3-8b"], [1, 2, 4, 8])


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (("cpu", Path(), "python", None), "--out: it is empty"),
        (("cpu", Path("o"), " ", None), "--python: it is empty"),
        (("cpu", Path("o"), "python", ""), "--platform: it is empty"),
        (("cpu", Path("o"), "python", "h100_sxm"), "--platform: h100_sxm is no CPU device"),
        (("cuda", Path("o"), "python", "local"), "--platform: local is no CUDA device"),
    ],
)
def test_places_that_cannot_be_meant_are_refused(places: tuple[str, Path, str, str | None], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        check_places(*places)
    check_places("cpu", Path("o"), "python", "my cpu/2")
    check_places("cuda", Path("o"), "python", "h200_sxm")


def test_heads_that_do_not_divide_are_left_out() -> None:
    assert with_models(GRID, ["llama-3.1-8b"], [3]).heads == []
    assert with_models(GRID, ["llama-3.1-8b"], [16]).heads == [(2, 1, 128)]


def test_a_folder_with_a_config_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,'
        ' "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 1000}'
    )
    found = with_models(GRID, [str(tmp_path)], [1])
    assert found.products == [(128, 64), (64, 64), (192, 64), (64, 96), (1000, 64)]
    assert found.heads == [(4, 2, 16)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("bf16", ["bf16"]),
        ("BFloat16,half,f32", ["bf16", "fp16", "fp32"]),
        ("fp8_e4m3, q8_0,fp8", ["fp8", "q8_0"]),
    ],
)
def test_formats_are_called_as_everywhere(text: str | None, found: list[str] | None) -> None:
    assert number_formats(text) == found


@pytest.mark.parametrize("text", ["", "bf16,", "bf17", "bf16;fp8"])
def test_what_is_no_format_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no number format; expected one such as"):
        number_formats(text)


def test_a_budget_is_a_time() -> None:
    assert seconds_of(None) == float("inf")
    assert [seconds_of(text) for text in ("90s", "1.5m", "2h")] == [90.0, 90.0, 7200.0]
    for text in ("$4", "0s", "abc", "10", ""):
        with pytest.raises(InputError, match=f"--budget: {re.escape(repr(text))} is no time; expected one such as 90s"):
            seconds_of(text)


def test_there_are_no_more_threads_than_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)), raising=False)
    monkeypatch.setattr("servecast.kernels.collecting.usable_cores", lambda: 3.5)
    assert [threads_of(asked) for asked in (None, 1, 6)] == [3, 1, 6]
    with pytest.raises(InputError, match="--threads: 7; expected 1 to 6"):
        threads_of(7)
    monkeypatch.setattr("servecast.kernels.collecting.usable_cores", lambda: 0.5)
    assert threads_of(None) == 1


def test_progress_is_the_first_case_and_each_new_reason(capsys: pytest.CaptureFixture[str]) -> None:
    said, case = watch(), Case("gemm", "bf16", (("m", 1), ("n", 2), ("k", 3)))
    for number, error in enumerate([None, None, "no memory", "no memory", None, "too odd"], start=1):
        said(number, 6, case, timed(error=error))
    assert capsys.readouterr().err.splitlines() == [
        "[1 of 6] gemm bf16 m=1 n=2 k=3: 200.0 µs ± 2.0%",
        "[3 of 6] gemm bf16 m=1 n=2 k=3: no memory",
        "[6 of 6] gemm bf16 m=1 n=2 k=3: too odd",
    ]


def test_what_came_of_it_is_told_by_operation_and_format(capsys: pytest.CaptureFixture[str]) -> None:
    times = [
        timed(spread=0.01),
        timed(spread=0.03),
        timed(error="odd"),
        timed("context_attention"),
        timed(dtype="fp8", error="x"),
    ]
    found = Collected(Path("t.parquet"), 9, 4, 3, 2, 12.0, times, 0)
    say_collected(found)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:4] == [
        ["context_attention", "bf16", "1", "0", "2.0%"],
        ["gemm", "bf16", "2", "1", "2.0%"],
        ["gemm", "fp8", "0", "1", "-"],
    ]
    assert " ".join(lines[4]).startswith("3 new and 2 measured again in 12 s; spread of the repeats: median 2.0%")
    assert " ".join(lines[5]) == "4 of 9 cases are left; the same command goes on from there"
    document = document_of(found)
    assert (document["measured"], document["refused"], document["missing"], document["new"]) == (3, 2, 4, 3)
    assert document["repeats"] == 2
    assert document["spread"]["p50"] == pytest.approx(0.02)


def test_without_any_time_there_is_no_spread(capsys: pytest.CaptureFixture[str]) -> None:
    found = Collected(None, 2, 2, 0, 0, 0.0, [], 0)
    assert (document_of(found)["table"], document_of(found)["spread"]) == (None, None)
    say_collected(found)
    assert "2 of 2 cases are left" in capsys.readouterr().out
