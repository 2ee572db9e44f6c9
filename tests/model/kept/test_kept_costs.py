"""Step costs and packed tables kept on disk: the same steps and warnings without asking, anew for other tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.kept.costs import kept_costs, say_of
from model.steps.layers import Sharding
from model.steps.overheads import overheads
from model.steps.tabulate import StepModel
from model.tables.library import Tables
from model.tables.said import listening, say
from perfdb.operations import OperationTable

Build = Callable[..., Tables]
M = 2.0 ** np.arange(0, 13)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "servecast" / "kept"


class Counted:
    """Tables of a database of some identity, and how often they were read."""

    def __init__(self, build: Build, identity: str | None, version: str = "0.24.0") -> None:
        said = {"op": "gemm", "engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16"}
        part: dict[str, Any] = {**said, "m": M, "n": 4096.0, "k": 4096.0, "latency_s": 1e-5 + 1e-8 * M}
        made, self.reads = build(part, version=version), 0

        def fetch(**key: str | None) -> OperationTable:
            self.reads += 1
            return made.fetch(**key)

        self.tables = Tables(made.platform, "vllm", version, made.sets, fetch, identity=identity)

    def steps(self, tp: int = 1) -> StepModel:
        model = resolve_model("meta-llama/Llama-3.1-8B")
        return StepModel(self.tables, model, Sharding(tp), "bf16", "bf16", "bf16", overheads("vllm"))


def test_the_second_process_gets_the_same_steps_without_reading(build_tables: Build) -> None:
    first, second = (Counted(build_tables, "db") for _ in range(2))
    (one, _), (other, _) = (kept_costs(counted.steps(), 64, 16) for counted in (first, second))
    assert (first.reads > 0, second.reads) == (True, 0)
    for mine, yours in zip([*one[:8], *one.apart], [*other[:8], *other.apart], strict=True):
        np.testing.assert_array_equal(mine, yours)
    assert type(other.step) is float


def test_another_config_or_state_of_the_tables_is_asked_anew(build_tables: Build) -> None:
    first = kept_costs(Counted(build_tables, "db").steps(), 64, 16)[0]
    divided = kept_costs(Counted(build_tables, "db").steps(tp=2), 64, 16)[0]
    assert divided.tokens[64] < first.tokens[64]
    assert len(kept_costs(Counted(build_tables, "db").steps(), 128, 16)[0].tokens) == 129
    changed = Counted(build_tables, "db, changed")
    kept_costs(changed.steps(), 64, 16)
    assert changed.reads > 0


def test_what_stands_in_is_said_again_by_kept_steps(build_tables: Build) -> None:
    sentence = "nothing of vllm 0.23.0 on h200_sxm was measured: tables of vllm 0.24.0, the nearest version, stand in"
    for _ in range(2):
        with listening() as early:
            steps = Counted(build_tables, "db", "0.23.0").steps()
            told = kept_costs(steps, 64, 16)
        assert early == set()
        assert steps.tables.warnings == {("", "", None): sentence}
        for _ in range(2):
            with listening() as said:
                assert say_of(told) is told[0]
            assert said == {sentence}


def test_without_an_identity_nothing_is_kept(build_tables: Build, folder: Path) -> None:
    for _ in range(2):
        counted = Counted(build_tables, None)
        kept_costs(counted.steps(), 64, 16)
        assert counted.reads > 0
    assert not folder.exists()


def test_packed_tables_answer_as_those_that_were_read(build_tables: Build) -> None:
    m = np.array([1.0, 3.0, 700.0, 1e5])
    first, second, plain = (Counted(build_tables, identity) for identity in ("db", "db", None))
    answers = [counted.tables.query_gemm("bf16", m, 4096, 4096) for counted in (first, second, plain)]
    assert [counted.reads for counted in (first, second, plain)] == [1, 0, 1]
    for answer in answers[1:]:
        for name in ("latency_s", "rel_sd", "code"):
            np.testing.assert_array_equal(getattr(answer, name), getattr(answers[0], name))


def test_a_table_without_usable_rows_is_kept_as_none(build_tables: Build) -> None:
    for reads in (1, 0):
        counted = Counted(build_tables, "db")
        asked = counted.tables
        empty = Tables(asked.platform, "vllm", "0.24.0", asked.sets, _nothing_of(counted), identity="db")
        assert empty.query_gemm("bf16", 1, 1, 1).provenance == ["roofline"]
        assert counted.reads == reads


def _nothing_of(counted: Counted) -> Callable[..., OperationTable]:
    def fetch(**key: str | None) -> OperationTable:
        return counted.tables.fetch(**key).where(m=-1.0)

    return fetch


def test_each_question_hears_what_it_asked_for(build_tables: Build) -> None:
    """By number format, and the second time as the first."""
    tables = Counted(build_tables, None, "0.23.0").tables
    for _ in range(2):
        with listening() as outer:
            with listening() as own:
                tables.query_gemm("fp8", 1, 2, 3)
            tables.query_gemm("bf16", 1, 2, 3)
        assert [len(own), len(outer)] == [2, 1]  # what fp8 has instead, and that the version was never measured
        assert len(own & outer) == 1
    assert {key[:2] for key in tables.warnings} == {("", ""), ("gemm", "fp8")}


def test_what_kept_costs_say_is_not_said_again_by_their_tables(build_tables: Build) -> None:
    first, second = (Counted(build_tables, "db") for _ in range(2))
    for counted in (first, second):
        steps = replace(counted.steps(), weight_dtype="fp8")
        with listening() as said:
            kept_costs(steps, 64, 16)
            counted.tables.query_gemm("fp8", 1, 2, 3)
        assert [text.count("stands in") for text in said] == [1]
        assert list(counted.tables.warnings.values()) == list(said)


def test_nobody_has_to_listen() -> None:
    say(["to nobody"])
    with listening() as heard:
        say(["a", "b"])
        say(["a"])
    assert heard == {"a", "b"}
