"""The traps of real benchmark files: each ends in the right value, a row set aside with its reason, or a warning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfdb.batch import Batch
from perfdb.importers.importer import ColumnRule, ReadSettings
from perfdb.importers.sniff import importer
from perfdb.metrics import Statistic

Read = Callable[..., Batch]
VALUE, MEAN, P50 = Statistic.VALUE, Statistic.MEAN, Statistic.MEDIAN


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def run(text: str | bytes, columns: dict[str, ColumnRule] | None = None, bare: bool = False, **given: str) -> Batch:
        path = tmp_path / "results.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        target = {} if bare else {"model": "Qwen/Qwen3-8B", "platform": "a10", "engine": "vllm"}
        (batch,) = importer("generic").read(path, ReadSettings(target | given, {}, columns or {}))
        return batch

    return run


@pytest.fixture
def read_json(tmp_path: Path) -> Read:
    def run(document: Any, **given: str) -> Batch:
        path = tmp_path / "run.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        (batch,) = importer("vllm").read(path, ReadSettings({"platform": "h200_sxm"} | given))
        return batch

    return run


def extra(batch: Batch, row: int = 0) -> dict[str, Any]:
    return json.loads(batch.context["extra"][row] or "{}")


def said(batch: Batch, *words: str) -> bool:
    return any(all(word in text for word in words) for text in batch.warnings)


ARGONNE = "Hardware,Num of Hardware,Framework,Model,Input Output Length,Batch Size,Latency,Throughput\n"


def argonne(engine: str, counts: bool, batches: tuple[int, ...] = (1, 16, 32)) -> str:
    rows = []
    for batch in batches:
        for length in (128, 1024):
            latency = 0.5 + length * batch / 2000
            throughput = (batch if counts else 1) * 2 * length / latency
            rows.append(
                f"Nvidia H100 GPU,1,{engine},meta-llama/Llama-2-7b-hf,{length},{batch},{latency!r},{throughput!r}\n"
            )
    return "".join(rows)


def test_t1_throughput_that_is_a_formula_of_the_latency(read: Read) -> None:
    """T1: total tokens, and no second measurement."""
    batch = read(ARGONNE + argonne("vLLM", counts=True), bare=True)
    assert ("output_tps", VALUE) not in batch.values
    assert batch.values[("total_tps", VALUE)][0] == pytest.approx(256 / (0.5 + 128 / 2000))
    assert batch.context["isl"][0] == batch.context["osl"][0] == 128
    assert batch.context["batch_size"].tolist() == [1, 1, 16, 16, 32, 32]
    assert set(batch.context["arrival"]) == {"batch"}
    assert extra(batch)["import"]["derived"] == ["total_tps"]
    assert set(batch.context["origin"]) == {"measured"}
    assert said(batch, "Throughput", "derived")


def test_t1_a_measured_throughput_is_not_called_derived(read: Read) -> None:
    rows = "".join(f"4,128,128,{2 + i / 10},{4 * 256 / (2 + i / 10) * (1 + 0.005 * (-1) ** i)}\n" for i in range(10))
    batch = read("batch_size,isl,osl,Latency (s),Throughput\n" + rows)
    assert "derived" not in extra(batch)["import"]
    assert len(batch.values[("total_tps", VALUE)]) == 10


def test_t2_the_batch_of_llamacpp_rows_is_n_batch(read: Read) -> None:
    """T2: where the batch does not count in the throughput it is no load."""
    batch = read(ARGONNE + argonne("llama.cpp", counts=False) + argonne("vLLM", counts=True), bare=True)
    config = [json.loads(each) for each in batch.context["config"]]
    assert batch.context["engine"].tolist() == ["llamacpp"] * 6 + ["vllm"] * 6
    assert [each.get("n_batch") for each in config] == [1, 1, 16, 16, 32, 32] + [None] * 6
    assert batch.context["batch_size"].tolist() == [1] * 6 + [1, 1, 16, 16, 32, 32]
    assert said(batch, "n_batch", "6 llamacpp rows")


def test_t2_rows_of_batch_one_do_not_outvote_the_others(read: Read) -> None:
    text = ARGONNE + argonne("llama.cpp", counts=False, batches=(1,) * 30 + (64,))
    batch = read(text, bare=True)
    assert json.loads(batch.context["config"][-1]) == {"n_batch": 64}
    assert batch.values[("total_tps", VALUE)][-1] == pytest.approx(2048 / (0.5 + 1024 * 64 / 2000))


def test_t2_elsewhere_such_a_batch_is_kept_as_extra(read: Read) -> None:
    batch = read(ARGONNE + argonne("vLLM", counts=False), bare=True)
    assert "batch_size" not in batch.context
    assert extra(batch, 5)["Batch Size"] == 32
    assert said(batch, "Batch Size", "kept in extra")


@pytest.mark.parametrize(
    ("factor", "metric"),
    [(300 + 100, "total_tps"), (100, "output_tps"), (1, "request_tps")],
    ids=["total", "output", "requests"],
)
def test_t3_what_a_throughput_counts_is_told_by_arithmetic(read: Read, factor: float, metric: str) -> None:
    rows = "".join(f"{rate},300,100,{rate * factor}\n" for rate in (1.5, 2.5, 7.0))
    batch = read("request_throughput,isl,osl,throughput\n" + rows)
    assert batch.values[(metric, VALUE)].tolist() == pytest.approx([rate * factor for rate in (1.5, 2.5, 7.0)])
    if metric != "request_tps":
        assert extra(batch)["import"]["throughput_is"].startswith(metric)


def test_t3_an_undecidable_throughput_is_kept_aside(read: Read) -> None:
    batch = read("concurrency,mean_ttft_ms,throughput\n4,120,950\n8,130,1700\n")
    assert {key[0] for key in batch.values} == {"ttft_s"}
    assert extra(batch)["throughput"] == 950
    assert said(batch, "does not say whether output, total or request")


def test_t3_two_readings_that_are_too_close_are_not_chosen_between(read: Read) -> None:
    """With 5 input and 2000 output tokens, total and output throughput are the same number."""
    rows = "".join(f"{rate},5,2000,{rate * 2001 * (1 + 0.004 * (-1) ** k)}\n" for k, rate in enumerate((1.5, 2.5, 7.0)))
    batch = read("request_throughput,isl,osl,throughput\n" + rows)
    assert {key[0] for key in batch.values} == {"request_tps"}
    assert said(batch, "does not say whether")


def test_t3_two_clocks_of_one_run_may_differ_by_some_percent(read: Read) -> None:
    rows = "".join(f"{b},2048,2048,{70 + b},{b * 4096 / (70 + b) * 0.95}\n" for b in (4, 8, 16, 32))
    batch = read("batch_size,isl,osl,Latency (s),Throughput\n" + rows)
    assert len(batch.values[("total_tps", VALUE)]) == 4
    assert "derived" not in extra(batch)["import"]


def test_t3_a_map_names_it(read: Read) -> None:
    columns = {"throughput": ColumnRule("output_tps")}
    batch = read("concurrency,throughput\n4,950\n", columns)
    assert batch.values[("output_tps", VALUE)].tolist() == [950]


def test_t3_two_replicas_are_noticed(read: Read) -> None:
    header = "gpu,input_len,output_len,batch_size,end_to_end_latency (s),tokens_per_second\n"
    rows = [
        f"8xMi300x {k}FP8-amd,128,2048,{b},{70 + b},{k * b * 2176 / (70 + b)}\n" for k in (1, 1, 2) for b in (4, 8, 16)
    ]
    batch = read(header + "".join(rows), bare=True)
    replicas = [json.loads(each).get("replicas") for each in batch.context["config"]]
    assert replicas == [None] * 6 + [2] * 3
    assert set(batch.context["platform"]) == {"mi300x"}
    assert set(batch.context["devices"]) == {8}
    assert said(batch, "replicas")


def test_t3_per_device_and_per_user_keep_their_own_names(read: Read) -> None:
    batch = read("output_throughput_per_gpu,output_tps_per_user\n250,31\n")
    assert batch.values[("output_tps_per_gpu", VALUE)][0] == 250
    assert batch.values[("output_tps_per_user", VALUE)][0] == 31
    assert ("output_tps", VALUE) not in batch.values


@pytest.mark.parametrize(
    ("text", "isl", "osl", "notation"),
    [
        ("128/2048", 128, 2048, "D(128,2048)"),
        ('"D(100,1000)"', 100, 1000, "D(100,1000)"),
        ('"N(480,240)/(300,150)"', 480, 300, "N(480,240)/(300,150)"),
        ('"U(1,9)/(2,6)"', 5, 4, "U(1,9)/(2,6)"),
        ("pp2048 @ d32768", 34816, 0, "pp2048 @ d32768"),
    ],
)
def test_t4_encoded_lengths(read: Read, text: str, isl: float, osl: float, notation: str) -> None:
    batch = read(f"scenario,mean_ttft_ms\n{text},100\n")
    assert (batch.context["isl"][0], batch.context["osl"][0]) == (isl, osl)
    assert batch.context["lengths"][0] == notation


def test_t4_one_column_for_both_lengths_may_be_encoded(read: Read) -> None:
    batch = read("Input Output Length,mean_ttft_ms\n128/2048,100\n512,110\n")
    assert batch.context["isl"].tolist() == [128, 512]
    assert batch.context["osl"].tolist() == [2048, 512]


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


def test_t13_nominal_and_real_lengths_stand_side_by_side(read: Read) -> None:
    batch = read("isl,osl,completed,total_input_tokens,total_output_tokens,mean_ttft_ms\n1024,128,10,5060,610,50\n")
    assert (batch.context["isl"][0], batch.context["osl"][0]) == (1024, 128)
    assert batch.values[("input_tokens", MEAN)][0] == 506
    assert batch.values[("output_tokens", MEAN)][0] == 61


def test_t15_a_hidden_factor_is_said(read: Read) -> None:
    rows = "".join(f"{c},{t * f},{host}\n" for c, t in ((1, 50), (2, 60)) for f, host in ((1, "a"), (3.4, "b")))
    batch = read("concurrency,mean_ttft_ms,host\n" + rows)
    assert said(batch, "hidden factor", "3.4x", "host")
    assert len(batch.rows) == 4


def test_t15_repeats_close_together_are_no_conflict(read: Read) -> None:
    assert not said(read("concurrency,mean_ttft_ms\n1,50\n1,51\n1,52\n"), "hidden factor")


def test_t16_what_the_user_says_wins_over_a_lying_column(read: Read) -> None:
    batch = read("model_id,mean_ttft_ms\nllama-7b,50\nllama-7b,60\n", model="Qwen/Qwen3-8B")
    assert set(batch.context["model"]) == {"Qwen/Qwen3-8B"}
    assert said(batch, "model_id", "2 rows", "--set was taken")


def test_t18_trailing_blanks_and_packed_hardware(read: Read) -> None:
    batch = read("gpu,mean_ttft_ms\n8xMi300x 1FP8-amd ,50\n8xMi300x 1FP8-amd,60\n", bare=True)
    assert set(batch.context["platform"]) == {"mi300x"}
    assert extra(batch, 0)["hardware_label"] == extra(batch, 1)["hardware_label"] == "8xMi300x 1FP8-amd"


def test_t18_unknown_names_are_stored_and_said_once(read: Read) -> None:
    batch = read("model,gpu,mean_ttft_ms\nacme/x,Abacus,50\nacme/x,Abacus,60\n", bare=True)
    assert set(batch.context["model"]) == {"acme/x"}
    assert set(batch.context["platform"]) == {"Abacus"}
    assert sum("acme/x" in text for text in batch.warnings) == 1
    assert said(batch, "'acme/x' (2 rows)")


def test_t18_ambiguous_hardware_is_said(read: Read) -> None:
    assert said(read("gpu,mean_ttft_ms\nNvidia A100 GPU,50\n", bare=True), "a100_sxm_80gb", "a100_sxm_40gb")


def test_t19_a_typo_is_flagged(read: Read) -> None:
    rows = "".join(f"{b},50\n" for b in (64, 128, 256, 512, 1028))
    batch = read("batch_size,mean_ttft_ms\n" + rows)
    assert said(batch, "1028", "typo of 1024")
    assert batch.context["batch_size"][-1] == 1028


def test_t20_byte_order_mark_index_and_slipped_header(read: Read) -> None:
    text = "\ufeff,tp,,median_ttft_ms,note,mean_ttft_ms\n0,1,60,50,a,\n1,2,70,55,b,\n"
    batch = read(text)
    assert batch.values[("ttft_s", MEAN)].tolist() == [0.06, 0.07]
    assert batch.values[("ttft_s", P50)].tolist() == [0.05, 0.055]
    assert set(extra(batch)) == {"note"}
    assert said(batch, "column 3 has no name", "mean_ttft_ms")


def test_t20_a_nameless_column_is_kept_under_its_number(read: Read) -> None:
    batch = read("tp,mean_ttft_ms,\n1,50,x\n2,60,y\n")
    assert extra(batch)["column 3"] == "x"


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_other_delimiters_under_the_name_csv(read: Read, delimiter: str) -> None:
    text = "tp,mean_ttft_ms\n1,50\n2,60\n".replace(",", delimiter)
    assert read(text).values[("ttft_s", MEAN)].tolist() == [0.05, 0.06]


def test_thousands_commas(read: Read) -> None:
    assert read('tp,output_throughput\n1,"1,234.5"\n').values[("output_tps", VALUE)][0] == 1234.5


def test_t22_secrets_are_redacted_everywhere(read: Read) -> None:
    text = (
        "cmd,api_key,host,client,mean_ttft_ms\n"
        "bench --api_key abcdef123456 --model m,zzzsecretzzz,https://joe:hunter22@h/x,run sk-abcdefgh12345678,50\n"
        "bench --api-key=abcdef123456,zzzsecretzzz,Bearer abcdef123456,hf_abcdefgh12345678,hf_abcdefgh12345678\n"
    )
    batch = read(text)
    everything = repr([column.tolist() for column in batch.context.values()]) + repr(batch.bad) + repr(batch.warnings)
    for secret in ("abcdef123456", "zzzsecretzzz", "hunter22", "sk-abcdefgh", "hf_abcdefgh"):
        assert secret not in everything
    assert "[redacted]" in everything
    assert "--model m" in everything


def test_t23_the_origin_can_be_said(read: Read) -> None:
    batch = read("tp,mean_ttft_ms\n1,50\n", origin="simulated")
    assert batch.context["origin"].tolist() == ["simulated"]


@pytest.mark.parametrize(
    ("header", "cells", "column", "reason"),
    [
        ("tp,mean_ttft_ms", "1,-5", "mean_ttft_ms", "negative"),
        ("tp,mean_ttft_ms", "1,nan", "mean_ttft_ms", "NaN"),
        ("tp,mean_ttft_ms", "1,inf", "mean_ttft_ms", "infinite"),
        ("tp,mean_ttft_ms", "1,fast", "mean_ttft_ms", "text where a number belongs"),
        ("tp,mean_ttft_ms", "1,=1+1", "mean_ttft_ms", "text where a number belongs"),
        ("tp,mean_ttft_ms", "1,1e300", "mean_ttft_ms", "above"),
        ("mean_ttft_ms,mean_e2el_ms", "900,800", "mean_ttft_ms", "TTFT above end-to-end"),
        ("median_ttft_ms,p99_ttft_ms", "90,80", "median_ttft_ms", "p50 above p99"),
        ("output_throughput,total_token_throughput", "90,80", "output_throughput", "above total"),
        ("mean_e2el_ms,duration", "9000,8", "mean_e2el_ms", "above the duration"),
        ("num_prompts,completed,mean_ttft_ms", "10,11,5", "completed", "more requests"),
        ("concurrency,mean_ttft_ms", "2.5,50", "concurrency", "not a whole number"),
        ("concurrency,mean_ttft_ms", "-2,50", "concurrency", "negative"),
        ("num_gpus,mean_ttft_ms", "0,50", "num_gpus", "zero devices"),
        ("isl,mean_ttft_ms", "-1,50", "isl", "negative"),
        ("min_ttft_ms,mean_ttft_ms,max_ttft_ms", "50,40,60", "mean_ttft_ms", "outside min and max"),
    ],
)
def test_what_cannot_be_true_is_set_aside(read: Read, header: str, cells: str, column: str, reason: str) -> None:
    batch = read(f"{header}\n{cells}\n")
    assert len(batch.rows) == 0
    assert batch.bad[0].row == 1
    assert batch.bad[0].column == column
    assert reason in batch.bad[0].reason
    assert batch.bad[0].value in cells.split(",")


def test_what_is_only_odd_is_said(read: Read) -> None:
    batch = read("concurrency,mean_tpot_ms,output_throughput\n4,10,900\n")
    assert len(batch.rows) == 1
    assert said(batch, "1.5 × concurrency / TPOT")


def test_parameters_go_to_the_config_and_the_rest_to_extra(read: Read) -> None:
    header = "tp,max-num-seqs,enable_chunked_prefill,kv_cache_dtype,seed,mean_ttft_ms"
    batch = read(f"{header}\n2,256,TRUE,fp8,7,50\n")
    assert json.loads(batch.context["config"][0]) == {
        "tensor_parallel_size": 2, "max_num_seqs": 256, "enable_chunked_prefill": True, "kv_cache_dtype": "fp8"
    }  # fmt: skip
    assert extra(batch) == {"seed": 7}
    assert batch.context["devices"][0] == 2


RUN = {
    "date": "20260216-144038", "backend": "vllm", "model_id": "Qwen/Qwen3-8B", "tokenizer_id": "Qwen/Qwen3-8B",
    "num_prompts": 160, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 16, "duration": 202.5,
    "completed": 160, "total_input_tokens": 163840, "total_output_tokens": 20480, "request_throughput": 0.79,
    "output_throughput": 101.1, "total_token_throughput": 910.2, "mean_ttft_ms": 748.0, "median_ttft_ms": 700.0,
    "p99_ttft_ms": 2787.0, "mean_tpot_ms": 60.2, "ttfts": [0.1, 0.2], "generated_texts": ["hf_abcdefgh12345678"],
}  # fmt: skip


def test_vllm_json(read_json: Read) -> None:
    batch = read_json(RUN)
    context = {name: column[0] for name, column in batch.context.items()}
    assert (context["model"], context["engine"], context["client"]) == ("Qwen/Qwen3-8B", "vllm", "vllm bench serve")
    assert (context["arrival"], context["concurrency"], context["requests"]) == ("closed", 16, 160)
    assert context["measured_at"] == "2026-02-16T14:40:38"
    assert batch.values[("ttft_s", P50)][0] == pytest.approx(0.7)
    assert batch.values[("output_tps", VALUE)][0] == 101.1
    assert batch.values[("total_tps", VALUE)][0] == 910.2
    assert batch.values[("input_tokens", MEAN)][0] == 1024
    assert "hf_abc" not in context["extra"]


def test_vllm_json_in_seconds_without_suffix(read_json: Read) -> None:
    """The InferenceX flavour: median_ttft is in seconds."""
    run = {name: value for name, value in RUN.items() if not name.endswith("_ms") and name != "backend"}
    run |= {"median_ttft": 7.48, "median_e2el": 19.16, "median_tpot": 0.0602}
    batch = read_json(run, engine="vllm", tp="8")
    assert batch.values[("ttft_s", P50)][0] == 7.48
    assert batch.values[("e2e_s", P50)][0] == 19.16
    assert batch.context["devices"][0] == 8


def test_vllm_json_list_and_appended(read_json: Read) -> None:
    assert read_json([RUN, RUN]).rows.tolist() == [1, 2]
    assert read_json(json.dumps(RUN) + "\n" + json.dumps(RUN)).rows.tolist() == [1, 2]


def test_vllm_json_with_another_backend_says_that_the_engine_is_unknown(read_json: Read) -> None:
    batch = read_json(RUN | {"backend": "openai-chat"})
    assert "engine" not in batch.context
    assert said(batch, "engine is not said")
    assert json.loads(batch.context["extra"][0])["client_backend"] == "openai-chat"


def test_vllm_json_with_nan_of_a_failed_run(read_json: Read) -> None:
    """T9: the means of nothing are NaN."""
    batch = read_json(
        RUN | {"completed": 0, "mean_ttft_ms": float("nan"), "median_ttft_ms": 0.0, "output_throughput": 0.0}
    )
    assert batch.context["outcome"].tolist() == ["invalid"]
    assert not batch.bad


def test_poisson_and_bursty_arrivals(read_json: Read) -> None:
    batch = read_json([RUN | {"request_rate": 4.0}, RUN | {"request_rate": 4.0, "burstiness": 0.5}])
    assert batch.context["arrival"].tolist() == ["poisson", None]
    assert batch.context["request_rate"].tolist() == [4, 4]
