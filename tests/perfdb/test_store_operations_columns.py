"""Some columns of the tables of operations, read over a connection that a thread keeps."""

from __future__ import annotations

import duckdb
import pytest
from operation_files import Write, gemm, only

from perfdb.errors import UnknownNameError
from perfdb.store import Store
from perfdb.store.engine import kept_engine

MIXED = (
    "m,n,k,ms,dtype,kernel\n1024,4096,512,2.5,bf16,fast\n2048,4096,512,5,bf16,slow\n4096,,512,9,bf16,\n"
    "1024,4096,512,1,fp8,fast\n"
)


def test_some_columns_are_those_of_the_whole_table(store: Store, write: Write) -> None:
    texts = {"dtype": ("dtype",), "kernel": ("kernel",)}
    only(store, gemm(write(MIXED), given={"op": "gemm", "platform": "h200_sxm"}, texts=texts))
    names = ("kernel", "model", "m", "n", "latency_s")
    for dtype in ("bf16", "fp8", "int8"):
        whole, some = store.operations(dtype=dtype), store.operations(dtype=dtype, columns=names)
        assert len(whole) == len(some)
        rows = [sorted(zip(*(map(str, table[name]) for name in names), strict=True)) for table in (whole, some)]
        assert rows[0] == rows[1]
        assert set(some) <= set(names)
    with pytest.raises(UnknownNameError, match="column of operation tables"):
        store.operations(columns=("m", "colour"))


def test_tables_are_read_over_one_connection_that_does_not_hold_the_file(
    store: Store, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"dtype": ("dtype",), "kernel": ("kernel",)}
    only(store, gemm(write(MIXED), given={"op": "gemm"}, texts=texts))
    store.operations(dtype="bf16")
    opened: list[object] = []
    connect = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda *words, **more: opened.append(words) or connect(*words, **more))
    for dtype in ("fp8", "int8", "int4"):
        store.operations(dtype=dtype)
    assert opened == []
    with connect(str(store.path)) as other:  # DuckDB locks a file that anybody has open to be written
        other.execute("CREATE TABLE held (i INTEGER)")


def test_a_block_within_another_and_one_that_failed_do_not_share() -> None:
    with kept_engine() as outer, kept_engine() as inner:
        assert outer is not inner
    with pytest.raises(duckdb.Error, match="closed"):
        outer.execute("SELECT 1")
    with kept_engine() as again:
        assert again is inner
    with pytest.raises(duckdb.Error), kept_engine() as broken:
        broken.execute("SELECT nothing")
    with kept_engine() as fresh:
        assert fresh is not broken
        assert fresh.execute("SELECT 1").fetchall() == [(1,)]
