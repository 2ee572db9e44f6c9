"""What a command is told of its requests: mean lengths, lengths as they are, or a workload file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import CHAT, POINT, WHATIF

from perfdb.errors import InputError
from perfdb.lengths import Lengths
from perfdb.records import Arrival
from servecast.loads.asked_load import AskedLoad, asked_load, asked_traffic

PLAIN: dict[str, Any] = {"mode": "agg", "warnings": [], "rows": [{"provenance": "roofline"}]}
SAME = "D(512,64)"
SERVED = ["--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--engine", "vllm"]
MEANS = "--isl and --osl are means of lengths that may differ"


def write(path: Path, document: object) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_closed_form_takes_the_mean_request_of_a_mix_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    mix = write(tmp_path / "mix.yaml", {"lengths": "3 D(500,100) + 1 D(4000,400)", "request_rate": 4})
    asked = asked_load(None, None, mix, None, None)
    assert (asked.workload.isl, asked.workload.osl, asked.workload.request_rate) == (1375, 175, 4)
    assert asked.told(PLAIN) == PLAIN
    chat = asked_load(None, None, write(tmp_path / "chat.yaml", CHAT), None, None)
    assert chat.told(PLAIN) == {**PLAIN, "not_modelled": ["conversations", "burstiness"]}
    batch = asked_load(None, None, mix, None, None, 8)
    assert (batch.workload.arrival, batch.workload.batch_size, batch.workload.concurrency) == (Arrival.BATCH, 8, None)


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ({"osl": 5.0}, 'lengths: --osl; expected --isl and --osl, or --scenario such as "D(512,128)", or --workload'),
        ({"isl": 5.0}, "lengths: --isl; expected"),
        ({}, "lengths: none given; expected"),
        ({"isl": 5.0, "workload": Path("w.yaml")}, "lengths: --isl and --workload; expected"),
        ({"isl": 5.0, "osl": 5.0, "scenario": SAME}, "lengths: --isl and --osl and --scenario; expected"),
        ({"scenario": SAME, "workload": Path("w.yaml")}, "lengths: --scenario and --workload; expected"),
        ({"scenario": "D(512)"}, "lengths 'D(512)': not a distribution; expected D(96,24)"),
        ({"scenario": ""}, "lengths '': not a distribution"),
        ({"scenario": SAME, "concurrency": None}, "load: none given; expected exactly one of --concurrency, --rate"),
        ({"scenario": SAME, "rate": 2.0}, "load: --concurrency and --rate given; expected exactly one"),
        ({"scenario": SAME, "prefix_tokens": 512}, "--prefix-tokens: 512 of a prompt of 512; expected fewer than"),
    ],
)
def test_lengths_are_said_once_and_a_load_is_said(lengths: dict[str, Any], said: str) -> None:
    nothing: dict[str, Any] = {"isl": None, "osl": None, "workload": None, "concurrency": 1, "rate": None}
    with pytest.raises(InputError, match=re.escape(said)):
        asked_load(**{**nothing, **lengths})


def test_a_batch_of_a_file_is_its_only_load(tmp_path: Path) -> None:
    mix = write(tmp_path / "mix.yaml", {"lengths": SAME})
    with pytest.raises(InputError, match="load: --batch and --concurrency"):
        asked_load(None, None, mix, 1, None, 2)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([SAME, "N(480,240)/(300,150)", "U(9,80)/(2,8)", "0.7 D(96,24) + 0.3 D(4000,200)"]),
       st.sampled_from(["concurrency", "rate", "batch"]))  # fmt: skip
def test_a_scenario_is_what_a_file_with_its_lengths_is(
    tmp_path_factory: pytest.TempPathFactory, lengths: str, load: str
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "same.yaml", {"lengths": lengths})
    nothing: dict[str, Any] = {"isl": None, "osl": None, "concurrency": None, "rate": None}
    amount = {**nothing, load: 7}
    said, read = asked_load(workload=None, scenario=lengths, **amount), asked_load(workload=path, **amount)
    assert said == read
    assert said.workload.lengths == str(Lengths.parse(lengths))
    for by_rate in (True, False):
        of_flag, of_file = (asked_traffic(None, None, file, by_rate, False, text)
                            for file, text in ((None, lengths), (path, None)))  # fmt: skip
        assert of_flag == of_file


def test_prompts_of_a_scenario_share_no_more_than_they_have() -> None:
    def shared(lengths: str, tokens: float) -> float:
        return asked_load(None, None, None, 8, None, prefix_tokens=tokens, scenario=lengths).reused

    assert shared("D(4096,64)", 3500) == pytest.approx(3500, rel=1e-3)
    # half of them have 99 before their last token, the others all 400
    assert shared("1 D(100,9) + 1 D(1000,9)", 400) == pytest.approx(249.5, rel=0.02)
    assert shared("D(4096,64)", 0) == 0


@pytest.mark.parametrize(("concurrency", "ttft_s"), [(4, 0.02), (16, 0.02), (64, 0.04)])
def test_whatif_and_simulate_agree_on_equal_lengths(cli: Any, concurrency: int, ttft_s: float) -> None:
    load = ["--scenario", "D(512,128)", "--concurrency", str(concurrency)]
    [closed] = cli.json("whatif", *SERVED, *load)["rows"]
    served = cli.json("simulate", *SERVED, *load, "--requests", str(20 * concurrency))
    assert closed["ttft_s"]["mean"] == pytest.approx(served["ttft_s"]["mean"], rel=ttft_s)
    assert closed["tpot_s"]["mean"] == pytest.approx(served["tpot_s"]["mean"], rel=0.02)
    [means] = cli.json("whatif", *SERVED, "--isl", "512", "--osl", "128", *load[2:])["rows"]
    assert means["ttft_s"]["mean"] < 0.95 * closed["ttft_s"]["mean"]


@pytest.mark.parametrize(
    ("load", "is_said"),
    [
        ([*POINT], True),
        ([*POINT, "--mode", "both", "--devices", "2"], True),
        (["--scenario", SAME, "--concurrency", "8"], False),
        (["--isl", "512", "--osl", "64", "--concurrency", "1"], False),
        (["--isl", "512", "--osl", "64", "--rate", "2"], False),
        (["--isl", "512", "--osl", "64", "--batch", "8"], False),
        ([*POINT, "--mode", "disagg"], False),
    ],
)
def test_that_means_are_means_is_said_where_it_counts(cli: Any, load: list[str], is_said: bool) -> None:
    done = cli.run(*WHATIF, *load)
    assert (MEANS in done.stderr) == is_said
    assert ('say --scenario "D(512,64)" instead' in done.stderr) == is_said
    assert any(text.startswith(MEANS) for text in cli.json(*WHATIF, *load)["warnings"]) == is_said


def test_what_was_measured_needs_no_word_about_means() -> None:
    asked = asked_load(512, 64, None, 8, None)
    measured = {**PLAIN, "rows": [{"provenance": "measured"}]}
    assert asked.told(measured) == measured
    assert len(asked.told(PLAIN)["warnings"]) == 1


def test_capacity_takes_a_scenario_and_says_what_it_assumes_of_means(cli: Any) -> None:
    def largest(*asked: str) -> tuple[float, bool]:
        answer = cli.json("capacity", *SERVED, "--slo", "ttft_s<0.3", *asked)
        return answer["rows"][0]["capacity"], any(text.startswith(MEANS) for text in answer["warnings"])

    means, same = ["--isl", "512", "--osl", "128"], ["--scenario", "D(512,128)"]
    equal, is_said = largest(*same, "--by", "concurrency")
    assert not is_said
    mixed, is_said = largest(*means, "--by", "concurrency")
    assert is_said
    assert mixed > 2 * equal
    for simulated in (means, same):
        found, is_said = largest(*simulated, "--by", "concurrency", "--method", "simulate", "--requests", "200")
        assert found == pytest.approx(equal, rel=0.1)
        assert not is_said
    assert not largest(*means)[1]
    assert (
        "lengths: --isl and --osl and --scenario"
        in cli.run("capacity", *SERVED, "--slo", "ttft_s<1", *means, *same).stderr
    )


def test_the_title_says_the_load() -> None:
    asked: AskedLoad = asked_load(None, None, None, None, 2.5, scenario=SAME)
    assert asked.text == "512 + 64 tokens, 2.5 requests/s"
    assert json.dumps(asked.told(PLAIN)) == json.dumps(PLAIN)
