"""Cells and units that are no trap, and what is noted of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.importer import ColumnRule
from perfdb.metrics import Statistic

Read = Callable[..., Batch]
VALUE, MEAN, P50 = Statistic.VALUE, Statistic.MEAN, Statistic.MEDIAN


def extra(batch: Batch, row: int = 0) -> dict[str, Any]:
    return json.loads(batch.context["extra"][row] or "{}")


def said(batch: Batch, *words: str) -> bool:
    return any(all(word in text for word in words) for text in batch.warnings)


def test_memory_without_a_unit_is_not_read(read: Read) -> None:
    batch = read("ttft_s,gpu_memory,memory_gib\n1,17,2\n")
    assert batch.values[("memory_bytes", VALUE)][0] == 2 * 2**30
    assert extra(batch)["gpu_memory"] == 17
    assert said(batch, "gpu_memory", "does not say its unit")
    assert said(read("ttft_s,gpu_memory\n1,17\n"), "gpu_memory", "no unit is said")


def test_two_columns_of_one_metric_in_two_units(read: Read) -> None:
    batch = read("ttft_s,ttft_ms,ttft\n0.05,,9\n,60,9\n0.07,70,9\n0.08,90,9\n")
    assert batch.values[("ttft_s", VALUE)].tolist() == pytest.approx([0.05, 0.06, 0.07, 0.08])
    assert said(batch, "'ttft_ms'", "1 row;")
    assert extra(batch)["ttft"] == 9


def test_an_underscore_makes_no_number(read: Read) -> None:
    """Python itself would read 1_5 as 15."""
    batch = read("concurrency,ttft_s\n1,1_5\n2,0.5\n")
    assert batch.values[("ttft_s", VALUE)].tolist() == [0.5]
    assert [(bad.row, bad.value, bad.reason) for bad in batch.bad] == [(1, "1_5", "text where a number belongs")]


def test_two_names_of_one_parallelism_count_once(read: Read) -> None:
    batch = read("tp,pp,ttft_s\n8,2,0.5\n", tensor_parallel_size="4")
    assert json.loads(batch.context["config"][0]) == {"pipeline_parallel_size": 2, "tensor_parallel_size": 4}
    assert batch.context["devices"].tolist() == [8]


def test_a_comma_between_semicolons_is_not_guessed(read: Read) -> None:
    """1,500 ms there may be 1.5 ms; between other delimiters it is 1500."""
    with pytest.raises(FileError, match=r"'ttft_ms' holds 1,500, and its comma may be decimal"):
        read("concurrency;ttft_ms\n1;2.5\n2;1,500\n")
    assert read('concurrency,ttft_ms\n1,"1,500"\n').values[("ttft_s", VALUE)].tolist() == [1.5]


def test_versions_stay_text(read: Read) -> None:
    batch = read("cuda_version,pressure,ttft_s\n12.10,0.90,0.5\n")
    assert extra(batch) == {"cuda_version": "12.10", "pressure": 0.9}


def test_times_of_every_spelling_and_what_is_none(read: Read) -> None:
    cells = ("2024-01-02T03:04:05+01:00", "1704164645", "20240102-030405", "20240102", "01/02/2024", "12")
    batch = read("date,ttft_s\n" + "".join(f"{cell},0.5\n" for cell in cells))
    told = ["2024-01-02T02:04:05", "2024-01-02T03:04:05", "2024-01-02T03:04:05", "2024-01-02T00:00:00", None, None]
    assert batch.context["measured_at"].tolist() == told
    assert said(batch, "'date'", "2 times", "'01/02/2024'")


def test_unit_by_the_map_comes_before_its_size_and_is_noted(read: Read) -> None:
    batch = read("concurrency,ttft\n1,0.25\n", {"ttft": ColumnRule("ttft_s", "ms")})
    assert extra(batch)["import"]["units"] == {"ttft": "ms, by the column map"}


def test_unit_in_the_name_needs_no_note(read: Read) -> None:
    assert read("concurrency,mean_ttft_ms\n1,50\n").context["extra"][0] is None


def test_unit_of_a_duration_is_told_by_the_request_rate(read: Read) -> None:
    batch = read("num_prompts,duration,request_throughput,mean_ttft_ms\n100,50000,2,50\n200,80000,2.5,50\n")
    assert batch.values[("duration_s", VALUE)].tolist() == [50, 80]
    assert extra(batch)["import"]["units"] == {"duration": "ms, by requests and request rate"}
    usual = read("num_prompts,duration,request_throughput,mean_ttft_ms\n100,50,2,50\n")
    assert usual.values[("duration_s", VALUE)].tolist() == [50]
    assert usual.context["extra"][0] is None


def test_unit_long_whole_numbers_keep_every_digit(read: Read) -> None:
    batch = read("run_id,mean_ttft_ms\n12345678901234567891,50\n")
    assert extra(batch) == {"run_id": "12345678901234567891"}


def test_unit_a_result_column_is_a_number_or_an_end(read: Read) -> None:
    assert extra(read("Result,mean_ttft_ms\n17.5,50\n")) == {"Result": 17.5}
    assert read("Result,mean_ttft_ms\nINVALID,50\nVALID,50\n").context["outcome"].tolist() == ["invalid", "ok"]
