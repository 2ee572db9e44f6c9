"""Tables of results in markdown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.importers.importer import ColumnRule, ReadSettings
from perfdb.importers.options import ImportOptions
from perfdb.importers.sniff import importer, recognise
from perfdb.store.store import Store

Facts = Callable[..., dict[str, Any]]

README = """\
# Results

We ran | it all | twice.

| | Model | GPU | Concurrency | TTFT (ms) | TPOT (ms) | Output throughput |
| --- | :--- | :---: | ---: | ---: | ---: | ---: |
| a | [Qwen3-8B](https://huggingface.co/Qwen/Qwen3-8B) | H100 | 1 | 20.5 ± 1.25 | `8.0` | **1,024.5** |
| b | **Qwen3-8B** | H100 | 8 | 388.64 ± 0.03 | _9.5_ | <b>6,000</b> |
| c | Qwen3-8B | H100 | 16 | OOM | OOM | OOM |

Licences:

| Tool | Licence |
|------|---------|
| vllm | Apache  |

> Model | Batch size | Requests/s
> ---|--:|--:
> Qwen3-8B | 4 | 2.5
> Qwen3-8B \\| tuned | 8 | n/a
"""


def read(path: Path, text: str, columns: dict[str, ColumnRule] | None = None) -> list[Batch]:
    path.write_text(text)
    given = {"engine": "vllm", "platform": "h100_sxm"}
    return list(importer("markdown").read(path, ReadSettings(given, {}, columns or {})))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "README.md"


def test_every_table_of_results_with_its_own_header(file: Path, facts: Facts) -> None:
    first, second = read(file, README)
    one, two = facts(first, 0), facts(first, 1)
    assert (one["model"], one["concurrency"], one["output_tps:value"]) == ("Qwen/Qwen3-8B", 1, 1024.5)
    assert (two["model"], two["concurrency"], two["output_tps:value"]) == ("Qwen/Qwen3-8B", 8, 6000)
    assert (one["tpot_s:value"], two["tpot_s:value"]) == pytest.approx((0.008, 0.0095))
    assert (facts(second)["batch_size"], facts(second)["request_tps:value"]) == (4, 2.5)


def test_a_value_and_its_deviation_are_two_numbers(file: Path, facts: Facts) -> None:
    batch = read(file, README)[0]
    assert (facts(batch, 0)["ttft_s:value"], facts(batch, 0)["ttft_s:std"]) == pytest.approx((0.0205, 0.00125))
    assert (facts(batch, 1)["ttft_s:value"], facts(batch, 1)["ttft_s:std"]) == pytest.approx((0.38864, 0.00003))


def test_out_of_memory_in_a_number_s_place_is_a_failed_run(file: Path, facts: Facts) -> None:
    """T12."""
    lost = facts(read(file, README)[0], 2)
    assert lost["outcome"] == "oom"
    assert not [name for name in lost if name.endswith((":value", ":std"))]


def test_records_are_numbered_through_all_tables(file: Path) -> None:
    first, second = read(file, README)
    assert (first.rows.tolist(), second.rows.tolist()) == ([1, 2, 3], [4])
    assert [(row.row, row.reason) for row in second.bad] == [(5, "no usable metric in this row")]


def test_a_table_that_measures_nothing_is_passed_over_aloud(file: Path) -> None:
    first, second = read(file, README)
    said = "the table in line 13 has no column that is a metric ('Tool', 'Licence'): it was passed over"
    assert said in first.warnings
    assert said not in second.warnings


def test_rows_longer_than_the_header_are_set_aside_and_shorter_ones_filled_up(file: Path, facts: Facts) -> None:
    (batch,) = read(file, "| TTFT (ms) | tp | note |\n|-|-|-|\n| 1 | 2 | x | y |\n| 5 |\n| - | - | - |\n")
    assert [(row.row, row.reason) for row in batch.bad] == [
        (1, "the line has 4 cells, the header 3"), (3, "no usable metric in this row")
    ]  # fmt: skip
    assert facts(batch)["ttft_s:value"] == pytest.approx(0.005)


def test_tables_without_a_line_between_them(file: Path, facts: Facts) -> None:
    text = "| tp | TTFT (ms) |\n|---|---|\n| 1 | 5 |\n|---|---|\n| 2 | 6 |\n| pp | TPOT (ms) |\n|---|---|\n| 1 | 7 |\n"
    first, second = read(file, text)
    assert [facts(first, row)["ttft_s:value"] for row in range(2)] == pytest.approx([0.005, 0.006])
    assert facts(second)["tpot_s:value"] == pytest.approx(0.007)


def test_a_map_tells_what_a_column_means_and_its_deviation_follows(file: Path, facts: Facts) -> None:
    text = "| speed | n |\n|---|---|\n| 388.64 ± 0.5 | 3 |\n"
    assert importer("markdown").sniff(text.encode(), file) == 0.2
    (batch,) = read(file, text, {"speed": ColumnRule("ttft_s:mean", "ms")})
    assert (facts(batch)["ttft_s:mean"], facts(batch)["ttft_s:std"]) == pytest.approx((0.38864, 0.0005))


def test_the_deviation_of_a_throughput_of_unknown_kind_is_kept_aside(file: Path, facts: Facts) -> None:
    text = "| Throughput (tok/s) | Concurrency | Output throughput |\n|---|---|---|\n| 100 ± 5 | 4 | 90 |\n"
    (batch,) = read(file, text)
    assert facts(batch)["output_tps:value"] == 90
    assert facts(batch)["extra"] == {"Throughput (tok/s)": 100, "Throughput (tok/s) ±": 5}


def test_two_columns_of_one_name_lose_nothing(file: Path, facts: Facts) -> None:
    (batch,) = read(file, "| TTFT (ms) | TTFT (ms) |\n|---|---|\n| 5 | |\n| | 6 |\n")
    assert [facts(batch, row)["ttft_s:value"] for row in range(2)] == pytest.approx([0.005, 0.006])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# Words\n\nonly words\n", "no table in it"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", r"no column is a metric that we know \('a', 'b'\)"),
        ("| TTFT (ms) |\n|---|\n", "no record below the header"),
        ("| TTFT (ms) |\n|---", "no table in it"),
    ],
)
def test_a_file_without_results_has_one_clear_reason(file: Path, text: str, reason: str) -> None:
    if reason == "no table in it" and text.endswith("---"):
        text = text.removesuffix("|---")
    with pytest.raises(FileError, match=reason):
        read(file, text)


def test_the_tables_of_llama_bench_are_its_own(file: Path) -> None:
    text = "| model | test | t/s |\n|---|---|---|\n| llama 7B Q4_0 | pp512 | 1.00 ± 0.01 |\n"
    assert recognise(text.encode(), file) is importer("llama_bench")
    assert recognise(README.encode(), file) is importer("markdown")
    assert recognise(b"# Words\n\n| a | b\n", file) is None


def test_it_is_stored(file: Path, tmp_path: Path) -> None:
    file.write_text(README)
    store = Store(tmp_path / "db.duckdb")
    report = import_paths(store, [file], ImportOptions(set={"engine": "vllm"}))
    assert (report.rows_read, report.stored, report.quarantined) == (5, 4, 1)
    table = store.sql('SELECT "row", value FROM quarantine')
    assert [list(row) for row in table.rows] == [[5, "n/a"]]
    query = "SELECT value FROM measurements WHERE metric = 'ttft_s' AND statistic = 'std' ORDER BY ALL"
    assert [row[0] for row in store.sql(query).rows] == pytest.approx([0.00003, 0.00125])
