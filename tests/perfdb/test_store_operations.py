"""Tables of operations in the store: typed, spelled as everywhere, set aside where they cannot be true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
from operation_files import LATENCY, Write, gemm, only

from perfdb.batch import ImportCounts, Number, OperationFile, Reading
from perfdb.store import Store
from perfdb.store.op_ingest import preview


def test_arguments_are_columns_of_their_own(store: Store, write: Write) -> None:
    path = write("m,n,k,ms,dtype\n1024,4096,512,2.5,bfloat16\n2048,4096,512,5,bfloat16\n")
    texts = {"dtype": ("dtype",)}
    counts = only(store, gemm(path, given={"op": "gemm", "platform": "h200_sxm"}, texts=texts))
    assert counts == ImportCounts(2, 2, 0, 0, 2)
    query = "SELECT latency_s FROM op_measurements WHERE platform = 'h200_sxm' AND op = 'gemm' AND m = 1024"
    assert store.sql(query).rows == [[pytest.approx(0.0025)]]
    found = store.operations(op="gemm", dtype="bf16")
    assert found["m"].tolist() == [1024, 2048]
    assert found["source"].tolist() == [str(path)] * 2
    assert found["latency_s"] == pytest.approx([0.0025, 0.005])
    assert len(store.operations(dtype="fp8")) == len(store.operations(platform="a10")) == 0


@pytest.mark.parametrize(
    ("row", "column", "value", "reason"),
    [
        ("1.5,1,1,1", "m", "1.5", "not a whole number of 0 or more"),
        ("-1,1,1,1", "m", "-1", "not a whole number of 0 or more"),
        ("many,1,1,1", "m", "many", "not a whole number of 0 or more"),
        ("1e12,1,1,1", "m", "1e12", "not a whole number of 0 or more"),
        ("1,1,1,-2", "ms", "-2", "a negative latency"),
        ("1,1,1,fast", "ms", "fast", "not a number"),
        ("1,1,1,inf", "ms", "inf", "not a number"),
        ("1,1,1,nan", "ms", "nan", "not a number"),
        ("1,1,1,0.0", "ms", "0.0", "not measured"),
        ("1,1,1,", "ms", "", "not measured"),
        ("1,1", "", "1,1", "the line has 2 cells, the header 4"),
    ],
)
def test_what_is_no_measurement_is_set_aside_with_its_place(
    store: Store, write: Write, row: str, column: str, value: str, reason: str
) -> None:
    path = write(f"m,n,k,ms\n7,8,9,1\n{row}\n")
    assert only(store, gemm(path)) == ImportCounts(2, 1, 0, 1, 1, {reason: 1})
    assert store.sql('SELECT file, "row", "column", value, reason FROM quarantine').rows == [
        [str(path), 2, column, value, reason]
    ]


def test_a_record_without_an_operation_is_set_aside(store: Store, write: Write) -> None:
    path = write("what,m,ms\ngemm,1,1\n,1,1\n")
    counts = only(store, gemm(path, given={}, texts={"op": ("what",)}))
    assert counts.reasons == {"no operation is named": 1}


WIDE = (
    Reading(Number(("send_us", "wait_us"), per=1e6), given={"op": "moe_dispatch"}),
    Reading(Number(("back_us",), per=1e6), given={"op": "moe_combine"}),
)


def test_a_record_may_hold_several_latencies_and_counts_once(store: Store, write: Write) -> None:
    path = write("tokens,send_us,wait_us,back_us\n1,10,5,20\n2,10,5,0\n3,0,0,\n4,1,1,-1\n5,0,0,7\n")
    file = gemm(path, readings=WIDE, given={}, numbers={"tokens": Number(("tokens",))})
    counts = only(store, file)
    assert counts == ImportCounts(5, 3, 0, 2, 4, {"not measured": 1, "a negative latency": 1})
    rows = store.sql("SELECT source_row, op, tokens, latency_s FROM op_measurements ORDER BY source_row, op DESC").rows
    assert [row[:3] for row in rows] == [
        [1, "moe_dispatch", 1],
        [1, "moe_combine", 1],
        [2, "moe_dispatch", 2],
        [5, "moe_combine", 5],
    ]
    assert [row[3] for row in rows] == pytest.approx([15e-6, 20e-6, 15e-6, 7e-6])
    assert preview(file) == counts
    assert only(store, gemm(path.rename(path.with_name("copy.csv")), **vars_of(file))).duplicates == 3


def vars_of(file: OperationFile) -> dict[str, Any]:
    return {"readings": file.readings, "given": file.given, "numbers": file.numbers}


def test_a_latency_may_stand_for_some_records_only(store: Store, write: Write) -> None:
    path = write("prefill,chunk,ms\nTrue,64,1\nTrue,0,2\nFalse,64,3\n,64,4\n")
    chunk = {"isl": Number(("chunk",))}
    readings = (
        Reading(
            LATENCY[0].latency,
            given={"op": "context_attention"},
            numbers=chunk,
            when={"prefill": "True"},
            unless={"chunk": "0"},
        ),
        Reading(LATENCY[0].latency, given={"op": "generation_attention", "isl": "1"}, when={"prefill": "False"}),
        Reading(LATENCY[0].latency, given={"op": "rope"}, when={"nowhere": "True"}),
    )
    counts = only(store, gemm(path, readings=readings, given={}, numbers={}))
    assert counts == ImportCounts(4, 2, 0, 2, 2, {"not measured": 2})
    assert store.sql("SELECT op, isl, more FROM op_measurements ORDER BY source_row").rows == [
        ["context_attention", 64, None],
        ["generation_attention", 1, None],
    ]


def test_spread_is_relative(store: Store, write: Write) -> None:
    path = write("m,ms,std,mean\n1,1,0.2,2\n2,1,0.2,0\n3,1,,2\n")
    only(store, gemm(path, readings=(Reading(LATENCY[0].latency, spread=("std", "mean")),)))
    assert store.sql("SELECT spread, more FROM op_measurements ORDER BY m").rows == [
        [0.1, None],
        [None, None],
        [None, None],
    ]


TEXTS = {
    "platform": ("gpu",),
    "engine": ("engine",),
    "op": ("op",),
    "dtype": ("dtype",),
    "engine_version": ("version",),
}
SAID = "gpu,engine,op,dtype,version,ms\n"


def said(store: Store) -> list[list[object]]:
    return store.sql("SELECT platform, engine, op, dtype, engine_version FROM op_measurements ORDER BY source_row").rows


def test_names_are_spelled_as_everywhere(store: Store, write: Write) -> None:
    words: Mapping[str, Mapping[str, str | None]] = {"op": {"mm": "gemm"}, "engine_version": {"unknown": None}}
    path = write(SAID + "NVIDIA H200,VLLM,mm,bfloat16,0.1,1\nNVIDIA H200,TRTLLM,gemm,half,unknown,1\n")
    counts = only(store, gemm(path, given={}, texts=TEXTS, words=words))
    assert said(store) == [["h200_sxm", "vllm", "gemm", "bf16", "0.1"], ["h200_sxm", "trtllm", "gemm", "fp16", None]]
    assert counts.warnings == ()


def test_unknown_names_are_kept_aloud(store: Store, write: Write) -> None:
    counts = only(store, gemm(write(SAID + "Zeta 9,spin,swirl,posit8,,1\n"), given={}, texts=TEXTS))
    assert said(store) == [["Zeta 9", "spin", "swirl", "posit8", None]]
    assert set(counts.warnings) == {
        "platform 'Zeta 9' is none that we know: kept as it is",
        "engine 'spin' is none that we know: kept as it is",
        "op 'swirl' is none that we know: kept as it is",
        "dtype 'posit8' is none that we know: kept as it is",
    }


def test_the_path_fills_in_and_yields_to_the_rows(store: Store, write: Write) -> None:
    absent = {"platform": "h200_sxm", "engine": "sglang", "engine_version": "0.5"}
    path = write(SAID + ",,gemm,,,1\nZeta 9,SGLang,gemm,,0.4,1\nNVIDIA H100,TRTLLM,gemm,,0.4,1\n")
    counts = only(store, gemm(path, given={}, texts=TEXTS, absent=absent))
    assert said(store) == [
        ["h200_sxm", "sglang", "gemm", None, "0.5"],
        ["h200_sxm", "sglang", "gemm", None, "0.4"],
        ["h100_sxm", "trtllm", "gemm", None, "0.4"],
    ]
    assert set(counts.warnings) == {
        "platform 'NVIDIA H100' is h100_sxm, though the path says h200_sxm: so it is read",
        "engine 'TRTLLM' is trtllm, though the path says sglang: so it is read",
    }


def test_what_is_given_wins(store: Store, write: Write) -> None:
    path = write("gpu,m,ms\nNVIDIA H100,1,1\n")
    told = {"op": "gemm", "platform": "a10", "m": "8", "client": "mine"}
    counts = only(store, gemm(path, given=told, texts={"platform": ("gpu",)}))
    assert store.sql("SELECT platform, m, more FROM op_measurements").rows == [["a10", 8, '{"client":"mine"}']]
    assert counts.warnings == ()


def test_bytes_follow_from_elements_and_their_format(store: Store, write: Write) -> None:
    path = write("dtype,size,ms\nhalf,8,1\nint8,8,1\nposit8,8,1\n,8,1\n")
    only(store, gemm(path, numbers={"elements": Number(("size",))}, texts={"dtype": ("dtype",)}))
    rows = store.sql("SELECT elements, bytes FROM op_measurements ORDER BY source_row").rows
    assert rows == [[8, 16], [8, 8], [8, None], [8, None]]


def test_other_columns_are_kept_as_canonical_json(store: Store, write: Write) -> None:
    path = write('m,zeta,beam,alpha,it\'s,ms\n1,2.0,1,True,"a ""b""",1\n2,2.5,4,,,1\n3,,1,,,1\n')
    only(store, gemm(path, ignored={"beam": "1"}))
    assert [row[0] for row in store.sql("SELECT more FROM op_measurements ORDER BY m").rows] == [
        '{"alpha":true,"it\'s":"a \\"b\\"","zeta":2}',
        '{"beam":4,"zeta":2.5}',
        None,
    ]


def test_a_column_is_ignored_whatever_it_holds(store: Store, write: Write) -> None:
    only(store, gemm(write("m,note,ms\n1,x,1\n"), ignored={"note": None}))
    assert store.sql("SELECT more FROM op_measurements").rows == [[None]]


def test_parquet_is_read_as_text_is(store: Store, write: Write, tmp_path: Path) -> None:
    text = write("m,n,k,ms,gpu,extra\n1,2,3,0.5,H200,7\n-1,2,3,0.5,H200,7\n4,5,6,0,H200,1.5\n7,8,9,1.25,H200,\n")
    parquet = tmp_path / "it's.parquet"
    duckdb.sql(f"SELECT * FROM read_csv('{text}')").write_parquet(str(parquet))
    texts = {"platform": ("gpu",)}
    by_text, by_parquet = preview(gemm(text, texts=texts)), only(store, gemm(parquet, texts=texts))
    assert by_text == by_parquet
    assert (by_parquet.stored, by_parquet.quarantined) == (2, 2)
    assert only(store, gemm(text, texts=texts)).duplicates == 2
