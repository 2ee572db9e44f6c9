"""Tables with one row per request: LLM-Pilot's, and any tool's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.importer import ColumnRule, ReadSettings
from perfdb.importers.sniff import importer

Read, Facts = Callable[..., Batch], Callable[..., dict[str, Any]]

PILOT = ",Unnamed: 0,smpnum,reqnum,errors,status,model,num_users,requests,latency_ms,records,n_gpus,gpu_type," \
    "start_timestamp,end_timestamp,experiment_duration_s,n_input_tokens,n_output_tokens,latency_ms_per_token," \
    "timestamps_per_token\n"  # fmt: skip
START = 1697548575000


def pilot(number: int, begin: int, gaps: list[int], status: int = 200, error: str = "[]", **other: Any) -> str:
    """One line: sent `begin` ms after the start, messages after `gaps` ms each."""
    sent, end = START + begin, START + begin + sum(gaps)
    known = {"model": "llama-7b", "users": 2, "gpus": 1, "gpu": "A10", "tokens": len(gaps) - 1} | other
    times = [sent + sum(gaps[: place + 1]) for place in range(len(gaps))]
    length, inputs, outputs = (sum(gaps), 40, known["tokens"]) if status == 200 else ("", "", "")
    return (
        f'{number},{number},7,{number},"{error}",{status},{known["model"]},{known["users"]},1,{length},1,'
        f'{known["gpus"]},{known["gpu"]},{sent},{end},120,{inputs},{outputs},"{gaps}","{times}"\n'
    )


def test_llm_pilot(read_as: Read, facts: Facts) -> None:
    """TTFT is element [1] of the list; element [0] is a message without a token."""
    lines = pilot(0, 0, [15, 200, 30, 50]) + pilot(1, 5, [25, 400, 60]) + pilot(2, 1000, [20, 300, 40, 40, 40])
    found = facts(read_as("per_request", PILOT + lines, "results_llama-7b_gpu1_a10_u2.csv"))
    assert (found["model"], found["platform"], found["devices"]) == ("huggyllama/llama-7b", "a10", 1)
    assert (found["engine"], found["client"], found["arrival"], found["concurrency"]) == (
        "tgi",
        "LLM-Pilot",
        "closed",
        2,
    )
    assert found["measured_at"] == "2023-10-17T13:16:15"
    assert found["requests"] == 3
    assert found["ttft_s:mean"] == pytest.approx(0.3)
    assert found["ttft_s:max"] == pytest.approx(0.4)
    assert found["itl_s:mean"] == pytest.approx((30 + 50 + 60 + 40 * 3) / 6 / 1000)
    assert found["tpot_s:mean"] == pytest.approx((80 / 2 + 60 / 1 + 120 / 3) / 3 / 1000)
    assert found["e2e_s:max"] == pytest.approx(0.485)
    assert found["duration_s:value"] == pytest.approx(1.44)
    assert found["output_tps:value"] == pytest.approx((3 + 2 + 4) / 1.44)
    assert found["total_tps:value"] == pytest.approx((9 + 120) / 1.44)
    assert found["extra"]["median_first_message_s"] == 0.02
    assert found["extra"]["experiment_duration_s"] == 120
    assert "requests" not in found["extra"]


def test_llm_pilot_with_failures_is_partial(read_as: Read, facts: Facts) -> None:
    """T10: the survivors' numbers stand beside their share; the partial lists of the others count nowhere."""
    error = "['CUDA out of memory. Tried to allocate 2 GiB']"
    lines = pilot(0, 0, [10, 100, 10]) + pilot(1, 0, [10, 900, 900], status=408, error=error)
    batch = read_as("per_request", PILOT + lines, "results.csv")
    found = facts(batch)
    assert (found["outcome"], found["success_rate:value"]) == ("partial", 0.5)
    assert found["ttft_s:max"] == pytest.approx(0.1)
    assert found["itl_s:max"] == pytest.approx(0.01)
    assert found["request_tps:value"] == pytest.approx(1 / 1.81)


def test_llm_pilot_that_ran_out_of_memory(read_as: Read, facts: Facts) -> None:
    lines = "".join(pilot(i, i, [5, 9], status=408, error="['CUDA out of memory']") for i in range(3))
    found = facts(read_as("per_request", PILOT + lines, "results.csv"))
    assert found["outcome"] == "oom"
    assert not any(name.startswith(("ttft", "itl", "output_tps")) for name in found)


def test_llm_pilot_that_failed_otherwise(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("per_request", PILOT + pilot(0, 0, [5, 9], status=500, error="['gone']"), "results.csv"))
    assert found["outcome"] == "crashed"


def test_llm_pilot_a100_is_the_one_it_describes(read_as: Read) -> None:
    batch = read_as("per_request", PILOT + pilot(0, 0, [5, 90, 9], gpu="A100"), "results.csv")
    assert batch.context["platform"].tolist() == ["a100_pcie_40gb"]
    assert any("gpu_features" in text for text in batch.warnings)
    given = read_as("per_request", PILOT + pilot(0, 0, [5, 90, 9], gpu="A100"), "results.csv", platform="A100 SXM 80GB")
    assert given.context["platform"].tolist() == ["a100_sxm_80gb"]


def test_the_name_of_an_llm_pilot_file_fills_what_its_columns_do_not_say(read_as: Read, facts: Facts) -> None:
    text = (PILOT + pilot(0, 0, [5, 90, 9])).replace(",num_users,", ",whoever,")
    batch = read_as("per_request", text, "results_google__flan-t5-xl_gpu4_t4_u16.csv")
    found = facts(batch)
    assert (found["concurrency"], found["model"], found["devices"]) == (16, "huggyllama/llama-7b", 1)
    assert any("concurrency is said by the file's name alone" in text for text in batch.warnings)
    assert any("says model 'google/flan-t5-xl'" in text for text in batch.warnings)


def test_llm_pilot_with_a_damaged_list(read_as: Read) -> None:
    text = PILOT + pilot(0, 0, [5, 90]) + pilot(1, 0, [5, 90]).replace("[5, 90]", "[5, 90")
    with pytest.raises(FileError, match=r"row 2, column 'latency_ms_per_token': '\[5, 90' is no list of numbers"):
        read_as("per_request", text, "results.csv")


def test_points_are_told_apart_by_what_was_run(read_as: Read) -> None:
    """Two loads and one config, mixed line by line, are two points."""
    head = "request_id,model,tp,concurrency,send_time,end_time,ttft,input_tokens,output_tokens\n"
    lines = "".join(f"r{i},m,2,{(8, 16)[i % 2]},{i}.0,{i + 2}.0,{(0.5, 0.25)[i % 2]},10,5\n" for i in range(6))
    batch = read_as("per_request", head + lines, "requests.csv", platform="a10", engine="vllm")
    assert batch.rows.tolist() == [1, 2]
    assert batch.context["concurrency"].tolist() == [8, 16]
    assert batch.context["requests"].tolist() == [3, 3]
    assert batch.context["config"].tolist() == ['{"tensor_parallel_size":2}'] * 2
    values = {f"{metric}:{statistic}": column.tolist() for (metric, statistic), column in batch.values.items()}
    assert values["ttft_s:mean"] == [0.5, 0.25]
    assert values["e2e_s:mean"] == [2.0, 2.0]
    assert values["tpot_s:mean"] == pytest.approx([1.5 / 4, 1.75 / 4])
    assert values["duration_s:value"] == [6.0, 6.0]
    assert values["output_tps:value"] == [2.5, 2.5]


def test_jsonl_with_lists_of_gaps(read_as: Read, facts: Facts) -> None:
    rows = [
        {"request_id": 1, "start_time": 0.0, "latency": 1.2, "ttft": 0.2, "itl": [0.5, 0.5], "success": True,
         "prompt_tokens": 7, "completion_tokens": 3, "text": "hush", "throughput": 2.5},
        {"request_id": 2, "start_time": 1.0, "latency": 0.4, "ttft": 0.3, "itl": [0.1], "success": True,
         "prompt_tokens": 9, "completion_tokens": 2, "text": "more", "throughput": 2.5},
        {"request_id": 3, "start_time": 1.0, "latency": None, "ttft": None, "itl": [9.0], "success": False,
         "prompt_tokens": 9, "completion_tokens": 0, "text": "gone", "throughput": 2.5},
    ]  # fmt: skip
    found = facts(read_as("per_request", "\n".join(map(json.dumps, rows)), "requests.jsonl", model="m"))
    assert found["itl_s:mean"] == pytest.approx(1.1 / 3)
    assert found["success_rate:value"] == pytest.approx(2 / 3)
    assert found["input_tokens:mean"] == 8
    assert found["request_tps:value"] == pytest.approx(2 / 1.4)
    assert "throughput" not in found["extra"]
    assert not any("hush" in str(value) for value in found.values())


def test_milliseconds_without_a_name_are_found_by_the_clock(read_as: Read, facts: Facts) -> None:
    """T6: the latency is the end less the start in some unit: that one is its own, and the TTFT's."""
    text = "request_id,start,end,latency,ttft\n" + "".join(f"{i},{i}.0,{i}.5,500,120\n" for i in range(4))
    batch = read_as("per_request", text, "requests.csv")
    found = facts(batch)
    assert found["e2e_s:mean"] == 0.5
    assert found["ttft_s:mean"] == pytest.approx(0.12)
    assert not any("latency" in text for text in batch.warnings)


def test_units_that_nothing_tells_are_said_aloud(read_as: Read, facts: Facts) -> None:
    batch = read_as("per_request", "request_id,latency\n1,2500\n2,3500\n", "requests.csv")
    assert facts(batch)["e2e_s:mean"] == 3.0
    assert any("'latency' is not said: taken as ms by its size" in text for text in batch.warnings)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1700000000.0", "1700000002.0"), ("1700000000000", "1700000002000"), ("1700000000000000", "1700000002000000"),
        ("1700000000000000000", "1700000002000000000"), ("2023-11-14T22:13:20Z", "2023-11-14 22:13:22+00:00"),
    ],
)  # fmt: skip
def test_clocks_of_any_unit(read_as: Read, facts: Facts, first: str, second: str) -> None:
    text = f"request_id,arrival_time,e2e_ms,output_tokens,input_tokens\na,{first},1000,3,5\nb,{second},1000,3,5\n"
    batch = read_as("per_request", text, "requests.csv")
    found = facts(batch)
    assert found["duration_s:value"] == pytest.approx(3.0)
    assert found["measured_at"] == "2023-11-14T22:13:20"
    assert not any("arrival_time" in text for text in batch.warnings)


def test_a_clock_in_milliseconds_by_name(read_as: Read, facts: Facts) -> None:
    text = "request_id,Start (ms),end_time_ms,first_token_time_ms\na,100,1100,350\nb,600,2600,800\n"
    batch = read_as("per_request", text, "requests.csv", model="Qwen/Qwen3-8B", platform="a10", engine="vllm")
    found = facts(batch)
    assert batch.warnings == ()
    assert found["duration_s:value"] == 2.5
    assert found["ttft_s:max"] == 0.25
    assert found["e2e_s:mean"] == 1.5
    assert "measured_at" not in found


def test_first_token_time_that_is_a_duration(read_as: Read, facts: Facts) -> None:
    text = "request_id,start_time,first_token_time,end_time\na,1000,0.25,1001\nb,1001,0.5,1003\n"
    assert facts(read_as("per_request", text, "requests.csv"))["ttft_s:mean"] == pytest.approx(0.375)


def test_a_column_map_says_more_than_names(tmp_path: Path, facts: Facts) -> None:
    path = tmp_path / "requests.csv"
    path.write_text("request_id,wait,whole\na,100,900\nb,300,1100\n")
    rules = {"wait": ColumnRule("ttft_s", "ms"), "whole": ColumnRule("e2e_s", "ms")}
    (batch,) = importer("per_request").read(path, ReadSettings(columns=rules))
    assert facts(batch)["ttft_s:mean"] == pytest.approx(0.2)
    assert facts(batch)["e2e_s:mean"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("request_id,ttft\na,0.1\nb,quick\n", r"row 2, column 'ttft': 'quick' is no finite number"),
        ("request_id,ttft\na,inf\n", r"row 1, column 'ttft': 'inf' is no finite number"),
        ("request_id,ttft\na,0.1\nb\n", r"row 2: the line has 1 cells, the header 2; expected one whole request"),
        ("request_id,ttft\n", "no record below the header"),
        ('{"request_id": 1, "ttft": 0.1}\n{"request_id": 2, "tt', "expected complete JSON"),
        ('{"request_id": 1, "ttft": 0.1}\n7\n', "record 2 is no JSON object"),
    ],
)
def test_damaged_tables_are_refused_whole(read_as: Read, text: str, message: str) -> None:
    """A request that is missing would be missing from every statistic."""
    with pytest.raises(FileError, match=message):
        read_as("per_request", text, "requests.csv")


def test_a_table_without_times_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    path.write_text("request_id,prompt\n1,hello\n")
    with pytest.raises(FileError, match="no column is a time of a request"):
        list(importer("per_request").read(path, ReadSettings()))


def test_requests_whose_times_contradict_each_other_are_set_aside(read_as: Read) -> None:
    batch = read_as("per_request", "request_id,ttft_s,latency_s,output_tokens\n1,2.0,1.0,9\n", "requests.csv")
    assert [row.reason for row in batch.bad] == ["negative tpot_s"] or "TTFT" in batch.bad[0].reason
    assert not len(batch.rows)
