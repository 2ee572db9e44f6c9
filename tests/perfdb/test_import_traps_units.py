"""Traps T6 to T12: units, infinite rates, failures, zeros."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from perfdb.batch import Batch
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
def test_t06_units_by_name(read: Read, header: str, cell: str, seconds: float) -> None:
    batch = read(f"concurrency,{header}\n1,{cell}\n")
    (values,) = batch.values.values()
    assert values[0] == pytest.approx(seconds)
    assert not said(batch, "unit")


def test_t06_a_declared_unit_wins_over_size(read: Read) -> None:
    batch = read("concurrency,ttft\n1,0.25\n", {"ttft": ColumnRule("ttft_s", "ms")})
    assert batch.values[("ttft_s", VALUE)][0] == pytest.approx(0.00025)
    assert not said(batch, "unit")


@pytest.mark.parametrize(("scale", "unit"), [(1.0, "s"), (1e3, "ms"), (1e6, "us")])
def test_t06_a_unit_that_nobody_says_is_told_by_littles_law(read: Read, scale: float, unit: str) -> None:
    """Twenty seconds of TTFT look like milliseconds by size alone."""
    rows = "".join(f"{c},{c / 40},{20 * scale},{35 * scale},{0.1 * scale}\n" for c in (16, 32, 64))
    batch = read("concurrency,request_throughput,median_ttft,median_e2el,median_tpot\n" + rows)
    assert batch.values[("ttft_s", P50)].tolist() == pytest.approx([20.0] * 3)
    assert batch.values[("tpot_s", P50)].tolist() == pytest.approx([0.1] * 3)
    assert extra(batch)["import"]["units"]["median_ttft"] == f"{unit}, by Little's law"


@pytest.mark.parametrize(("tpot", "ttft", "seconds"), [(0.03, 0.4, 0.4), (30, 400, 0.4)])
def test_t06_by_size_only_with_a_warning(read: Read, tpot: float, ttft: float, seconds: float) -> None:
    batch = read(f"concurrency,ttft,tpot\n1,{ttft},{tpot}\n")
    assert batch.values[("ttft_s", VALUE)][0] == pytest.approx(seconds)
    assert said(batch, "'ttft'", "by its size")


def test_t06_single_rows_in_another_unit_are_set_aside(read: Read) -> None:
    cells = [f"4,128,128,{2 + i / 10},{4 * 256 / (2 + i / 10)}\n" for i in range(9)] + ["4,128,128,2000,512\n"]
    batch = read("batch_size,isl,osl,Latency,total_throughput\n" + "".join(cells))
    assert len(batch.rows) == 9
    assert [(bad.row, bad.column, bad.value) for bad in batch.bad] == [(10, "Latency", "2000")]
    assert "another unit" in batch.bad[0].reason


def test_t06_power_in_milliwatts(read: Read) -> None:
    assert read("ttft_s,power_mw\n1,250000\n").values[("power_w", VALUE)][0] == pytest.approx(250)
    by_size = read("ttft_s,power\n1,250000\n")
    assert by_size.values[("power_w", VALUE)][0] == pytest.approx(250)
    assert said(by_size, "power", "mW")


def test_t07_one_column_with_several_units(read: Read) -> None:
    batch = read("Throughput,Units,e2e_s,mean_ttft_ms\n12,queries/s,1,10\n900,tokens/s,1,10\n120,req/min,1,10\n")
    requests = batch.values[("request_tps", VALUE)]
    assert requests[[0, 2]].tolist() == [12, 2]
    assert np.isnan(requests[1])


@pytest.mark.parametrize("spelled", ["inf", "Infinity", "1e9", "1000000000"])
def test_t08_infinite_rates(read: Read, spelled: str) -> None:
    batch = read(f"request_rate,max_concurrency,mean_ttft_ms\n{spelled},16,100\n")
    assert "request_rate" not in batch.context
    assert (batch.context["arrival"][0], batch.context["concurrency"][0]) == ("closed", 16)
    assert not batch.bad


def test_t08_a_large_rate_is_infinite_if_the_sending_took_no_time(read: Read) -> None:
    header = "request_rate,num_prompts,duration,mean_ttft_ms\n"
    batch = read(header + "1000,1000,261,100\n10000,1000,240,90\n16,1000,258,80\n1000,200000,210,70\n")
    assert np.isnan(batch.context["request_rate"][:2]).all()
    assert batch.context["request_rate"][2:].tolist() == [16, 1000]
    assert batch.context["arrival"].tolist() == ["closed", "closed", "poisson", "poisson"]
    assert batch.context["concurrency"][0] == 1000  # no cap: all requests are in flight
    assert said(batch, "read as infinite", "2 rows")


def test_t09_a_run_in_which_all_failed_has_no_values(read: Read) -> None:
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


def test_t06_columns_in_different_units_within_one_file(read: Read) -> None:
    """TTFT in seconds beside TPOT in milliseconds: a first token takes no hundredth of a step."""
    batch = read("concurrency,tpot,ttft\n1,12,0.25\n2,13,0.26\n4,15,0.3\n")
    assert batch.values[("tpot_s", VALUE)].tolist() == pytest.approx([0.012, 0.013, 0.015])
    assert batch.values[("ttft_s", VALUE)].tolist() == pytest.approx([0.25, 0.26, 0.3])
    assert extra(batch)["import"]["units"] == {"tpot": "ms, by its size", "ttft": "s, by the latencies beside it"}
    assert said(batch, "'ttft'", "taken as s by the latencies beside it")


def test_t06_a_first_token_in_milliseconds_beside_seconds_end_to_end(read: Read) -> None:
    rows = "".join(f"{b},128,128,{2 + b},{b * 256 / (2 + b)},{200 + b}\n" for b in (1, 2, 4, 8))
    batch = read("batch_size,isl,osl,Latency,total_throughput,ttft\n" + rows)
    assert batch.values[("e2e_s", VALUE)].tolist() == [3, 4, 6, 10]
    assert batch.values[("ttft_s", VALUE)].tolist() == pytest.approx([0.201, 0.202, 0.204, 0.208])
    assert said(batch, "'ttft'", "taken as ms")
    assert not batch.bad


def test_t06_seconds_and_milliseconds_mixed_in_one_column_are_said(read: Read) -> None:
    batch = read("concurrency,ttft\n1,0.25\n2,0.26\n4,290\n8,280\n16,0.3\n")
    assert said(batch, "'ttft'", "two units may be mixed")


def test_t07_each_row_by_its_own_unit(read: Read) -> None:
    """T7: four unit strings in one column, and a result that is no rate stays aside."""
    rows = "12,Queries/s\n900,Tokens/s\n120,req/min\n3,Samples/s\n250,Latency (ms)\n7,furlongs\n"
    batch = read("Throughput,Units,isl,osl,mean_ttft_ms\n" + rows.replace("\n", ",100,100,10\n"))
    assert batch.values[("request_tps", VALUE)][[0, 2, 3]].tolist() == [12, 2, 3]
    assert batch.values[("e2e_s", VALUE)][4] == 0.25
    assert (extra(batch, 1)["Throughput"], extra(batch, 5)["Throughput"]) == (900, 7)
    assert extra(batch, 5)["Units"] == "furlongs"
    assert said(batch, "furlongs")
    assert extra(batch)["import"]["units"] == {"Throughput": "each row by column 'Units'"}


def labelled(lies: int, honest: int = 20) -> str:
    rows = [(k, 300 * k * 2.0, "Tokens/s") for k in range(1, honest + 1)]
    rows += [(k, k * 2.0, "Queries/s") for k in range(1, honest + 1)]
    rows += [(k, 100 * k * 2.0, "Queries/s") for k in range(1, lies + 1)]
    return "batch_size,e2e_s,isl,osl,Result,Units\n" + "".join(
        f"{batch},0.5,200,100,{value},{unit}\n" for batch, value, unit in rows
    )


def test_t07_rows_whose_label_lies_are_set_aside(read: Read) -> None:
    """Queries/s that are tokens/s, as batch and latency of nearly all other rows show."""
    batch = read(labelled(lies=2))
    assert [(bad.row, bad.column, bad.value) for bad in batch.bad] == [
        (41, "Units", "Queries/s"), (42, "Units", "Queries/s")
    ]  # fmt: skip
    assert "contradicts the other columns (batch / latency)" in batch.bad[0].reason
    assert np.isfinite(batch.values[("total_tps", VALUE)]).sum() == 20
    assert np.isfinite(batch.values[("request_tps", VALUE)]).sum() == 20


def test_t07_labels_that_agree_are_all_believed(read: Read) -> None:
    assert not read(labelled(lies=0)).bad


def test_t07_declared_tokens_are_never_read_as_requests(read: Read) -> None:
    rows = "".join(f"{rate},300,100,{rate}\n" for rate in (1.5, 2.5, 7.0))
    batch = read("Throughput (tok/s),isl,osl,request_throughput\n" + rows)
    assert set(batch.values) == {("request_tps", VALUE)}
    assert extra(batch)["Throughput (tok/s)"] == 1.5
    assert "throughput_is" not in extra(batch).get("import", {})


@pytest.mark.parametrize(("result", "bad"), [(21000, 1), (95, 0)])
def test_t07_without_arithmetic_a_label_is_judged_by_its_peers(read: Read, result: float, bad: int) -> None:
    rows = "".join(f"8,{20000 + 100 * k},Tokens/s,50\n" for k in range(12))
    batch = read(f"a#,Result,Units,p99_ttft_ms\n{rows}8,{result},Queries/s,50\n", model="llama2-70b")
    assert len(batch.bad) == bad
    assert all("value lies among theirs" in row.reason for row in batch.bad)


def test_t10_the_threshold_is_19_of_20(read: Read) -> None:
    batch = read("num_prompts,completed,mean_ttft_ms\n1000,950,50\n1000,949,50\n")
    assert batch.context["outcome"].tolist() == ["ok", "partial"]


@pytest.mark.parametrize(("cells", "rates"), [(("98.5", "100", "0"), (0.985, 1, 0)), (("0.5", "1", "1"), (0.5, 1, 1))])
def test_t10_a_share_may_be_a_percentage(read: Read, cells: tuple[str, ...], rates: tuple[float, ...]) -> None:
    batch = read("success_rate,mean_ttft_ms\n" + "".join(f"{cell},50\n" for cell in cells))
    assert batch.values[("success_rate", VALUE)].tolist() == pytest.approx(rates)
    assert said(batch, "'success_rate'", "percent by its size") == (rates[0] == 0.985)
    assert ("units" in extra(batch).get("import", {})) == (rates[0] == 0.985)


@pytest.mark.parametrize(("cells", "left"), [(("98.5", "0.9"), [2]), (("98.5", "105"), [])])
def test_t10_a_share_that_is_neither_is_set_aside(read: Read, cells: tuple[str, ...], left: list[int]) -> None:
    batch = read("success_rate,mean_ttft_ms\n" + "".join(f"{cell},50\n" for cell in cells))
    assert batch.rows.tolist() == left
    assert {(bad.column, bad.reason) for bad in batch.bad} == {("success_rate", "success_rate is not between 0 and 1")}


@pytest.mark.parametrize("load", ["max_concurrency", "batch_size", "request_rate"])
def test_t11_a_load_of_zero_is_no_load(read: Read, load: str) -> None:
    batch = read(f"{load},mean_ttft_ms\n0,50\n8,60\n")
    (name,) = {"concurrency", "batch_size", "request_rate"} & set(batch.context)
    assert np.isnan(batch.context[name][0])
    assert batch.context["arrival"][0] is None
    assert said(batch, "zeros", load)


def test_t12_a_failure_keeps_its_own_words(read: Read) -> None:
    batch = read("status,mean_ttft_ms\nRuntimeError: engine died,\nok,50\n")
    assert extra(batch, 0)["status"] == "RuntimeError: engine died"
    assert batch.context["extra"][1] is None
