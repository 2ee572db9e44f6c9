"""Flat JSON objects that no tool's format claims."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.importers.importer import ColumnRule, ReadSettings
from perfdb.importers.sniff import importer, recognise
from perfdb.store.store import Store

Read, Facts = Callable[..., Batch], Callable[..., dict[str, Any]]

RUN = {
    "model": "Qwen/Qwen3-8B", "gpu": "8xH100", "engine": "vllm", "tp": 8, "concurrency": 16, "mean_ttft_ms": 50.1,
    "output_throughput": 900.125, "chunked": True, "note": None,
}  # fmt: skip


def test_names_are_read_as_those_of_columns(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("flat_json", [RUN]))
    assert (found["model"], found["platform"], found["devices"]) == ("Qwen/Qwen3-8B", "h100_sxm", 8)
    assert (found["concurrency"], found["config"]) == (16, {"tensor_parallel_size": 8})
    assert (found["ttft_s:mean"], found["output_tps:value"]) == (pytest.approx(0.0501), 900.125)
    assert found["extra"]["chunked"] is True


def test_an_object_a_list_and_lines_are_the_same(read_as: Read, facts: Facts) -> None:
    forms = [RUN, [RUN], json.dumps(RUN) + "\n", "\ufeff" + json.dumps([RUN])]
    assert len({str(facts(read_as("flat_json", form))) for form in forms}) == 1


def test_a_number_loses_no_digit(read_as: Read, facts: Facts) -> None:
    text = '{"model": "m", "output_tps": 0.1234567890123456789, "version": "12.10", "seed": 12345678901234567890}'
    found = facts(read_as("flat_json", text))
    assert found["output_tps:value"] == 0.1234567890123456789
    assert (found["extra"]["version"], found["extra"]["seed"]) == ("12.10", "12345678901234567890")


def test_what_is_not_flat_is_set_aside(read_as: Read) -> None:
    batch = read_as("flat_json", [RUN, {**RUN, "ttfts": [1, 2]}, 7, {**RUN, "mean_ttft_ms": float("inf")}])
    assert batch.rows.tolist() == [1]
    reasons = {row.row: row.reason for row in batch.bad}
    assert reasons == {2: "not a flat record of one run", 3: "not a flat record of one run", 4: "infinite"}


@pytest.mark.parametrize(
    "document",
    [
        {"results": [RUN]},
        {"name": "x", "colour": "red"},
        [{"stats": {"ttft": {"p50": 1}}, "mean_ttft_ms": 3}],
        [[RUN]],
        ["mean_ttft_ms"],
    ],
)
def test_it_claims_nothing_that_is_nested_or_measures_nothing(tmp_path: Path, document: Any) -> None:
    assert recognise(json.dumps(document).encode(), tmp_path / "x.json") is None


def test_a_map_tells_what_the_names_mean(tmp_path: Path, facts: Facts) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"speed": 12.5}]))
    rules = {"speed": ColumnRule("output_tps")}
    (batch,) = importer("flat_json").read(path, ReadSettings({}, {}, rules))
    assert facts(batch)["output_tps:value"] == 12.5
    with pytest.raises(FileError, match=r"no column is a metric that we know \('speed'\)"):
        list(importer("flat_json").read(path, ReadSettings()))


def test_a_cut_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([RUN, RUN])[:-10])
    with pytest.raises(FileError, match="expected complete JSON"):
        list(importer("flat_json").read(path, ReadSettings()))


def test_it_is_stored_whatever_the_length_of_its_only_line(tmp_path: Path) -> None:
    path, store = tmp_path / "x.json", Store(tmp_path / "db.duckdb")
    path.write_text(json.dumps([RUN | {"concurrency": load, "pad": "x" * 50_000} for load in range(1, 101)]))
    assert path.stat().st_size > 4 * 2**20
    assert import_paths(store, [path]).stored == 100
