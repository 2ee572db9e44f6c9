"""Traces in the files that people have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.simulate.blocks import NONE
from model.simulate.trace_files import read_trace
from model.tables.said import listening
from perfdb.errors import FileError
from runner.load.client import RequestRecord
from runner.load.summary import write_records

OURS = {"arrival_s": 5.0, "input_tokens": 100, "output_tokens": 7}
MOONCAKE = {"timestamp": 3000, "input_length": 1100, "output_length": 52, "hash_ids": [1, 2, 3]}


def test_our_own_lines_count_from_the_first_request_and_share_prefixes(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    later = OURS | {"arrival_s": 6.5, "prefix_id": "a", "prefix_tokens": 64}
    path.write_text("\n".join(map(json.dumps, [later, OURS, later | {"arrival_s": 7}])))
    trace = read_trace(path)
    assert trace.arrival_s.tolist() == [0.0, 1.5, 2.0]
    assert (trace.prompt.tolist(), trace.output.tolist()) == ([100] * 3, [7] * 3)
    assert trace.shared.tolist() == [0, 64, 64]
    assert trace.chunks[trace.first_chunk[1]] == trace.chunks[trace.first_chunk[2]]


def test_mooncake_is_in_milliseconds_and_its_ids_are_shared_chunks(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, [MOONCAKE, MOONCAKE | {"timestamp": 4500, "hash_ids": [1, 2, 9]}])))
    trace = read_trace(path)
    assert trace.arrival_s.tolist() == [0.0, 1.5]
    assert trace.shared.tolist() == [1100, 1100]
    assert trace.chunks.tolist() == [0, 1, 2, 0, 1, 3]
    assert trace.chunk_tokens == 512


@pytest.mark.parametrize(
    ("text", "arrivals"),
    [
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
         "2023-11-16 18:15:47.1805900,3,1\n", 0.5),
        ("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,GPT-4,374,44,418,API log\n"
         "9,GPT-4,374,0,374,API log\n45,GPT-4,3,1,4,API log\n", 40.0),
    ],
)  # fmt: skip
def test_tables_of_azure_and_burstgpt(tmp_path: Path, text: str, arrivals: float) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    trace = read_trace(path)
    assert trace.arrival_s.tolist() == pytest.approx([0.0, arrivals])
    assert (trace.prompt.tolist(), trace.output.tolist()) == ([374, 3], [44, 1])


def chat(session: str, **more: object) -> dict[str, object]:
    return {"session_id": session, "input_tokens": 100, "output_tokens": 20} | more


def write(path: Path, *lines: dict[str, object]) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_conversation_is_linked_by_its_turns_whatever_their_order_in_the_file(tmp_path: Path) -> None:
    lines = [
        chat("a", turn=2, input_tokens=130, think_s=7),
        chat("b", arrival_s=3),
        chat("a", turn=1, arrival_s=2),
        {"arrival_s": 2.5, "input_tokens": 9, "output_tokens": 9},
        chat("a", turn=3, input_tokens=180),
    ]
    trace = read_trace(write(tmp_path / "c.jsonl", *lines))
    assert trace.turns is not None
    first = trace.prompt.tolist().index(130)
    assert trace.prompt[trace.turns.previous[first]] == 100
    assert trace.turns.think_s[first] == 7
    assert trace.turns.owners()[trace.prompt.tolist().index(180)] == 0
    assert (trace.turns.previous < range(5)).all()
    assert (trace.turns.previous == NONE).sum() == 3
    assert trace.arrival_s.tolist() == [0, 0, 0, 0.5, 1]


def test_turns_without_a_number_go_by_their_lines(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path / "c", chat("a", arrival_s=0), chat("a", input_tokens=120, arrival_s=9)))
    assert trace.turns is not None
    assert trace.turns.previous.tolist() == [NONE, 0]
    assert trace.arrival_s.tolist() == [0, 9]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([chat("a")], "line 1: the first turn has no arrival_s"),
        (
            [chat("a", arrival_s=0), chat("a", input_tokens=119)],
            "line 2: a prompt of 119 tokens; expected at least 120",
        ),
        ([chat("a", arrival_s=0, turn=1), chat("a", input_tokens=200, turn=1)], "line 2: turn 1 stands twice"),
        ([chat("a", arrival_s=0, think_s=-1)], "think_s is -1"),
    ],
)
def test_a_conversation_that_cannot_be_is_refused(tmp_path: Path, lines: list[dict[str, object]], message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_trace(write(tmp_path / "c", *lines))


def test_what_our_load_client_wrote_is_a_trace(tmp_path: Path) -> None:
    failed = RequestRecord(2, 13.0, error="HTTP 500", done_s=13.5)
    good = [RequestRecord(i, 10.0 + i, [11.0 + i, 12.0 + i], 12.0 + i, 30 + i, 2) for i in range(2)]
    write_records(tmp_path / "r.jsonl", [*good, failed])
    trace = read_trace(tmp_path / "r.jsonl")
    assert trace.arrival_s.tolist() == [0, 1]
    assert (trace.prompt.tolist(), trace.output.tolist()) == ([30, 31], [2, 2])
    write_records(tmp_path / "r.jsonl", [RequestRecord(0, 0.0, [1.0], 1.0, None, 1)])
    with pytest.raises(FileError, match="usage"):
        read_trace(tmp_path / "r.jsonl")


def test_a_table_of_another_tool_is_a_trace_if_it_says_when_and_how_long(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("request_id,start_time_s,end_time_s,prompt_tokens,completion_tokens,error\n"
                    "a,50.5,52,70,7,\nb,50,51,60,6,\nc,51,51,60,,timeout\n")  # fmt: skip
    trace = read_trace(path)
    assert trace.arrival_s.tolist() == [0, 0.5]
    assert (trace.prompt.tolist(), trace.output.tolist()) == ([60, 70], [6, 7])
    path.write_text("request_id,end_time_s,prompt_tokens,completion_tokens\na,52,70,7\n")
    with pytest.raises(FileError, match="sent time"):
        read_trace(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no request in it"),
        ("a,b\n1,2\n", "no trace that we know"),
        ("{\n", "line 1: not JSON"),
        (json.dumps(OURS | {"output_tokens": -1}), "line 1: output_tokens is -1"),
        (json.dumps(OURS | {"prefix_id": 1, "prefix_tokens": 200}), "prefix_tokens is 200"),
        (json.dumps({"arrival_s": 1}), "input_tokens is None"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,1,2\n", "'soon' is no time"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        read_trace(path)


def test_priorities_are_read_and_those_that_tell_none_have_0(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(map(json.dumps, [OURS | {"arrival_s": 7}, OURS | {"priority": -2}])))
    trace = read_trace(path)
    assert trace.priority is not None
    assert trace.priority.tolist() == [-2, 0]
    assert trace.requests().asked["priority"].tolist() == [-2, 0]
    assert trace.first().requests().asked["priority"].tolist() == [-2]
    path.write_text(json.dumps(OURS))
    assert read_trace(path).priority is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"priority": 1.5}, "line 1: priority is 1.5; expected a whole number, the least served first"),
        ({"priority": True}, "priority is True"),
        ({"priority": 1 << 40}, "expected a whole number"),
        ({"prefix_tokens": 64}, "line 1: prefix_tokens without prefix_id; expected the name of what these tokens are"),
        ({"prefix_idd": "a"}, "line 1: unknown field 'prefix_idd'; expected prefix_id"),
        ({"Input_Tokens": 5}, "unknown field 'Input_Tokens'; expected input_tokens"),
        ({"prioritiy": 5}, "unknown field 'prioritiy'; expected priority"),
    ],
)
def test_fields_that_are_nearly_right_are_refused(tmp_path: Path, more: dict[str, object], message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(OURS | more))
    with pytest.raises(FileError, match=message):
        read_trace(path)


def test_fields_of_other_names_are_said_once(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join([json.dumps(OURS | {"model": "x", "user": 3})] * 3))
    with listening() as said:
        assert len(read_trace(path)) == 3
    assert said == {f"field {name!r} of the trace is not read" for name in ("model", "user")}
