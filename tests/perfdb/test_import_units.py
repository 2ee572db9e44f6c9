"""Traps T6 to T12: units, infinite rates, failures, zeros."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
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


@pytest.mark.parametrize(
    ("header", "cell", "seconds"),
    [
        ("mean_ttft_ms", "250", 0.25),
        ("Mean TTFT (ms)", "250", 0.25),
        ("Mean First Token latency (ns)", "250000000", 0.25),
        ("ttft_s", "0.25", 0.25),
        ("ttft_us", "250000", 0.25),
    ],
)
def test_t6_units_by_name(read: Read, header: str, cell: str, seconds: float) -> None:
    batch = read(f"concurrency,{header}\n1,{cell}\n")
    (values,) = batch.values.values()
    assert values[0] == pytest.approx(seconds)
    assert not said(batch, "unit")


def test_t6_a_declared_unit_wins_over_size(read: Read) -> None:
    batch = read("concurrency,ttft\n1,0.25\n", {"ttft": ColumnRule("ttft_s", "ms")})
    assert batch.values[("ttft_s", VALUE)][0] == pytest.approx(0.00025)
    assert not said(batch, "unit")


@pytest.mark.parametrize(("scale", "unit"), [(1.0, "s"), (1e3, "ms"), (1e6, "us")])
def test_t6_a_unit_that_nobody_says_is_told_by_littles_law(read: Read, scale: float, unit: str) -> None:
    """Twenty seconds of TTFT look like milliseconds by size alone."""
    rows = "".join(f"{c},{c / 40},{20 * scale},{35 * scale},{0.1 * scale}\n" for c in (16, 32, 64))
    batch = read("concurrency,request_throughput,median_ttft,median_e2el,median_tpot\n" + rows)
    assert batch.values[("ttft_s", P50)].tolist() == pytest.approx([20.0] * 3)
    assert batch.values[("tpot_s", P50)].tolist() == pytest.approx([0.1] * 3)
    assert extra(batch)["import"]["units"]["median_ttft"] == f"{unit}, by Little's law"


@pytest.mark.parametrize(("tpot", "ttft", "seconds"), [(0.03, 0.4, 0.4), (30, 400, 0.4)])
def test_t6_by_size_only_with_a_warning(read: Read, tpot: float, ttft: float, seconds: float) -> None:
    batch = read(f"concurrency,ttft,tpot\n1,{ttft},{tpot}\n")
    assert batch.values[("ttft_s", VALUE)][0] == pytest.approx(seconds)
    assert said(batch, "'ttft'", "by its size")


def test_t6_single_rows_in_another_unit_are_set_aside(read: Read) -> None:
    cells = [f"4,128,128,{2 + i / 10},{4 * 256 / (2 + i / 10)}\n" for i in range(9)] + ["4,128,128,2000,512\n"]
    batch = read("batch_size,isl,osl,Latency,total_throughput\n" + "".join(cells))
    assert len(batch.rows) == 9
    assert [(bad.row, bad.column, bad.value) for bad in batch.bad] == [(10, "Latency", "2000")]
    assert "another unit" in batch.bad[0].reason


def test_t6_power_in_milliwatts(read: Read) -> None:
    assert read("ttft_s,power_mw\n1,250000\n").values[("power_w", VALUE)][0] == pytest.approx(250)
    by_size = read("ttft_s,power\n1,250000\n")
    assert by_size.values[("power_w", VALUE)][0] == pytest.approx(250)
    assert said(by_size, "power", "mW")


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


def test_t7_one_column_with_several_units(read: Read) -> None:
    batch = read("Throughput,Units,e2e_s,mean_ttft_ms\n12,queries/s,1,10\n900,tokens/s,1,10\n120,req/min,1,10\n")
    requests = batch.values[("request_tps", VALUE)]
    assert requests[[0, 2]].tolist() == [12, 2]
    assert np.isnan(requests[1])


@pytest.mark.parametrize("spelled", ["inf", "Infinity", "1e9", "1000000000"])
def test_t8_infinite_rates(read: Read, spelled: str) -> None:
    batch = read(f"request_rate,max_concurrency,mean_ttft_ms\n{spelled},16,100\n")
    assert "request_rate" not in batch.context
    assert (batch.context["arrival"][0], batch.context["concurrency"][0]) == ("closed", 16)
    assert not batch.bad


def test_t8_a_large_rate_is_infinite_if_the_sending_took_no_time(read: Read) -> None:
    header = "request_rate,num_prompts,duration,mean_ttft_ms\n"
    batch = read(header + "1000,1000,261,100\n10000,1000,240,90\n16,1000,258,80\n1000,200000,210,70\n")
    assert np.isnan(batch.context["request_rate"][:2]).all()
    assert batch.context["request_rate"][2:].tolist() == [16, 1000]
    assert batch.context["arrival"].tolist() == ["closed", "closed", "poisson", "poisson"]
    assert batch.context["concurrency"][0] == 1000  # no cap: all requests are in flight
    assert said(batch, "read as infinite", "2 rows")


def test_t9_a_run_in_which_all_failed_has_no_values(read: Read) -> None:
    batch = read("num_prompts,completed,mean_ttft_ms,output_throughput\n100,0,0,0\n100,100,50,900\n")
    assert batch.context["outcome"].tolist() == ["invalid", "ok"]
    assert np.isnan(batch.values[("ttft_s", MEAN)][0])
    assert batch.values[("success_rate", VALUE)].tolist() == [0, 1]


def test_t10_partial_failures_are_marked(read: Read) -> None:
    batch = read("n_req,n_bad,mean_ttft_ms\n3390,2928,2000\n100,5,50\n100,6,50\n")
    assert batch.context["outcome"].tolist() == ["partial", "ok", "partial"]
    assert batch.values[("success_rate", VALUE)].tolist() == pytest.approx([462 / 3390, 0.95, 0.94])
    assert np.isfinite(batch.values[("ttft_s", MEAN)]).all()
    assert said(batch, "partial")


def test_t10_error_rates(read: Read) -> None:
    batch = read("error_rate,mean_ttft_ms\n0.2,50\n0,60\n")
    assert batch.context["outcome"].tolist() == ["partial", "ok"]


def test_t11_zero_means_missing(read: Read) -> None:
    batch = read("mean_ttft_ms,power_w,std_ttft_ms\n50,0,0\n60,300,2\n")
    assert np.isnan(batch.values[("power_w", VALUE)][0])
    assert batch.values[("ttft_s", Statistic.STD)].tolist() == [0, 0.002]
    assert said(batch, "zeros", "power_w")


@pytest.mark.parametrize("cell", ["OOM", "CUDA out of memory", "torch.OutOfMemoryError: ...", "oom"])
def test_t12_oom_as_text_is_a_failure_without_values(read: Read, cell: str) -> None:
    batch = read(f"tp,mean_ttft_ms,output_throughput\n1,{cell},{cell}\n2,50,900\n")
    assert batch.context["outcome"].tolist() == ["oom", "ok"]
    assert all(np.isnan(values[0]) for values in batch.values.values())
    assert not batch.bad


def test_t12_a_failed_row_that_still_holds_a_throughput(read: Read) -> None:
    batch = read("status,output_throughput\nfailed,812\nok,900\ntimeout,3\nOOM,1\n")
    assert batch.context["outcome"].tolist() == ["crashed", "ok", "timeout", "oom"]
    assert np.isnan(batch.values[("output_tps", VALUE)][[0, 2, 3]]).all()


def test_t12_blank_cells(read: Read) -> None:
    batch = read("mean_ttft_ms,mean_tpot_ms,tp\n50,,1\n,N/A,2\n60,5,\n")
    assert batch.rows.tolist() == [1, 3]
    assert [(bad.row, bad.reason) for bad in batch.bad] == [(2, "no usable metric in this row")]
    assert batch.context["config"].tolist() == ['{"tensor_parallel_size":1}', "{}"]


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
