"""Traps T13 to T24: what was really run, names, headers, copies, secrets, origins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportOptions
from perfdb.importers.table.redact import redact
from perfdb.metrics import Statistic
from perfdb.store.store import Store

Read = Callable[..., Batch]
VALUE, MEAN, P50 = Statistic.VALUE, Statistic.MEAN, Statistic.MEDIAN


def extra(batch: Batch, row: int = 0) -> dict[str, Any]:
    return json.loads(batch.context["extra"][row] or "{}")


def said(batch: Batch, *words: str) -> bool:
    return any(all(word in text for word in words) for text in batch.warnings)


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


@pytest.mark.parametrize(
    "text",
    [
        "--api-key HUSHHUSH12345678", "ACCESS_TOKEN: HUSHHUSH12345678", "auth-token=HUSHHUSH12345678",
        "HF_TOKEN=HUSHHUSH12345678", "my_secret HUSHHUSH12345678", "PassWord:HUSHHUSH12345678",
        "passwd HUSHHUSH12345678", "BEARER HUSHHUSH12345678", "https://joe:HUSHHUSH12345678@host/x",
        "sk-HUSHHUSH12345678", "hf_HUSHHUSH12345678",
        "gho_HUSHHUSH12345678", "github_pat_HUSHHUSH12345678", "AKIAHUSHHUSH12345678", "xoxb-HUSHHUSH12345678",
        "AIzaHUSHHUSH12345678901234567890123456", "nvapi-HUSHHUSH12345678", "eyJHUSHHUSH1234.HUSHHUSH1234.HUSHHUSH",
    ],
)  # fmt: skip
def test_t22_every_kind_of_secret_is_known(text: str) -> None:
    assert "HUSHHUSH" not in redact(f"run {text} --model m")
    assert redact("monkeys at sketchy ghost tokens") == "monkeys at sketchy ghost tokens"


def test_t23_the_origin_can_be_said(read: Read) -> None:
    batch = read("tp,mean_ttft_ms\n1,50\n", origin="simulated")
    assert batch.context["origin"].tolist() == ["simulated"]


COLD = "concurrency,isl,osl,mean_ttft_ms\n"


def test_t14_a_first_run_without_warm_up_is_noticed(read: Read) -> None:
    """T14: one request at a time, and a shorter prompt took longer."""
    batch = read(COLD + "1,128,64,900\n1,1024,64,60\n1,4096,64,200\n8,128,64,900\n8,1024,64,60\n")
    assert said(batch, "TTFT falls with length in 1 place:", "no warm-up")
    assert (len(batch.rows), batch.bad) == (5, ())


@pytest.mark.parametrize(
    "rows",
    [
        "1,128,64,50\n1,1024,64,60\n",  # as it should be
        "1,128,64,70\n1,1024,64,60\n",  # within the noise
        "1,128,64,900\n1,128,64,50\n1,1024,64,60\n",  # the repeat was warm
        "1,128,64,900\n1,1024,32,60\n",  # something else differs as well
    ],
)
def test_t14_what_is_no_cold_run(read: Read, rows: str) -> None:
    assert not said(read(COLD + rows), "falls with length")


def test_t16_one_model_id_in_every_file_gives_way_to_the_path(tmp_path: Path) -> None:
    for model in ("qwen3-8b", "qwen3-14b"):
        (tmp_path / model).mkdir()
        (tmp_path / model / "r.csv").write_text(f"model_id,mean_ttft_ms\nllama-7b,{len(model)}\n")
    store = Store(tmp_path / "db.duckdb")
    report = import_paths(store, [tmp_path], ImportOptions(from_path="{model}/r.csv"))
    assert sorted(row[0] for row in store.sql("SELECT model FROM operating_points").rows) == [
        "Qwen/Qwen3-14B", "Qwen/Qwen3-8B"
    ]  # fmt: skip
    assert any("'model_id' says something else than the path in 1 row" in text for text in report.warnings)


def test_t17_parameters_that_stand_in_folder_names(tmp_path: Path) -> None:
    """T17: run_1_TP4_DP2_CTX2048_C100_P100_O128."""
    place = tmp_path / "run_1_TP4_DP2_CTX2048_C100_P100_O128"
    place.mkdir()
    (place / "out.csv").write_text("mean_ttft_ms\n50\n60\n")
    (tmp_path / "loose.csv").write_text("tp,mean_ttft_ms\n1,50\n")
    store = Store(tmp_path / "db.duckdb")
    pattern = "run_{_}_TP{tp}_DP{dp}_CTX{isl}_C{concurrency}_P{requests}_O{osl}/out.csv"
    report = import_paths(store, [tmp_path], ImportOptions(from_path=pattern, format="generic"))
    query = "SELECT DISTINCT config, isl, osl, concurrency, requests, devices FROM operating_points"
    assert [list(row) for row in store.sql(query).rows] == [['{"dp":2,"tp":4}', 2048, 128, 100, 100, 8]]
    assert any("does not fit --from-path" in reason for file, reason in report.skipped if file.endswith("loose.csv"))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("TGI", "tgi"), ("text-generation-inference", "tgi"), ("Deepspeed-MII", "deepspeed-mii"),
        ("DeepSpeed", "deepspeed"), ("lmdeploy", "lmdeploy"), ("sambaflow", "sambaflow"), ("TRT", "trtllm"),
        ("TensorRT-LLM", "trtllm"), ("llama.cpp", "llamacpp"),
    ],
)  # fmt: skip
def test_t18_every_engine_has_one_spelling(read: Read, given: str, name: str) -> None:
    batch = read(f"framework,mean_ttft_ms\n{given},50\n", bare=True)
    assert batch.context["engine"].tolist() == [name]
    assert not said(batch, "unknown engine")


def test_t18_an_engine_that_nobody_knows_is_said(read: Read) -> None:
    batch = read("framework,mean_ttft_ms\nwarpserve,50\n", bare=True)
    assert batch.context["engine"].tolist() == ["warpserve"]
    assert said(batch, "unknown engine", "warpserve")


def test_t20_byte_identical_files_are_one(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("tp,mean_ttft_ms\n1,50\n")
    report = import_paths(Store(tmp_path / "db.duckdb"), [tmp_path / "a.csv", tmp_path / "b.csv"])
    assert (report.stored, report.duplicates) == (1, 1)
    assert any("imported before" in text for text in report.warnings)


TWICE = "model,gpu,tp,mean_ttft_ms,mean_tpot_ms,output_throughput\n"


def test_t21_one_run_in_two_files_is_stored_once(tmp_path: Path) -> None:
    """T21: the same record beside others, so that the files differ."""
    (tmp_path / "a.csv").write_text(TWICE + "qwen3-8b,A10,1,51.7,9.13,411.9\n")
    (tmp_path / "b.csv").write_text(TWICE + "qwen3-8b,A10,1,51.7,9.13,411.9\nqwen3-8b,A10,2,33.1,6.2,702.4\n")
    report = import_paths(Store(tmp_path / "db.duckdb"), [tmp_path / "a.csv", tmp_path / "b.csv"])
    assert (report.stored, report.duplicates) == (2, 1)
    assert not any("another label" in text for text in report.warnings)


@pytest.mark.parametrize("together", [True, False])
def test_t21_copies_under_another_label_are_said(tmp_path: Path, together: bool) -> None:
    first, second = "qwen3-8b,A10,1,51.7,9.13,411.9\n", "qwen3-8b,L4,1,51.7,9.13,411.9\n"
    (tmp_path / "a.csv").write_text(TWICE + first + (second if together else ""))
    (tmp_path / "b.csv").write_text(TWICE + ("" if together else second) + "qwen3-8b,L4,2,33.1,6.2,702.4\n")
    report = import_paths(Store(tmp_path / "db.duckdb"), [tmp_path / "a.csv", tmp_path / "b.csv"])
    assert report.stored == 3
    where = "rows of this file" if together else f"rows of {tmp_path / 'a.csv'}"
    (warning,) = [text for text in report.warnings if "another label" in text]
    assert f"1 row with the same numbers, to the last digit, as {where} that differ in platform" in warning


def test_t21_two_equal_numbers_are_no_copy(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("gpu,mean_ttft_ms,mean_tpot_ms\nA10,50,9\nL4,50,9\n")
    report = import_paths(Store(tmp_path / "db.duckdb"), [tmp_path / "a.csv"])
    assert not any("another label" in text for text in report.warnings)


def test_t23_origins_of_a_column_and_one_that_is_none(read: Read) -> None:
    batch = read("origin,mean_ttft_ms\nPredicted,50\nderived,50\n,50\nguessed,50\n")
    assert batch.context["origin"].tolist() == ["predicted", "derived", "measured", "measured"]
    assert said(batch, "unknown origin", "guessed")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS pointer"),
        (b"", "the file is empty"),
        (b" \r\n\t\n", "nothing but blanks"),
    ],
)
def test_t24_pointers_and_empty_files_are_skipped_with_their_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / "b.csv").write_text("tp,mean_ttft_ms\n1,50\n")
    report = import_paths(Store(tmp_path / "db.duckdb"), [tmp_path])
    assert [(file, reason in why) for file, why in report.skipped] == [(str(tmp_path / "a.csv"), True)]
    assert report.stored == 1
