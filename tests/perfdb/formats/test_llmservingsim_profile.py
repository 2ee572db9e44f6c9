"""Operation tables of LLMServingSim's profiler: narrow CSV files beside a meta.yaml, written here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportOptions
from perfdb.store import Store

META = """gpu: NVIDIA RTX PRO 6000 Blackwell Server Edition
hardware: RTXPRO6000
vllm_version: 0.19.0
profiled_at: '2026-04-24T12:44:06+02:00'
model: Qwen/Qwen3-30B-A3B
variant: bf16
"""
FOLDER = "RTXPRO6000/Qwen/Qwen3-30B-A3B/bf16"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def run(name: str, text: str, where: str = f"{FOLDER}/tp2", meta: str | None = META) -> Path:
        path = tmp_path / "profile" / where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if meta is not None:
            (path.parent.parent / "meta.yaml").write_text(meta)
        return path

    return run


def rows(store: Store, what: str) -> list[list[object]]:
    return store.sql(f"SELECT {what} FROM op_measurements ORDER BY source_row, op").rows


def test_layers_are_named_as_elsewhere_and_timed_in_microseconds(store: Store, write: Write) -> None:
    report = import_paths(store, [write("dense.csv", "layer,tokens,time_us\nqkv_proj,16,54.5\nact_fn,1,2.5\n")])
    assert (report.stored, report.warnings) == (2, [])
    columns = "op, platform, engine, engine_version, model, dtype, tp, tokens, measured_at::VARCHAR, more"
    common = ["rtx_pro_6000_server", "vllm", "0.19.0", "Qwen/Qwen3-30B-A3B", "bf16", 2]
    assert rows(store, columns) == [
        ["qkv_proj", *common, 16, "2026-04-24 10:44:06", None],
        ["activation", *common, 1, "2026-04-24 10:44:06", None],
    ]
    assert [row[0] for row in rows(store, "latency_s")] == pytest.approx([54.5e-6, 2.5e-6])


def test_what_runs_per_sequence(store: Store, write: Write) -> None:
    import_paths(store, [write("per_sequence.csv", "layer,sequences,time_us\nlm_head,3,420\nsampler,3,10\n")])
    assert rows(store, "op, batch_size, tokens") == [["lm_head", 3, None], ["sampler", 3, None]]


def test_attention_is_of_a_whole_step(store: Store, write: Write) -> None:
    import_paths(
        store, [write("attention.csv", "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n512,1024,8,256,90\n")]
    )
    assert rows(store, "op, isl, prefix, decode_batch, decode_kv") == [["mixed_attention", 512, 1024, 8, 256]]


def test_experts_that_got_a_token(store: Store, write: Write) -> None:
    import_paths(store, [write("moe.csv", "tokens,activated_experts,time_us\n2,16,134.9\n")])
    assert rows(store, "op, tokens, active_experts") == [["moe", 2, 16]]


def test_skew_holds_three_times_of_each_mix(store: Store, write: Write) -> None:
    header = "regime,n,nb,ratio,skew,pc,kp,kvs,kv_big,kv_mean,t_mean_us,t_max_us,t_skew_us,alpha\n"
    report = import_paths(store, [write("skew.csv", header + "pure,2,1,0.5,4.0,0,0,128,512,320,50,56,53,0.29\n")])
    assert (report.rows_read, report.measurements) == (1, 3)
    assert rows(store, "op, isl, prefix, decode_batch, decode_kv, latency_s * 1e6") == [
        ["mixed_attention", 0, 0, 2, 320, pytest.approx(50)],
        ["mixed_attention", 0, 0, 2, 512, pytest.approx(56)],
        ["skewed_attention", 0, 0, 2, 320, pytest.approx(53)],
    ]
    assert rows(store, "DISTINCT ON (more) more, source_row, op")[0][0] == (
        '{"kvs":128,"nb":1,"ratio":0.5,"regime":"pure","skew":4}'
    )


def test_what_was_fitted_is_no_measurement(store: Store, write: Write) -> None:
    fitted = write(
        "skew_fit.csv", "pc,n_label,skew_rate_label,kv_big_label,kp_label,alpha,n_samples\n0,a,b,c,d,0.1,4\n"
    )
    with pytest.raises(FileError, match=r"fitted to skew\.csv, not measured"):
        import_paths(store, [fitted])
    write("dense.csv", "layer,tokens,time_us\nrope,1,1\n")
    report = import_paths(store, [fitted.parent])
    assert (report.stored, [reason.split(";")[0] for _, reason in report.skipped]) == (
        1,
        ["coefficients fitted to skew.csv, not measured"],
    )


def test_without_notes_the_path_says_it(store: Store, write: Write) -> None:
    path = write("dense.csv", "layer,tokens,time_us\no_proj,1,1\n", "RTX4090/meta-llama/Llama-3.1-8B/fp8/tp1", None)
    import_paths(store, [path])
    assert rows(store, "platform, engine_version, model, dtype, tp, measured_at") == [
        ["rtx_4090", None, "meta-llama/Llama-3.1-8B", "fp8", 1, None]
    ]


def test_notes_are_part_of_the_file(store: Store, write: Write) -> None:
    text = "layer,tokens,time_us\no_proj,1,1\n"
    import_paths(store, [write("dense.csv", text)])
    assert import_paths(store, [write("dense.csv", text, meta=META.replace("0.19.0", "0.20.0"))]).stored == 1
    assert import_paths(store, [write("dense.csv", text)]).duplicates == 1


@pytest.mark.parametrize("meta", ["gpu: [", "gpu: \x00"])
def test_notes_that_cannot_be_read_are_named(store: Store, write: Write, meta: str) -> None:
    path = write("dense.csv", "layer,tokens,time_us\no_proj,1,1\n", meta=meta)
    with pytest.raises(FileError, match=r"meta\.yaml"):
        import_paths(store, [path])


def test_a_table_of_other_columns_is_refused(store: Store, write: Write) -> None:
    path = write("dense.csv", "layer,time\no_proj,1\n")
    with pytest.raises(FileError, match="not the columns of a table of the profiler"):
        import_paths(store, [path], ImportOptions(format="llmservingsim_profile"))
