"""aiconfigurator's collection of measured serving runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.importer import ReadSettings
from perfdb.importers.sniff import importer

Read, Facts = Callable[..., Batch], Callable[..., dict[str, Any]]

_WORKER = ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
HEADER = (
    "id", "silicon_data_source", "backend", "backend_version", "model_path", "system", "precision", "mode", "isl",
    "osl", "gemm_quant_mode", "moe_quant_mode", "batch_size", *_WORKER,
    *(f"{side}_{name}" for side in ("prefill", "decode") for name in ("batch_size", "num_workers", *_WORKER)),
    "silicon_ttft_ms", "silicon_tpot_ms",
)  # fmt: skip
SWEEP, EXPORT = "db-dump/2026-01-01; config_id=7", "source_file=2026-01-03.csv; model=DeepSeek-R1"
AGG = {
    "id": "dsr1_c64_cfg7", "silicon_data_source": f"{SWEEP}; silicon_concurrency=64; measured=2026-01-02T00:00:00.000Z",
    "backend": "sglang", "backend_version": "0.5.9", "model_path": "deepseek-ai/DeepSeek-R1", "system": "b200_sxm",
    "precision": "fp4", "mode": "agg", "isl": 1024, "osl": 8192, "gemm_quant_mode": "nvfp4", "batch_size": 64,
    "tp_size": 8, "pp_size": 1, "attention_dp_size": 1, "moe_tp_size": 8, "moe_ep_size": 1,
    "silicon_ttft_ms": 210.5, "silicon_tpot_ms": 12.25,
}  # fmt: skip
DISAGG = {name: value for name, value in AGG.items() if name not in {"batch_size", *_WORKER}} | {
    "mode": "disagg", "id": "dsr1_c135_cfg9", "prefill_batch_size": 1, "prefill_num_workers": 2, "prefill_tp_size": 1,
    "prefill_pp_size": 1, "prefill_attention_dp_size": 4, "prefill_moe_tp_size": 1, "prefill_moe_ep_size": 4,
    "decode_batch_size": 9, "decode_num_workers": 3, "decode_tp_size": 8, "decode_pp_size": 1,
    "decode_attention_dp_size": 1, "decode_moe_tp_size": 8, "decode_moe_ep_size": 1,
}  # fmt: skip


def table(*rows: dict[str, Any]) -> str:
    lines = [",".join(str(row.get(name, "")) for name in HEADER) for row in rows]
    return "\n".join([",".join(HEADER), *lines, ""])


def with_times(row: dict[str, Any], ttft: float, tpot: float = 12.25, **other: Any) -> dict[str, Any]:
    return row | {"silicon_ttft_ms": ttft, "silicon_tpot_ms": tpot} | other


def reasons(batch: Batch) -> dict[int, str]:
    return {row.row: row.reason for row in batch.bad}


def test_an_aggregated_run(read_as: Read, facts: Facts) -> None:
    batch = read_as("silicon", table(AGG), "silicon_sample.csv")
    found = facts(batch)
    assert (found["model"], found["platform"], found["devices"]) == ("deepseek-ai/DeepSeek-R1", "b200_sxm", 8)
    assert (found["engine"], found["engine_version"]) == ("sglang", "0.5.9")
    assert (found["arrival"], found["concurrency"], found["isl"], found["osl"]) == ("closed", 64, 1024, 8192)
    assert found["measured_at"] == "2026-01-02T00:00:00"
    assert found["ttft_s:value"] == pytest.approx(0.2105)
    assert found["tpot_s:value"] == pytest.approx(0.01225)
    assert found["config"] == {
        "tp_size": 8, "pp_size": 1, "attention_dp_size": 1, "moe_tp_size": 8, "moe_ep_size": 1, "mode": "agg",
        "precision": "fp4", "gemm_quant_mode": "nvfp4",
        # how the sweeps start this server
        "kv_cache_dtype": "fp8", "mem_fraction_static": 0.85, "chunked_prefill_size": 16384,
        "max_running_requests": 256,
    }  # fmt: skip
    assert found["extra"]["batch_size"] == 64
    assert "batch_size" not in found
    assert any("does not say its statistic: stored as 'value'" in text for text in batch.warnings)


def test_batch_size_is_of_one_attention_rank(read_as: Read, facts: Facts) -> None:
    row = AGG | {"batch_size": 16, "tp_size": 1, "attention_dp_size": 4, "moe_tp_size": 1, "moe_ep_size": 4}
    found = facts(read_as("silicon", table(row), "silicon_sample.csv"))
    assert (found["concurrency"], found["devices"]) == (64, 4)
    assert found["config"]["attention_dp_size"] == 4


def test_several_workers_behind_one_load_leave_the_devices_unknown(read_as: Read, facts: Facts) -> None:
    """Also tp may not be taken for them then: it stays aside under another name."""
    batch = read_as("silicon", table(AGG | {"batch_size": 16}), "silicon_sample.csv")
    found = facts(batch)
    assert "devices" not in found
    assert found["concurrency"] == 64
    assert found["config"]["stated_tp_size"] == 8
    assert "tp_size" not in found["config"]
    assert any("number of workers is unknown" in text for text in batch.warnings)


def test_a_disaggregated_run(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("silicon", table(DISAGG), "silicon_sample.csv"))
    assert found["devices"] == 2 * 4 + 3 * 8
    assert found["config"]["mode"] == "disagg"
    assert found["config"]["decode_num_workers"] == 3
    assert found["config"]["prefill_attention_dp_size"] == 4
    assert "tp_size" not in found["config"]


def test_without_the_number_of_workers_the_devices_are_unknown(read_as: Read, facts: Facts) -> None:
    row = DISAGG | {"prefill_num_workers": "", "decode_num_workers": ""}
    assert "devices" not in facts(read_as("silicon", table(row), "silicon_sample.csv"))


def test_what_a_row_does_not_say_stays_unknown(read_as: Read, facts: Facts) -> None:
    row = AGG | {"precision": "", "backend_version": "", "silicon_data_source": "", "batch_size": 8}
    found = facts(read_as("silicon", table(row), "silicon_sample.csv"))
    assert not {"engine_version", "concurrency", "arrival", "measured_at", "devices"} & set(found)
    assert "precision" not in found["config"]


def test_the_version_of_the_image_around_the_engine_is_not_the_engines(read_as: Read, facts: Facts) -> None:
    """A label that lies: Dynamo 0.8.1 stands where the version of TensorRT-LLM should."""
    image = "; image=nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:0.8.1.post2"
    source = AGG["silicon_data_source"] + image
    lie = AGG | {"backend": "trtllm", "backend_version": "0.8.1.post2", "silicon_data_source": source}
    true = with_times(lie, 99.5, backend_version="1.3.0rc1")
    batch = read_as("silicon", table(lie, true), "silicon_sample.csv")
    assert batch.context["engine_version"].tolist() == [None, "1.3.0rc1"]
    assert facts(batch)["extra"]["dynamo_version"] == "0.8.1.post2"
    assert any("Dynamo image's in 1 rows" in text for text in batch.warnings)


def test_one_run_told_twice_is_one_measurement(read_as: Read) -> None:
    """T21: both times equal to the last digit; the copy that says more is kept."""
    copy = AGG | {"id": "other", "precision": "", "silicon_data_source": f"{EXPORT}; silicon_concurrency=64"}
    batch = read_as("silicon", table(copy, AGG), "silicon_sample.csv")
    assert batch.rows.tolist() == [2]
    assert [(row.row, row.value) for row in batch.bad] == [(1, "210.5, as in row 2")]
    assert "stands here twice" in reasons(batch)[1]


def test_true_repeats_stay(read_as: Read) -> None:
    """Equal in all that was run and not in what was measured: another run of the same."""
    batch = read_as("silicon", table(AGG, with_times(AGG, 215.75), with_times(AGG, 210.5, 12.5)), "silicon_sample.csv")
    assert batch.rows.tolist() == [1, 2, 3]


def test_copies_under_two_models_are_said_aloud(read_as: Read, facts: Facts) -> None:
    """T16."""
    copy = AGG | {"model_path": "deepseek-ai/DeepSeek-V3", "precision": ""}
    batch = read_as("silicon", table(AGG, copy), "silicon_sample.csv")
    assert facts(batch)["model"] == "deepseek-ai/DeepSeek-R1"
    assert any("differ in model_path (deepseek-ai/DeepSeek-R1, deepseek-ai/DeepSeek-V3)" in w for w in batch.warnings)


SQUARED = {"tp_size": 64, "moe_tp_size": 8, "moe_ep_size": 8}


def test_devices_that_the_id_disproves(read_as: Read) -> None:
    """`--tp 8 --ep 8` runs on 8 devices, not on 64; a copy without such an id is disproved with it."""
    source = f"{EXPORT}; silicon_concurrency=64"
    named = AGG | SQUARED | {"id": "r1_agg_c64_tp8_ep8_9", "silicon_data_source": source}
    batch = read_as("silicon", table(named, AGG | SQUARED, with_times(AGG, 99.5)), "silicon_sample.csv")
    assert batch.rows.tolist() == [3]
    assert [(row.row, row.value) for row in batch.bad] == [(n, "64, 64 devices; its id says tp8") for n in (1, 2)]


def test_the_copy_that_is_right_is_kept(read_as: Read, facts: Facts) -> None:
    source = f"{EXPORT}; silicon_concurrency=64"
    right = AGG | {"id": "r1_agg_c64_tp8_0_ep8_0_1", "silicon_data_source": source, "moe_tp_size": 1, "moe_ep_size": 8}
    batch = read_as("silicon", table(AGG | SQUARED, right), "silicon_sample.csv")
    assert batch.rows.tolist() == [2]
    assert facts(batch)["devices"] == 8


def test_devices_of_the_same_making_that_no_id_confirms(read_as: Read) -> None:
    batch = read_as("silicon", table(AGG | SQUARED, with_times(AGG | SQUARED, 99.5, silicon_data_source="own")),
                    "silicon_sample.csv")  # fmt: skip
    assert batch.rows.tolist() == [2]
    assert "the product of tp and ep" in reasons(batch)[1]


@pytest.mark.parametrize("name", ["moe_tp_size", "prefill_moe_tp_size", "decode_moe_tp_size"])
def test_splits_that_no_layer_allows(read_as: Read, name: str) -> None:
    row = (AGG if name == "moe_tp_size" else DISAGG) | {name: 36}
    batch = read_as("silicon", table(row, with_times(AGG, 99.5)), "silicon_sample.csv")
    assert batch.rows.tolist() == [2]
    assert (batch.bad[0].column, batch.bad[0].value) == (name, "36")


def test_devices_of_a_deployment_that_divide_a_layer_by_chance(read_as: Read) -> None:
    """Most rows of the sweep show that they tell the devices of all workers: then so does this one."""
    odd = [with_times(AGG, 90.5 + size, moe_tp_size=size, tp_size=size, id=f"dsr1_{size}") for size in (12, 20, 36)]
    chance = with_times(AGG, 99.5, moe_tp_size=32, tp_size=32, id="dsr1_32")
    others = with_times(AGG, 99.7, system="b300_sxm"), with_times(AGG, 99.9, silicon_data_source="own")
    batch = read_as("silicon", table(*odd, chance, *others), "silicon_sample.csv")
    assert batch.rows.tolist() == [5, 6]
    assert "so it is in most rows of this sweep" in reasons(batch)[4]


def test_settings_of_a_sweep_are_those_of_its_engine_version(read_as: Read, facts: Facts) -> None:
    row = AGG | {"backend": "vllm", "model_path": "MiniMaxAI/MiniMax-M2.5", "precision": "fp8", "isl": 1024}
    old = facts(read_as("silicon", table(row | {"backend_version": "0.17.0"}), "silicon_sample.csv"))["config"]
    new = facts(read_as("silicon", table(row | {"backend_version": "0.19.0"}), "silicon_sample.csv"))["config"]
    assert old["gpu_memory_utilization"] == 0.95
    assert "kv_cache_dtype" not in old
    assert (new["kv_cache_dtype"], new["max_num_batched_tokens"]) == ("fp8", 2048)
    own = row | {"silicon_data_source": "source_file=own.csv; silicon_concurrency=64"}
    assert "gpu_memory_utilization" not in facts(read_as("silicon", table(own), "silicon_sample.csv"))["config"]


def test_workers_of_size_one_in_everything_are_doubted(read_as: Read) -> None:
    ones = {f"prefill_{name}": 1 for name in _WORKER}
    batch = read_as("silicon", table(DISAGG | ones), "silicon_sample.csv")
    assert any("one device in all sizes in 1 rows" in text for text in batch.warnings)


def test_every_row_is_stored_or_set_aside(read_as: Read) -> None:
    rows = [
        AGG,
        AGG,
        DISAGG | {"silicon_ttft_ms": "slow"},
        with_times(AGG, -5.0),
        with_times(AGG, 9.5, isl=""),
        AGG | SQUARED,
    ]
    batch = read_as("silicon", table(*rows) + "cut,off\n", "silicon_sample.csv")
    assert sorted([*batch.rows.tolist(), *reasons(batch)]) == [1, 2, 3, 4, 5, 6, 7]
    assert batch.rows.tolist() == [1, 5]


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("model,ttft_ms\nm,1\n")
    assert importer("silicon").sniff(path.read_bytes(), path) == 0
    with pytest.raises(FileError, match=r"expected aiconfigurator's silicon_sample\.csv"):
        list(importer("silicon").read(path, ReadSettings()))
