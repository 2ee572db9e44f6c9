"""The page of `whatif`: which points there are, how they are marked, what they say, and what stands below them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from questions import POINT, WHATIF

from perfdb.errors import InputError
from servecast.output import config_text, folded_widths, print_table
from servecast.predicting.disagg_text import unit_texts
from servecast.report.whatif_page import write_whatif_page


def around(mean: float) -> dict[str, float]:
    return {"mean": mean, "lo": mean / 2, "hi": mean * 3}


def row(config: dict[str, Any], tpot: float, tps: float, **more: Any) -> dict[str, Any]:
    numbers = {"tpot_s": around(tpot), "ttft_s": around(tpot * 10), "output_tps_per_gpu": around(tps)}
    return {"config": config, "feasible": True, **numbers, "provenance": "roofline", **more}


def agg(config: dict[str, Any], tpot: float, tps: float, **more: Any) -> dict[str, Any]:
    own = {"mode": "agg", "platform": "h100_sxm", "replicas": 4, "gpus": 8, "left_over": 0}
    return {**own, **row(config, tpot, tps), **more}


def disagg(tp: int, tpot: float, tps: float, **more: Any) -> dict[str, Any]:
    sides = {
        "prefill": {"config": {}, "workers": 2, "platform": "h100_sxm"},
        "decode": {"config": {"tensor_parallel_size": tp}, "workers": 1, "platform": "h100_sxm"},
    }
    plain = row({}, tpot, tps)
    del plain["config"]
    return {"mode": "disagg", "replicas": 2, "gpus": 8, "left_over": 0, **sides, **plain, **more}


BOTH = {
    "mode": "both",
    "slo": ["tpot_s<0.02"],
    "best": {"agg": 100.0, "disagg": 120.0, "ratio": 1.2},
    "link_bytes_s": 50e9,
    "efficiency": 0.9,
    "warnings": ["a stand-in"],
}


@pytest.fixture
def drawn(tmp_path: Path) -> Any:
    """The page's text and the traces of its plots."""

    def draw(answer: dict[str, Any]) -> tuple[str, list[list[dict[str, Any]]]]:
        page = tmp_path / "page.html"
        write_whatif_page(answer, "what was asked", page)
        text = page.read_text()
        found = re.findall(r'Plotly\.newPlot\(\s*"[^"]*",\s*', text)
        starts = [match.end() for match in re.finditer(r'Plotly\.newPlot\(\s*"[^"]*",\s*', text)]
        assert len(found) == 2
        return text, [json.JSONDecoder().raw_decode(text[start:])[0] for start in starts]

    return draw


def names(traces: list[dict[str, Any]]) -> list[str]:
    return [trace["name"] for trace in traces if trace["mode"] == "markers"]


def test_modes_differ_by_their_marks_and_say_which_they_are(drawn):
    rows = [agg({"tensor_parallel_size": 2}, 0.01, 100), disagg(4, 0.012, 120), disagg(1, 0.015, 90)]
    _, (traces, _) = drawn({**BOTH, "rows": [{**entry, "meets_slo": True} for entry in rows]})
    assert names(traces) == ["disagg, dominated (1)", "agg, frontier (1)", "disagg, frontier (1)"]
    marks = {trace["name"]: trace["marker"]["symbol"] for trace in traces if "marker" in trace}
    assert set(marks.values()) == {"circle", "diamond"}
    texts = [trace["text"][0] for trace in traces if "text" in trace]
    assert any("agg: 4 x (tp=2)<br>on 8 GPUs" in text for text in texts)
    assert any("> 1 tp=4)<br>on 8 GPUs" in text and text.startswith("disagg: 2 x (2 defaults") for text in texts)


def test_what_a_bound_excludes_is_hollow_and_never_on_the_frontier(drawn):
    rows = [agg({}, 0.03, 500, meets_slo=False), agg({}, 0.01, 100, meets_slo=True)]
    _, (traces, _) = drawn({**BOTH, "rows": rows})
    assert names(traces) == ["beyond tpot_s<0.02 (1)", "frontier (1)"]
    assert [trace["marker"]["symbol"] for trace in traces if "marker" in trace] == ["circle-open", "circle"]
    [line] = [trace for trace in traces if trace["mode"] == "lines" and not trace.get("showlegend", True)]
    assert line["x"] == [0.01]


def test_what_stands_behind_the_numbers_stands_below_them(drawn):
    text, _ = drawn({**BOTH, "rows": [agg({}, 0.01, 100, meets_slo=True)]})
    for said in (
        "1.20 x the throughput per GPU",
        "KV caches move at 50 GB/s",
        "serves 90% of what it serves alone",
        "wide priors",
        "a stand-in",
    ):
        assert said in text
    plain = {"mode": "agg", "warnings": ["another stand-in"], "not_modelled": ["burstiness"]}
    text, _ = drawn({**plain, "rows": [row({}, 0.01, 100), row({}, 0.02, 90, feasible=False)]})
    assert "another stand-in" in text
    assert "not seen by the closed form: burstiness" in text
    assert "1 config that fits, as predicted (1 more do not fit)" in text
    assert "KV caches" not in text


def test_configs_of_the_same_numbers_are_one_point_that_says_so(drawn):
    same = [row({"max_num_seqs": seqs}, 0.01, 100) for seqs in (64, 128, 256)]
    _, (traces, _) = drawn({"mode": "agg", "warnings": [], "rows": [*same, row({"max_num_seqs": 8}, 0.02, 80)]})
    assert names(traces) == ["dominated (1)", "frontier (3)"]
    front = traces[-1]
    assert front["x"] == [0.01]
    assert "max_num_seqs=64" in front["text"][0]
    assert "2 more configs with these numbers" in front["text"][0]


@pytest.mark.parametrize(
    ("count", "visible", "drawn_points"), [(3, True, 3), (20, "legendonly", 20), (200, "legendonly", 60)]
)
def test_intervals_lie_behind_the_points_and_wait_where_there_are_many(drawn, count, visible, drawn_points):
    rows = [row({"max_num_seqs": place}, 0.01 + place / 1000, 100 + place) for place in range(count)]
    _, (traces, _) = drawn({"mode": "agg", "warnings": [], "rows": rows})
    first = traces[0]
    assert (first["name"], first["visible"]) == ("90 % intervals", visible)
    assert len(first["x"]) == 6 * drawn_points
    assert first["x"][:2] == [0.005, 0.03]


def test_a_page_of_nothing_is_refused(tmp_path):
    nothing = {"mode": "agg", "warnings": [], "rows": [row({}, 0.01, 100, feasible=False)]}
    with pytest.raises(InputError, match="no config fits"):
        write_whatif_page(nothing, "asked", tmp_path / "page.html")


def test_both_ways_from_the_command_line(cli):
    words = ["--mode", "both", "--devices", "4", "--set", "tp=1,2", "--plot", "page.html"]
    cli.json(*WHATIF, *POINT, *words)
    text = (cli.folder / "page.html").read_text()
    assert "disagg, " in text
    assert "agg, " in text
    assert "KV caches move at" in text


def test_a_unit_is_told_in_short_words():
    several = disagg(4, 0.01, 100)
    assert unit_texts([several, agg({"data_parallel_size": 2}, 0.01, 100)]) == [
        "2 x (2 defaults > 1 tp=4)",
        "4 x (dp=2)",
    ]
    several["decode"] = {**several["decode"], "platform": "h200_sxm"}
    assert unit_texts([several, agg({}, 0.01, 100)]) == [
        "2 x (2 h100_sxm defaults > 1 h200_sxm tp=4)",
        "4 x (h100_sxm defaults)",
    ]


def test_a_config_that_sets_nothing_is_told_as_defaults(cli):
    assert config_text({}) == "defaults"
    assert cli.run(*WHATIF, *POINT).stdout.splitlines()[1].endswith("defaults")


@given(
    st.lists(st.lists(st.text("ab ", max_size=30), min_size=2, max_size=2), min_size=1, max_size=6),
    st.integers(5, 200),
)
def test_folding_takes_from_the_widest_column_and_breaks_words_last(columns, room):
    whole = [max(1, *map(len, column)) for column in columns]
    widths = folded_widths(columns, room)
    assert all(1 <= width <= full for width, full in zip(widths, whole, strict=True))
    if sum(whole) <= room:
        assert widths == whole
    words = [max(1, *(len(word) for text in column for word in text.split()), 1) for column in columns]
    if sum(words) <= room:
        assert sum(widths) <= room
        assert all(width >= word for width, word in zip(widths, words, strict=True))
        least = min((width for width, full in zip(widths, whole, strict=True) if width < full), default=room)
        assert all(
            full <= max(least, word) for width, full, word in zip(widths, whole, words, strict=True) if width == full
        )


def test_a_folded_table_breaks_at_blanks(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table(["n", "units of"], [[1, "1 x (2 tp=2 max_num_seqs=32 > 1 tp=4 max_num_seqs=128)"], [20, "4 x (tp=2)"]])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[1:])) <= 50
    assert lines[1].split()[0] == "1"
    assert "max_num_seqs=128)" in lines[2]
    assert lines[3].split() == ["20", "4", "x", "(tp=2)"]
