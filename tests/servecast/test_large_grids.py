"""Questions about more configs than are predicted at once."""

from __future__ import annotations

from pathlib import Path

import pytest

import servecast.predicting.whatif as asking
from perfdb.records import Arrival, Workload
from perfdb.store import Store
from servecast.predicting.whatif import WhatIf, whatif
from servecast.slo import Slo

SETS = {"tensor_parallel_size": (1, 2), "max_num_seqs": tuple(range(8, 24)), "enforce_eager": (True, False)}
BOUND = (Slo.parse("tpot_s<0.02"),)


@pytest.mark.parametrize("slos", [(), BOUND])
def test_in_parts_the_best_rows_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slos: tuple[Slo, ...]
) -> None:
    load = Workload(512, 128, Arrival.CLOSED, 16)
    question = WhatIf("meta-llama/Llama-3.1-8B", "h100_sxm", "vllm:0.24.0", load, SETS)
    store = Store(tmp_path / "a.duckdb")
    whole = whatif(question, store, explained=True, most=10, slos=slos)
    monkeypatch.setattr(asking, "_AT_ONCE", 16)
    monkeypatch.setattr(asking, "_PART", 7)
    parts = whatif(question, store, explained=True, most=10, slos=slos)
    assert len(parts["rows"]) == 10
    assert {**parts, "cpu_s": 0} == {**whole, "cpu_s": 0}
