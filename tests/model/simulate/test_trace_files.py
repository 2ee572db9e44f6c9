"""Traces in the files that people have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.simulate.trace_files import read_trace
from perfdb.errors import FileError

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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no trace that we know"),
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
