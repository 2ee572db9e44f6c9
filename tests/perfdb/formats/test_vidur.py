"""Operation tables of Vidur and Frontier: wide CSV files in folders, written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportOptions
from perfdb.store import Store

Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """A CSV of records; a value (mean, median, std) of an operation fills its five columns."""

    def write(where: str, *records: Mapping[str, object]) -> Path:
        path = tmp_path / "profiling" / where
        path.parent.mkdir(parents=True, exist_ok=True)
        flat = [wide(record) for record in records]
        names = list(dict.fromkeys(name for record in flat for name in record))
        lines = [",".join(str(record.get(name, "")) for name in names) for record in flat]
        path.write_text("\n".join([",".join(names), *lines]) + "\n")
        return path

    return write


def wide(record: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in record.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            ends = dict(zip(("mean", "median", "std"), value, strict=True))
            found |= {f"time_stats.{name}.{end}": number for end, number in {"min": 0, "max": 9, **ends}.items()}
        else:
            found[name] = value
    return found


def rows(store: Store, what: str) -> list[list[object]]:
    return store.sql(f"SELECT {what} FROM op_measurements ORDER BY source_row, op").rows


LAYER = {
    "n_embd": 4096,
    "n_expanded_embd": 11008,
    "num_tokens": 64,
    "num_tensor_parallel_workers": 2,
    "vocab_size": 32000,
}


def test_a_record_of_layers_becomes_a_row_per_operation(store: Store, table: Table) -> None:
    path = table(
        "compute/a100/meta-llama/Llama-2-7b-hf/mlp.csv",
        {"emb": (0.22, 0.2, 0.011), "mlp_up_proj": (3.0, 2.5, 0.3), **LAYER},
    )
    report = import_paths(store, [path])
    assert (report.rows_read, report.stored, report.measurements) == (1, 1, 2)
    columns = "op, platform, model, engine, tokens, hidden, inter, tp, statistic, more"
    common = ["a100_sxm_80gb", "meta-llama/Llama-2-7b-hf", None, 64, 4096, 11008, 2, "median", '{"vocab_size":32000}']
    assert rows(store, columns) == [["embedding", *common], ["gate_up_proj", *common]]
    assert [number for row in rows(store, "latency_s, spread") for number in row] == pytest.approx(
        [2e-4, 0.05, 2.5e-3, 0.1]
    )


def test_prefill_and_decode_are_told_apart(store: Store, table: Table) -> None:
    """Each record holds a time of the other's kernel, too: 0, or noise."""
    heads = {"n_q_head": 32, "n_kv_head": 8, "num_tensor_parallel_workers": 1, "attention_backend": "FLASHINFER"}
    prefill = {
        "attn_prefill": (1, 1, 0),
        "attn_decode": (0.01, 0.01, 0),
        "attn_kv_cache_save": (0.5, 0.5, 0),
        "is_prefill": True,
        "batch_size": 1,
        "prefill_chunk_size": 128,
        "kv_cache_size": 256,
    }
    decode = {
        "attn_prefill": (0, 0, 0),
        "attn_decode": (2, 2, 0),
        "attn_kv_cache_save": (0.25, 0.25, 0),
        "is_prefill": False,
        "batch_size": 8,
        "prefill_chunk_size": 0,
        "kv_cache_size": 512,
    }
    report = import_paths(store, [table("a800/m/attention.csv", {**prefill, **heads}, {**decode, **heads})])
    assert (report.rows_read, report.stored, report.measurements) == (2, 2, 4)
    assert rows(store, "op, kernel, batch_size, isl, prefix, latency_s * 1e3") == [
        ["context_attention", "FLASHINFER", 1, 128, 256, 1],
        ["kv_cache_write", "FLASHINFER", 1, 128, 256, 0.5],
        ["generation_attention", "FLASHINFER", 8, 1, 512, 2],
        ["kv_cache_write", "FLASHINFER", 8, 1, 512, 0.25],
    ]


def test_a_batch_of_unlike_prompts_has_no_single_length(store: Store, table: Table) -> None:
    record = {
        "attn_prefill": (1, 1, 0),
        "is_prefill": True,
        "is_mixed_batch": True,
        "batch_size": 2,
        "prefill_chunk_size": 0,
        "kv_cache_size": 0,
        "seq_lens": '"[10, 30]"',
    }
    import_paths(store, [table("a800/m/attention.csv", record)])
    assert rows(store, "op, batch_size, isl, prefix, more") == [
        ["context_attention", None, None, None, '{"is_mixed_batch":true,"seq_lens":"[10, 30]"}']
    ]


def test_experts(store: Store, table: Table) -> None:
    record = {
        "moe_gating_linear": ("", "", ""),
        "moe_grouped_gemm": (0.4, 0.4, 0.1),
        "num_tokens": 8,
        "num_experts": 128,
        "router_topk": 8,
        "hidden_dim": 2048,
        "expert_hidden_dim": 768,
        "expert_parallel_size": 4,
        "num_tensor_parallel_workers": 2,
        "load_distribution": "uniform",
        "profiling_precision": "BF16",
        "moe_grouped_gemm_backend": "triton",
    }
    import_paths(store, [table("a800/m/moe.csv", record)])
    columns = "op, dtype, kernel, distribution, tokens, hidden, inter, topk, experts, moe_tp, moe_ep, tp"
    assert rows(store, columns) == [["moe_grouped_gemm", "bf16", "triton", "uniform", 8, 2048, 768, 8, 128, 2, 4, None]]


def test_collectives_count_bytes(store: Store, table: Table) -> None:
    common = {"rank": 0, "num_workers": 8, "size": 2048, "devices_per_node": 8}
    paths = [
        table(
            "network/h100_dgx/all_reduce.csv",
            {"": 0, "all_reduce": (0.03, 0.037, 0.01), "collective": "all_reduce", **common},
        ),
        table(
            "network/h100_dgx/send_recv.csv",
            {"": 0, "send_recv": (0.02, 0.02, 0.01), "collective": "send_recv", **common},
        ),
    ]
    import_paths(store, paths)
    columns = "op, platform, model, devices, bytes, elements, more"
    common_row = ["h100_sxm", None, 8, 2048, None, '{"devices_per_node":8}']
    assert rows(store, columns) == [["all_reduce", *common_row], ["p2p", *common_row]]


def test_a_record_in_which_nothing_was_timed_is_set_aside(store: Store, table: Table) -> None:
    path = table(
        "a800/m/mlp.csv",
        {"emb": (0, 0, 0), "add": ("", "", ""), **LAYER},
        {"emb": (1, 1, 0), **LAYER},
        {"emb": (1, -1, 0), "add": (1, 1, 0), **LAYER},
    )
    report = import_paths(store, [path])
    assert (report.stored, report.measurements, dict(report.reasons)) == (
        1,
        1,
        {"not measured": 1, "a negative latency": 1},
    )


def test_unknown_operations_and_models_keep_their_names(store: Store, table: Table) -> None:
    report = import_paths(store, [table("a800/my-model/linear_op.csv", {"warp_drive": (1, 1, 0), **LAYER})])
    assert rows(store, "op, model") == [["warp_drive", "my-model"]]
    assert report.warnings[0].endswith("op 'warp_drive' is none that we know: kept as it is")


def test_where_the_path_says_no_device_the_user_does(store: Store, table: Table) -> None:
    path = table("somewhere/mlp.csv", {"emb": (1, 1, 0), **LAYER})
    import_paths(store, [path], ImportOptions(set={"platform": "a100", "model": "m"}))
    assert rows(store, "platform, model") == [["a100_sxm_80gb", "m"]]


def test_equal_tables_of_two_devices_are_two(store: Store, table: Table) -> None:
    paths = [table(f"{device}/m/mlp.csv", {"emb": (1, 1, 0), **LAYER}) for device in ("a40", "a800")]
    assert import_paths(store, paths).stored == 2


def test_a_table_without_a_median_is_an_error(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mlp.csv"
    path.write_text("time_stats.emb.mean\n1\n")
    with pytest.raises(FileError, match=r"no column of a median; expected time_stats\.OPERATION\.median"):
        import_paths(store, [path], ImportOptions(format="vidur"))
