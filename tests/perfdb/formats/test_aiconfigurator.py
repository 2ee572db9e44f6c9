"""Operation tables of aiconfigurator-core: Parquet files in folders, written here."""

from __future__ import annotations

import pytest
from aiconfigurator_tables import SAID, WHO, Table, rows

from perfdb.importers.folder import import_paths
from perfdb.store import Store


def test_a_gemm_table(store: Store, table: Table) -> None:
    path = table(
        f"{WHO}, 'gemm' AS op_name, 'cutlass' AS kernel_source, 'fp8_block' AS gemm_dtype, 64 AS m, 128 AS n, "
        "256 AS k, 0.0755 AS latency"
    )
    report = import_paths(store, [path])
    assert (report.rows_read, report.stored, report.measurements, report.warnings) == (1, 1, 1, [])
    assert rows(store, f"{SAID}, m, n, k, origin, more") == [
        ["h200_sxm", "vllm", "0.24.0", "gemm", "fp8_block", "cutlass", 64, 128, 256, "measured", None]
    ]
    assert rows(store, "latency_s") == [[pytest.approx(75.5e-6)]]


def test_attention_keeps_batch_lengths_heads_and_formats(store: Store, table: Table) -> None:
    import_paths(
        store,
        [
            table(
                f"{WHO}, 'generation_attention' AS op_name, 'fa3' AS kernel_source, 8 AS batch_size, 1 AS isl, "
                "32 AS num_heads, "
                "4 AS num_key_value_heads, 128 AS head_dim, 1 + i AS beam_width, 'bfloat16' AS attn_dtype, "
                "'fp8' AS kv_cache_dtype, 1023 AS step, 0 AS window_size, 0.02 AS latency",
                rows=2,
            )
        ],
    )
    columns = "batch_size, isl, prefix, heads, kv_heads, head_dim, window_size, dtype, kv_dtype, more"
    assert rows(store, columns) == [
        [8, 1, 1023, 32, 4, 128, 0, "bf16", "fp8", None],
        [8, 1, 1023, 32, 4, 128, 0, "bf16", "fp8", '{"beam_width":2}'],
    ]


def test_experts_keep_their_distribution_and_power(store: Store, table: Table) -> None:
    import_paths(
        store,
        [
            table(
                f"{WHO}, 'moe' AS op_name, 'triton' AS kernel_source, 'int4_wo' AS moe_dtype, 16 AS num_tokens, "
                "2048 AS hidden_size, 768 AS inter_size, 8 AS topk, 128 AS num_experts, 2 AS moe_tp_size, "
                "4 AS moe_ep_size, "
                "'power_law_1.2' AS distribution, 1.5 AS latency, 300.5 AS power",
                "moe_perf",
            )
        ],
    )
    columns = "dtype, tokens, hidden, inter, topk, experts, moe_tp, moe_ep, distribution, more"
    assert rows(store, columns) == [["int4", 16, 2048, 768, 8, 128, 2, 4, "power_law_1.2", '{"power":300.5}']]


def test_collectives_count_elements_and_name_the_library(store: Store, table: Table) -> None:
    nccl = (
        "'TRTLLM' AS framework, '2.29.2' AS version, 'NVIDIA H200' AS device, 'alltoall' AS op_name, "
        "'NCCL' AS kernel_source, 'half' AS nccl_dtype, 8 AS num_gpus, 1024 AS message_size, 0.01 AS latency"
    )
    bare = (
        "'int8' AS nccl_dtype, 2 AS num_gpus, 2048 AS message_size, 'NCCL' AS kernel_source, "
        "'all_gather' AS op_name, 0.01 AS latency"
    )
    import_paths(
        store,
        [table(nccl, "nccl_perf", "h200_sxm/comm/nccl/2.27"), table(bare, "nccl_perf", "h200_sxm/comm/nccl/2.23")],
    )
    columns = "platform, engine, engine_version, op, dtype, devices, elements, bytes"
    assert rows(store, columns) == [
        ["h200_sxm", "nccl", "2.29.2", "all_to_all", "fp16", 8, 1024, 2048],
        ["h200_sxm", "nccl", "2.23", "all_gather", "int8", 2, 2048, 2048],
    ]


def test_deepep_is_in_microseconds_and_holds_two_operations(store: Store, table: Table) -> None:
    who = "'sglang' AS framework, '0.5.12' AS version, 'NVIDIA H200' AS device, 'deepep' AS kernel_source"
    shape = "1 AS node_num, 5120 AS hidden_size, 4 AS num_token, 8 AS num_topk, 16 AS num_experts"
    where = "h200_sxm/comm/sglang/0.5.12"
    normal = table(
        f"{who}, 'normal' AS op_name, {shape}, 4 AS dispatch_sms, 27.5 AS dispatch_transmit_us, "
        "2.5 AS dispatch_notify_us, 4 AS combine_sms, 40.0 AS combine_transmit_us, 0.0 AS combine_notify_us",
        "wideep_deepep_normal_perf",
        where,
    )
    low = table(
        f"{who}, 'll' AS op_name, {shape}, 10.0 AS combine_avg_t_us, 1.0 AS combine_bandwidth_gbps, "
        "8.0 AS dispatch_avg_t_us, 0.6 AS dispatch_bandwidth_gbps",
        "wideep_deepep_ll_perf",
        where,
    )
    report = import_paths(store, [normal, low])
    assert (report.rows_read, report.stored, report.measurements) == (2, 2, 4)
    found = rows(store, "kernel, op, nodes, tokens, hidden, topk, experts, more, latency_s")
    shown = [row[:7] for row in found]
    assert shown == [
        [kernel, f"moe_{way}", 1, 4, 5120, 8, 16]
        for kernel in ("deepep_ht", "deepep_ll")
        for way in ("combine", "dispatch")
    ]
    assert [row[7] for row in found] == ['{"combine_sms":4,"dispatch_sms":4}'] * 2 + [None] * 2
    assert [row[8] for row in found] == pytest.approx([40e-6, 30e-6, 10e-6, 8e-6])


def test_exchanges_of_other_backends(store: Store, table: Table) -> None:
    import_paths(
        store,
        [
            table(
                f"{WHO}, 'moe_a2a' AS op_name, 'deepep' AS kernel_source, 'deepep_ht' AS comm_backend, "
                "'dispatch' AS phase, "
                "'default' AS comm_dtype, 8 AS ep_size, 1 AS node_num, 7168 AS hidden_size, 6 AS topk, "
                "384 AS num_experts, "
                "8192 AS num_tokens, 0 AS sms, 872.5 AS transmit_us, 0.0 AS notify_us, 872.5 AS latency",
                "moe_a2a_perf",
                "h200_sxm/comm/vllm/0.24.0",
            ),
            table(
                f"{WHO}, 'alltoall_combine' AS op_name, 'NVLinkTwoSided' AS kernel_source, 'nvfp4' AS moe_dtype, "
                "320 AS num_tokens, 7168 AS hidden_size, 8 AS topk, 256 AS num_experts, 8 AS moe_ep_size, "
                "'balanced' AS distribution, 0.077 AS latency",
                "trtllm_alltoall_perf",
                "gb200/comm/vllm/0.24.0",
            ),
        ],
    )
    assert rows(store, "op, phase, dtype, kernel, moe_ep, more, latency_s") == [
        ["moe_dispatch", None, None, "deepep_ht", 8, '{"sms":0}', pytest.approx(872.5e-6)],
        ["moe_combine", None, "nvfp4", "NVLinkTwoSided", 8, None, pytest.approx(77e-6)],
    ]


def test_whole_layers_have_a_format_for_their_products(store: Store, table: Table) -> None:
    import_paths(
        store,
        [
            table(
                "'SGLang' AS framework, 'kernel-level' AS version, 'NVIDIA H200' AS device, "
                "'dsa_context_module' AS op_name, "
                "'flashmla' AS kernel_source, 'zai-org/GLM-5' AS model, 'Glm' AS architecture, "
                "'bfloat16' AS mla_dtype, "
                "'fp8_e4m3' AS kv_cache_dtype, 'fp8_block' AS gemm_type, 32 AS num_heads, 1 AS batch_size, 32 AS isl, "
                "2 AS tp_size, 4096 AS step, 1.5 AS latency",
                "dsa_context_module_perf",
                "h200_sxm/sparse_attention/sglang/0.5.14",
            )
        ],
    )
    columns = "engine, engine_version, op, dtype, kv_dtype, gemm_dtype, model, heads, isl, prefix, tp, more"
    assert rows(store, columns) == [
        [
            "sglang",
            None,
            "dsa_context_module",
            "bf16",
            "fp8",
            "fp8_block",
            "zai-org/GLM-5",
            32,
            32,
            4096,
            2,
            '{"architecture":"Glm"}',
        ]
    ]


def test_the_cache_of_a_wide_decode_is_its_isl(store: Store, table: Table) -> None:
    columns = (
        f"{WHO}, 'mla_generation' AS op_name, 'flashinfer' AS kernel_source, 'fp8_block' AS mla_dtype, "
        "'fp8' AS kv_cache_dtype, 32 AS num_heads, 16 AS batch_size, 2048 AS isl, 1 AS tp_size, 0 AS step, "
        "0.06 AS latency"
    )
    where = "h200_sxm/mla/vllm/0.24.0"
    import_paths(
        store,
        [
            table(columns, "wideep_generation_mla_perf", where),
            table(columns.replace("2048 AS isl", "1 AS isl"), "generation_mla_perf", where),
        ],
    )
    assert rows(store, "op, isl, prefix") == [["wideep_generation_mla", 1, 2047], ["generation_mla", 1, 0]]


@pytest.mark.parametrize(
    ("stem", "op_name", "op"),
    [
        ("mla_bmm_perf", "mla_gen_pre", "mla_bmm_pre"),
        ("mhc_module_perf", "post", "mhc_post"),
        ("wideep_context_mla_perf", "mla_context", "wideep_context_mla"),
        ("context_mla_perf", "mla_context", "context_mla"),
        ("wideep_context_moe_perf", "moe_context", "wideep_context_moe"),
        ("wideep_context_mlp_perf", "mlp", "wideep_context_mlp"),
        ("wideep_generation_mlp_perf", "mlp", "wideep_generation_mlp"),
        ("scale_matrix_perf", "scale_matrix", "scale_matrix"),
        ("renamed", "all_reduce", "all_reduce"),
    ],
)
def test_each_table_has_its_operation(store: Store, table: Table, stem: str, op_name: str, op: str) -> None:
    latency = "avg_ms" if "mlp" in stem else "latency"
    import_paths(store, [table(f"{WHO}, '{op_name}' AS op_name, 'k' AS kernel_source, 2.0 AS {latency}", stem)])
    assert rows(store, "op, latency_s, origin") == [[op, pytest.approx(0.002), "measured"]]


def test_differences_of_measurements_are_derived_and_zeros_set_aside(store: Store, table: Table) -> None:
    report = import_paths(
        store,
        [
            table(
                f"{WHO}, 'compute_scale' AS op_name, 'k' AS kernel_source, 8 AS m, 16 AS k, "
                "'fp8' AS quant_dtype, 0.001 * i AS latency",
                "computescale_perf",
                rows=3,
            )
        ],
    )
    assert (report.stored, report.quarantined, dict(report.reasons)) == (2, 1, {"not measured": 1})
    assert rows(store, "origin, m, k") == [["derived", 8, 16]] * 2
