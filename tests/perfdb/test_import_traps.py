"""Traps T1 to T5: what a throughput counts, what a batch is, how lengths are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.importers.folder import import_paths
from perfdb.importers.importer import ColumnRule
from perfdb.importers.options import ImportOptions
from perfdb.metrics import Statistic
from perfdb.store.store import Store

Read = Callable[..., Batch]
VALUE, MEAN, P50 = Statistic.VALUE, Statistic.MEAN, Statistic.MEDIAN


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


def test_t01_throughput_that_is_a_formula_of_the_latency(read: Read) -> None:
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


def test_t01_a_measured_throughput_is_not_called_derived(read: Read) -> None:
    rows = "".join(f"4,128,128,{2 + i / 10},{4 * 256 / (2 + i / 10) * (1 + 0.005 * (-1) ** i)}\n" for i in range(10))
    batch = read("batch_size,isl,osl,Latency (s),Throughput\n" + rows)
    assert "derived" not in extra(batch)["import"]
    assert len(batch.values[("total_tps", VALUE)]) == 10


def test_t02_the_batch_of_llamacpp_rows_is_n_batch(read: Read) -> None:
    """T2: where the batch does not count in the throughput it is no load."""
    batch = read(ARGONNE + argonne("llama.cpp", counts=False) + argonne("vLLM", counts=True), bare=True)
    config = [json.loads(each) for each in batch.context["config"]]
    assert batch.context["engine"].tolist() == ["llamacpp"] * 6 + ["vllm"] * 6
    assert [each.get("n_batch") for each in config] == [1, 1, 16, 16, 32, 32] + [None] * 6
    assert batch.context["batch_size"].tolist() == [1] * 6 + [1, 1, 16, 16, 32, 32]
    assert said(batch, "n_batch", "6 llamacpp rows")


def test_t02_rows_of_batch_one_do_not_outvote_the_others(read: Read) -> None:
    text = ARGONNE + argonne("llama.cpp", counts=False, batches=(1,) * 30 + (64,))
    batch = read(text, bare=True)
    assert json.loads(batch.context["config"][-1]) == {"n_batch": 64}
    assert batch.values[("total_tps", VALUE)][-1] == pytest.approx(2048 / (0.5 + 1024 * 64 / 2000))


def test_t02_elsewhere_such_a_batch_is_kept_as_extra(read: Read) -> None:
    batch = read(ARGONNE + argonne("vLLM", counts=False), bare=True)
    assert "batch_size" not in batch.context
    assert extra(batch, 5)["Batch Size"] == 32
    assert said(batch, "Batch Size", "kept in extra")


def test_t02_each_engine_keeps_its_own_batch_as_extra(read: Read) -> None:
    batch = read(ARGONNE + argonne("vLLM", counts=False) + argonne("TensorRT-LLM", counts=False), bare=True)
    assert [extra(batch, row)["Batch Size"] for row in range(12)] == [1, 1, 16, 16, 32, 32] * 2


@pytest.mark.parametrize(
    ("factor", "metric"),
    [(300 + 100, "total_tps"), (100, "output_tps"), (1, "request_tps")],
    ids=["total", "output", "requests"],
)
def test_t03_what_a_throughput_counts_is_told_by_arithmetic(read: Read, factor: float, metric: str) -> None:
    rows = "".join(f"{rate},300,100,{rate * factor}\n" for rate in (1.5, 2.5, 7.0))
    batch = read("request_throughput,isl,osl,throughput\n" + rows)
    assert batch.values[(metric, VALUE)].tolist() == pytest.approx([rate * factor for rate in (1.5, 2.5, 7.0)])
    if metric != "request_tps":
        assert extra(batch)["import"]["throughput_is"].startswith(metric)


def test_t03_an_undecidable_throughput_is_kept_aside(read: Read) -> None:
    batch = read("concurrency,mean_ttft_ms,throughput\n4,120,950\n8,130,1700\n")
    assert {key[0] for key in batch.values} == {"ttft_s"}
    assert extra(batch)["throughput"] == 950
    assert said(batch, "does not say whether output, total or request")


def test_t03_two_readings_that_are_too_close_are_not_chosen_between(read: Read) -> None:
    """With 5 input and 2000 output tokens, total and output throughput are the same number."""
    rows = "".join(f"{rate},5,2000,{rate * 2001 * (1 + 0.004 * (-1) ** k)}\n" for k, rate in enumerate((1.5, 2.5, 7.0)))
    batch = read("request_throughput,isl,osl,throughput\n" + rows)
    assert {key[0] for key in batch.values} == {"request_tps"}
    assert said(batch, "does not say whether")


def test_t03_two_clocks_of_one_run_may_differ_by_some_percent(read: Read) -> None:
    rows = "".join(f"{b},2048,2048,{70 + b},{b * 4096 / (70 + b) * 0.95}\n" for b in (4, 8, 16, 32))
    batch = read("batch_size,isl,osl,Latency (s),Throughput\n" + rows)
    assert len(batch.values[("total_tps", VALUE)]) == 4
    assert "derived" not in extra(batch)["import"]


def test_t03_a_map_names_it(read: Read) -> None:
    columns = {"throughput": ColumnRule("output_tps")}
    batch = read("concurrency,throughput\n4,950\n", columns)
    assert batch.values[("output_tps", VALUE)].tolist() == [950]


def test_t03_two_replicas_are_noticed(read: Read) -> None:
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


def test_t03_each_engine_keeps_its_own_replicas(read: Read) -> None:
    rows = [
        f"{engine},a10,128,2048,{b},{70 + b},{(2 if b == 8 else 1) * b * 2176 / (70 + b)}\n"
        for engine in ("vllm", "sglang")
        for b in (4, 8, 16, 32)
    ]
    header = "engine,gpu,input_len,output_len,batch_size,latency_s,tokens_per_second\n"
    batch = read(header + "".join(rows), bare=True)
    assert [json.loads(each).get("replicas") for each in batch.context["config"]] == [None, 2, None, None] * 2


def test_t03_per_device_and_per_user_keep_their_own_names(read: Read) -> None:
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
def test_t04_encoded_lengths(read: Read, text: str, isl: float, osl: float, notation: str) -> None:
    batch = read(f"scenario,mean_ttft_ms\n{text},100\n")
    assert (batch.context["isl"][0], batch.context["osl"][0]) == (isl, osl)
    assert batch.context["lengths"][0] == notation


def test_t04_one_column_for_both_lengths_may_be_encoded(read: Read) -> None:
    batch = read("Input Output Length,mean_ttft_ms\n128/2048,100\n512,110\n")
    assert batch.context["isl"].tolist() == [128, 512]
    assert batch.context["osl"].tolist() == [2048, 512]


def test_t03_a_rate_per_device_of_unknown_kind_is_kept_aside(read: Read) -> None:
    batch = read("tp,throughput_per_gpu,mean_ttft_ms\n2,250,50\n")
    assert extra(batch)["throughput_per_gpu"] == 250
    assert {key[0] for key in batch.values} == {"ttft_s"}
    assert said(batch, "throughput_per_gpu", "does not say")


def test_t03_replicas_do_not_hide_the_unit_of_the_latency(read: Read) -> None:
    rows = "".join(f"128,2048,{b},{70 + b},{(2 if b > 16 else 1) * b * 2176 / (70 + b)}\n" for b in (4, 8, 16, 32, 64))
    batch = read("input_len,output_len,batch_size,Latency,tokens_per_second\n" + rows)
    assert extra(batch)["import"]["units"] == {"Latency": "s, by throughput, batch and lengths"}
    replicas = [json.loads(config).get("replicas") for config in batch.context["config"]]
    assert replicas == [None, None, None, 2, 2]


def test_t05_itl_in_a_folder_scheme_is_the_input_length(tmp_path: Path) -> None:
    """T5: itl5000 there is 5000 input tokens; the user says so, and no latency comes of it."""
    place = tmp_path / "itl5000_otl200" / "results.csv"
    place.parent.mkdir()
    place.write_text("concurrency,mean_ttft_ms,mean_itl_ms\n4,50,9\n")
    store = Store(tmp_path / "db.duckdb")
    import_paths(store, [tmp_path], ImportOptions(from_path="itl{isl}_otl{osl}/{_}.csv"))
    assert [list(row) for row in store.sql("SELECT isl, osl FROM operating_points").rows] == [[5000, 200]]
    rows = store.sql("SELECT metric, value FROM measurements ORDER BY metric").rows
    assert {str(name): value for name, value in rows} == pytest.approx({"itl_s": 0.009, "ttft_s": 0.05})
