"""Path patterns: what they match, and what they take."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.importers.frompath import PathPattern


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
