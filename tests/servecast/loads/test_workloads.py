"""Workload files: written by a fit, read by every command, refused in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import CHAT

from model.load import load_of
from model.simulate.traffic import Conversations, Prefixes, Traffic, sampled
from perfdb.errors import FileError, InputError
from perfdb.lengths import Lengths
from servecast.loads.fitting import fit_file
from servecast.loads.workloads import read_workload, workload_document, workload_under, write_workload
from servecast.tuning.task_file import load_task

ASK = ("--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm")


def write(path: Path, document: object) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    found = read_workload(write(tmp_path / "w.yaml", CHAT))
    assert found == Traffic(
        Lengths.parse("U(20,200)/(10,60)"),
        rate=3.0,
        burstiness=0.5,
        prefixes=Prefixes(0.5, 1, (64.0, 64.0)),
        conversations=Conversations((1.0, 4.0), (5.0, 5.0)),
    )


def test_a_mix_takes_lengths_and_files_by_weight(tmp_path: Path) -> None:
    write(tmp_path / "half.yaml", {"lengths": "1 D(10,1) + 1 D(30,3)", "request_rate": 9})
    mix = [{"weight": 1, "workload": "half.yaml"}, {"weight": 3, "lengths": "D(100,10)"}]
    found = read_workload(write(tmp_path / "w.yaml", {"mix": mix, "concurrency": 4}))
    assert str(found.lengths) == "0.125 D(10,1) + 0.125 D(30,3) + 0.75 D(100,10)"
    assert (found.rate, found.concurrency) == (None, 4)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1], "not a workload; expected a mapping"),
        ({}, "neither lengths nor a mix"),
        ({"lengths": "D(1,1)", "mix": [{"weight": 1, "lengths": "D(1,1)"}]}, "lengths beside a mix"),
        ({"lengths": "D(1,1)", "mix": []}, "mix"),
        ({"lengths": "X(1)"}, "not a distribution"),
        ({"lengths": "D(1,1)", "rate": 3}, "rate: unknown field; known: lengths, mix"),
        ({"lengths": "D(1,1)", "request_rate": 0}, "request_rate"),
        ({"lengths": "D(1,1)", "request_rate": 1, "concurrency": 1}, "both request_rate and concurrency"),
        ({"lengths": "D(1,1)", "arrival": "closed", "request_rate": 1}, "arrival closed"),
        ({"lengths": "D(1,1)", "arrival": "constant", "burstiness": 2}, "constant arrivals with a burstiness"),
        ({"lengths": "D(1,1)", "rate_over_time": {"window_s": 1, "rates": [0, 0]}}, "all rates are 0"),
        ({"lengths": "D(1,1)", "prefixes": {"share": 0.5}}, "prefixes.tokens: is missing"),
        ({"lengths": "D(1,1)", "prefixes": {"share": 0.5, "tokens": [9, 3]}}, "these quantiles fall"),
        ({"lengths": "D(1,1)", "conversations": {"turns": 0}}, "conversations.turns"),
        ({"lengths": "D(1,1)", "conversations": {"turns": 2, "later_lengths": "D(0,1)"}}, "an empty range"),
        ({"mix": [{"weight": 1}]}, "w.yaml: mix.0.lengths: is missing"),
        ({"mix": [{"weight": w, "lengths": "D(1,1)"} for w in (0.7, 0.5)]}, "w.yaml: mix: shares of 0.7 + 0.5 = 1.2"),
        ({"mix": [{"weight": 1, "lengths": "D(1)"}]}, "w.yaml: lengths 'D(1)'"),
        ({"mix": [{"weight": 1, "workload": 3}]}, "mix, part 1: workload: 3 is no path"),
        ({"mix": [{"weight": 1, "workload": "b.yaml", "lengths": "D(1,1)"}]}, "part 1: lengths beside workload"),
        ({"mix": [{"weight": 1, "workload": "w.yaml"}]}, "w.yaml: a mix that holds itself"),
        ({"mix": {"weight": 1}}, "w.yaml: mix: "),
        ({"mix": [5]}, "w.yaml: mix.0: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_workload(write(tmp_path / "w.yaml", document))


def test_a_part_of_a_mix_has_lengths_only(tmp_path: Path) -> None:
    write(tmp_path / "chat.yaml", CHAT)
    with pytest.raises(InputError, match=r"chat.yaml: prefixes or conversations in a part of a mix"):
        read_workload(write(tmp_path / "w.yaml", {"mix": [{"weight": 1, "workload": "chat.yaml"}]}))
    with pytest.raises(FileError, match="expected a workload in YAML or JSON"):
        read_workload(tmp_path / "nothing.yaml")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["D(96,24)", "Q(1,5,9)/(2,2,7)", "0.25 U(1,9)/(1,5) + 0.75 N(480,24)/(30,3)"]),
    st.one_of(st.none(), st.floats(0.01, 1000)),
    st.sampled_from([0.3, 1.0, np.inf]),
    st.booleans(),
    st.booleans(),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: str,
    rate: float | None,
    shape: float,
    talks: bool,
    shares: bool,
) -> None:
    traffic = Traffic(
        Lengths.parse(lengths),
        rate=None if rate is None else float(f"{rate:.5g}"),
        concurrency=7 if rate is None else None,
        burstiness=1.0 if rate is None else shape,
        rates=(1.0, 2.5),
        window_s=60.0,
        prefixes=Prefixes(0.5, 3, (8.0, 64.0), 0.5) if shares else None,
        conversations=Conversations((1.0, 4.5), (0.0, 9.0), Lengths.parse(lengths) if shares else None)
        if talks
        else None,
    )
    path = tmp_path_factory.getbasetemp() / "again.yaml"
    write_workload(workload_document(traffic), path, "by hand")
    assert read_workload(path) == traffic


def test_a_command_may_replace_the_load(tmp_path: Path) -> None:
    path = write(tmp_path / "w.yaml", CHAT)
    assert workload_under(path, None, None).rate == 3.0
    assert workload_under(path, 8.0, None).rate == 8.0
    closed = workload_under(path, None, 6)
    assert (closed.rate, closed.concurrency) == (None, 6)
    with pytest.raises(InputError, match="both --rate and --concurrency"):
        workload_under(path, 1.0, 1)
    with pytest.raises(InputError, match="no load"):
        workload_under(write(tmp_path / "bare.yaml", {"lengths": "D(9,9)"}), None, None)


def load(path: Path, edit: Callable[..., None], **fields: Any) -> Any:
    edit(path, load=fields)
    return load_task(path).load


def test_a_task_takes_its_load_from_a_workload(task_file: Path, edit: Callable[..., None]) -> None:
    write(task_file.parent / "w.yaml", {"lengths": "3 D(500,100) + 1 D(4000,400)", "request_rate": 4})
    found = load(task_file, edit, workload="w.yaml", requests=9)
    assert (found.arrival, found.request_rate, found.concurrency, found.requests) == ("poisson", [4.0], None, 9)
    [workload] = found.workloads()
    assert (workload.isl, workload.lengths) == (1375, "0.75 D(500,100) + 0.25 D(4000,400)")
    closed = load(task_file, edit, workload="w.yaml", concurrency=[2, 4])
    assert (closed.arrival, closed.request_rate, closed.concurrency) == ("closed", None, [2, 4])
    write(task_file.parent / "w.yaml", {"lengths": "D(9,9)", "arrival": "constant"})
    assert load(task_file, edit, workload="w.yaml", request_rate=2).arrival == "constant"


def test_a_task_lists_a_mix_by_weight(task_file: Path, edit: Callable[..., None]) -> None:
    """A part may be a file of lengths; written as a list or in the notation, the requests are the same."""
    write(task_file.parent / "long.yaml", {"lengths": "1 D(3000,200) + 1 D(5000,312)", "request_rate": 9})
    mix = [{"weight": 7, "lengths": "D(512,128)"}, {"weight": 3, "workload": "long.yaml"}]
    [listed] = load(task_file, edit, mix=mix, concurrency=4).workloads()
    assert listed.lengths == "0.7 D(512,128) + 0.15 D(3000,200) + 0.15 D(5000,312)"
    assert (listed.isl, listed.osl) == (pytest.approx(0.7 * 512 + 0.3 * 4000), pytest.approx(0.7 * 128 + 0.3 * 256))
    [written] = load(task_file, edit, lengths=listed.lengths, concurrency=4).workloads()
    assert written == listed
    [unweighted] = load(task_file, edit, lengths="D(9,9) + D(5,5)", concurrency=4).workloads()
    assert load_of(listed, 1).alike == load_of(unweighted, 1).alike == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mix": [{"weight": 0, "lengths": "D(1,1)"}], "concurrency": 1}, "load.mix.0.weight: "),
        ({"mix": [{"weight": 1, "lengths": "D(1)"}], "concurrency": 1}, "load: lengths 'D(1)'"),
        ({"mix": [{"weight": 0.2, "lengths": "D(1,1)"}] * 2, "concurrency": 1}, "load: mix: shares of 0.2 + 0.2 = 0.4"),
        ({"mix": [{"weight": 1, "workload": "chat.yaml"}], "concurrency": 1}, "prefixes or conversations in a part"),
        ({"mix": [], "concurrency": 1}, "load.mix: "),
        ({"mix": [{"weight": 1, "lengths": "D(1,1)"}], "isl": 3, "concurrency": 1}, "isl and mix stand together"),
        ({"lengths": "D(1,1)", "isl": 3, "osl": 3, "concurrency": 1}, "isl and osl and lengths stand together"),
        ({"osl": 3, "concurrency": 1}, "osl alone"),
    ],
)
def test_a_mix_of_a_task_that_cannot_be_is_named(
    task_file: Path, edit: Callable[..., None], fields: dict[str, Any], message: str
) -> None:
    write(task_file.parent / "chat.yaml", CHAT)
    with pytest.raises(InputError, match=re.escape(message)):
        load(task_file, edit, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workload": "chat.yaml"}, "chat.yaml has shared prefixes, conversations, burstiness"),
        ({"workload": "w.yaml", "isl": 5}, "isl beside it"),
        ({"workload": 5}, "5 is no path"),
        ({"workload": "w.yaml"}, "needs concurrency"),
        ({"workload": "bursts.yaml", "request_rate": 2}, "has burstiness"),
    ],
)
def test_a_task_refuses_what_its_client_cannot_send(
    task_file: Path, edit: Callable[..., None], fields: dict[str, Any], message: str
) -> None:
    write(task_file.parent / "chat.yaml", CHAT)
    write(task_file.parent / "w.yaml", {"lengths": "D(9,9)"})
    write(task_file.parent / "bursts.yaml", {"lengths": "D(9,9)", "burstiness": 0.2})
    with pytest.raises(InputError, match=message):
        load(task_file, edit, **fields)


def test_a_fit_is_a_workload_that_simulate_serves(tmp_path: Path, cli: Any) -> None:
    trace = sampled(Traffic(Lengths.parse("U(20,200)/(10,60)"), rate=5.0), 400)
    lines = zip(trace.arrival_s.tolist(), trace.prompt.tolist(), trace.output.tolist(), strict=True)
    names = ("arrival_s", "input_tokens", "output_tokens")
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(dict(zip(names, line, strict=True))) for line in lines))
    answer = cli.json("workload", "fit", "t.jsonl", "--out", "w.yaml")
    assert answer["workload"]["lengths"] == "U(20,200)/(10,60)"
    assert (answer["requests"], answer["arrivals"]["kind"], answer["prefixes"]) == (400, "poisson", None)
    assert (tmp_path / "w.yaml").read_text().startswith("# fitted to t.jsonl: 400 requests\n")
    served = {
        way: cli.json("simulate", *ASK, *flags)
        for way, flags in (("trace", ["--trace", "t.jsonl"]), ("fit", ["--workload", "w.yaml", "--requests", "400"]))
    }
    assert served["fit"]["e2e_s"]["mean"] == pytest.approx(served["trace"]["e2e_s"]["mean"], rel=0.15)
    both = cli.run("simulate", *ASK, "--trace", "t.jsonl", "--workload", "w.yaml")
    assert both.returncode == 2
    assert "exactly one" in both.stderr


def test_what_later_turns_add_is_told_and_served(tmp_path: Path, cli: Any) -> None:
    turns = [
        {"session_id": s, "turn": t, "input_tokens": 2000 + 90 * (t - 1), "output_tokens": 50, "think_s": 4}
        | ({"arrival_s": 10 * s} if t == 1 else {}) for s in range(20) for t in (1, 2, 3)
    ]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, turns)))
    done = cli.run("workload", "fit", "t.jsonl")
    assert re.search(r"later turns: input_tokens +40 ", done.stdout)
    assert "later_lengths: 'D(40,50)'" in done.stdout
    (tmp_path / "w.yaml").write_text(done.stdout[done.stdout.index("lengths: D(") :])
    served = cli.json("simulate", *ASK, "--workload", "w.yaml", "--requests", "300")
    assert served["ttft_s"]["p50"] < served["ttft_s"]["p99"] / 2


def test_a_fit_says_what_prompts_have_in_common(tmp_path: Path) -> None:
    turns = [
        {"session_id": s, "turn": t, "input_tokens": 100 * t + 20 * (t - 1), "output_tokens": 20, "think_s": 4,
         "prefix_id": "system", "prefix_tokens": 60} | ({"arrival_s": 10 * s} if t == 1 else {})
        for s in range(3) for t in (1, 2)
    ]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, turns)))
    answer = fit_file(tmp_path / "t.jsonl", None)
    assert answer["conversations"]["mean_turns"] == 2
    assert answer["conversations"]["mean_think_s"] == 4
    assert answer["workload"]["lengths"] == "D(100,20)"
    assert "later_lengths" not in answer["workload"]["conversations"]
    assert answer["conversations"]["first_turns"]["input_tokens"]["mean"] == 100
    assert answer["conversations"]["later_turns"]["output_tokens"]["mean"] == 20
    assert answer["prefixes"]["named_token_share"] == pytest.approx(5 * 60 / 960)
    assert answer["prefixes"]["token_share"] == pytest.approx((2 * 60 + 3 * 119) / 960)
    assert answer["workload"]["prefixes"] == {"share": 1.0, "count": 1, "skew": 0.0, "tokens": 60.0}
