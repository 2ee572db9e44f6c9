"""Path patterns: what they match, and what they take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.importers.folder import import_paths
from perfdb.importers.frompath import PathPattern
from perfdb.importers.options import ImportOptions
from perfdb.store import Store

RUN = {
    "model_id": "Qwen/Qwen3-8B", "num_prompts": 10, "request_rate": "inf", "max_concurrency": 4, "duration": 20.0,
    "completed": 10, "request_throughput": 0.5, "median_ttft_ms": 70.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        (
            "{_}_vllm_tp{tp}_isl{isl}_osl{osl}_conc{concurrency}.json",
            "x/glm5_fp8_vllm_tp8_isl10240_osl128_conc16.json",
            {"tp": "8", "isl": "10240", "osl": "128", "concurrency": "16"},
        ),
        ("run_{_}_TP{tp}_DP{dp}_C{concurrency}", "run_1_TP4_DP2_C100", {"tp": "4", "dp": "2", "concurrency": "100"}),
        # T5: in one scheme "itl5000" is the input token length
        ("itl{isl}_otl{osl}.json", "a/b/itl5000_otl200.json", {"isl": "5000", "osl": "200"}),
        ("{platform}/{_}/tp{tp}.csv", "/data/h100/any/tp2.csv", {"platform": "h100", "tp": "2"}),
        ("tp{tp}.json", "run_tp2.json", None),
        ("{platform}/{_}/{_}/tp{tp}.csv", "tp2.csv", None),
        (r"re:tp(?P<tp>\d+).*-x(?P<config__rope>\w+)", "/a/tp4/z-xyarn.json", {"tp": "4", "config.rope": "yarn"}),
    ],
)
def test_patterns(pattern: str, path: str, found: dict[str, str] | None) -> None:
    assert PathPattern.parse(pattern).match(Path("/root") / path) == found


@given(tp=st.integers(1, 512), isl=st.integers(1, 10**6), name=st.from_regex(r"[A-Za-z0-9.-]{1,12}", fullmatch=True))
def test_what_was_written_into_a_name_is_read_from_it(tp: int, isl: int, name: str) -> None:
    pattern = PathPattern.parse("{_}_tp{tp}_isl{isl}.json")
    assert pattern.match(Path(f"/d/{name}_tp{tp}_isl{isl}.json")) == {"tp": str(tp), "isl": str(isl)}


def test_what_looks_like_an_expression_is_text() -> None:
    pattern = PathPattern.parse("a+b(c)_{tp}.json")
    assert pattern.match(Path("/a+b(c)_2.json")) == {"tp": "2"}
    assert pattern.match(Path("/aab(c)_2.json")) is None


def test_parameters_from_the_path(store: Store, folder: Path) -> None:
    """T17."""
    for concurrency in (4, 8):
        (folder / f"m_vllm_tp8_isl1024_osl128_conc{concurrency}.json").write_text(
            json.dumps(RUN | {"max_concurrency": concurrency})
        )
    (folder / "other.json").write_text(json.dumps(RUN))
    options = ImportOptions(
        set={"hardware": "H200", "engine": "vllm"},
        from_path="{_}_vllm_tp{tp}_isl{isl}_osl{osl}_conc{concurrency}.json",
    )
    report = import_paths(store, [folder], options)
    assert (report.files, report.stored) == (2, 2)
    assert "does not fit --from-path" in report.skipped[0][1]
    rows = store.sql(
        "SELECT platform, devices, config, isl, osl, concurrency FROM operating_points ORDER BY concurrency"
    ).rows
    assert [list(row) for row in rows] == [
        ["h200_sxm", 8, '{"tensor_parallel_size":8}', 1024.0, 128.0, concurrency] for concurrency in (4, 8)
    ]


def test_what_the_path_says_wins_aloud(store: Store, folder: Path) -> None:
    (folder / "run_C64.json").write_text(json.dumps(RUN))
    report = import_paths(store, [folder], ImportOptions(from_path="run_C{concurrency}.json"))
    assert store.sql("SELECT concurrency FROM operating_points").rows[0][0] == 64
    assert any("max_concurrency" in text and "the path was taken" in text for text in report.warnings)
