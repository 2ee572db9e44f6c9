"""Ask and tell: what is suggested, and which reports are refused before anything is stored."""

from __future__ import annotations

import pytest

from perfdb.errors import InputError, UnknownNameError
from perfdb.store import Store
from servecast.tuning.ask import Report, record_reports, suggestions
from servecast.tuning.budget import Budget
from servecast.tuning.open_task import open_tuning


def test_several_suggestions_are_distinct_and_carry_commands(task_file, tmp_path):
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    asked = suggestions(tuning, Budget.parse("8"), 4)["suggestions"]
    assert len({str(s["config"]) for s in asked}) == 4
    assert asked[0]["selection_reason"] == "baseline"
    assert asked[0]["command"].endswith("--max-num-seqs 1")


@pytest.mark.parametrize(
    ("config", "metrics", "error"),
    [
        ({"max_num_seqs": 3}, {"ttft_s": 1}, InputError),
        ({"speed": 3}, {"ttft_s": 1}, UnknownNameError),
        (None, {"ttft_s": 1}, InputError),
    ],
)
def test_a_wrong_record_stores_nothing(task_file, tmp_path, config, metrics, error):
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    whole = {"max_num_seqs": 1, "max_num_batched_tokens": 256, "enable_chunked_prefill": True}
    with pytest.raises(error):
        record_reports(tuning, [Report.of("test", {**whole, **(config or {})}, metrics, None)])
    assert tuning.experiments() == []


def test_recording_a_config_again_is_a_replicate(task_file, tmp_path):
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    config = {"max_num_seqs": 2, "max_num_batched_tokens": 256, "enable_chunked_prefill": True}
    metrics = {"output_tps": 100.0, "ttft_s": 1.0, "tpot_s": 0.01}
    for _ in range(2):
        record_reports(tuning, [Report.of("test", config, metrics, None)])
    assert [e.selection_reason for e in tuning.experiments()] == ["user", "replicate"]


@pytest.mark.parametrize(
    ("metrics", "wall_s"),
    [
        ({"ttft_s": 0}, 1),
        ({"ttft_s": 1e300}, 1),
        ({"ttft_s": float("nan")}, 1),
        ({"ttft_s": "x"}, 1),
        ({"ttft_s": 1}, 1e13),
    ],
)
def test_nonsense_is_not_recorded(metrics, wall_s):
    with pytest.raises(InputError, match="here: "):
        Report.of("here", {}, metrics, None, wall_s=wall_s)
