"""Importing: identity, duplicates, quarantine, all or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfdb.batch import BadRow, Batch, ImportCounts, Source
from perfdb.errors import FileError, UnknownNameError
from perfdb.importers.folder import import_paths
from perfdb.metrics import Statistic
from perfdb.records import Config, content_key
from perfdb.store import Store

TTFT = ("ttft_s", Statistic.MEAN)


def source(name: str = "a.csv", content: str | None = None) -> Source:
    return Source(name, content or name, "csv")


def objects(*values: object) -> np.ndarray[Any, Any]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def batch(ttft: Sequence[float], first: int = 1, bad: tuple[BadRow, ...] = (), **context: Any) -> Batch:
    rows = np.arange(first, first + len(ttft))
    return Batch(rows, {"model": objects(*["m"] * len(ttft)), **context}, {TTFT: np.array(ttft, dtype=float)}, bad)


def accounted(counts: ImportCounts) -> bool:
    return counts.rows_read == counts.stored + counts.duplicates + counts.quarantined


def test_what_was_imported_is_there_and_a_second_import_stores_nothing(store: Store) -> None:
    counts = store.ingest(source(), [batch([0.1, 0.2]), batch([0.3], first=3)])
    assert counts == ImportCounts(3, 3, 0, 0, 3)
    assert store.seen(["a.csv"]) == {"a.csv": counts}
    assert store.seen(["b.csv"]) == {}
    assert store.ingest(source(), [batch([0.1, 0.2, 0.3])]) == ImportCounts(3, 0, 3, 0, 0)
    assert store.results()["ttft_s"].tolist() == [0.1, 0.2, 0.3]


def test_the_same_records_under_another_name_are_duplicates(store: Store) -> None:
    store.ingest(source("a.csv"), [batch([0.1, 0.2])])
    assert store.ingest(source("copy.csv"), [batch([0.2, 0.1])]) == ImportCounts(2, 0, 2, 0, 0)


def test_true_repeats_within_a_file_survive_and_a_grown_file_adds_only_what_is_new(store: Store) -> None:
    assert store.ingest(source("day1"), [batch([0.1, 0.1, 0.2])]).stored == 3
    grown = store.ingest(source("day2"), [batch([0.1, 0.1, 0.2, 0.1, 0.3])])
    assert (grown.stored, grown.duplicates) == (2, 3)
    assert sorted(store.results()["ttft_s"]) == [0.1, 0.1, 0.1, 0.2, 0.3]


def test_identity_is_the_content_not_the_columns_that_carry_it(store: Store) -> None:
    store.ingest(source("a"), [batch([0.1], isl=np.array([128.0]))])
    empty = {"osl": np.array([np.nan]), "client": objects(None), "devices": objects(None)}
    same = batch([0.1], isl=objects("128"), **empty)
    assert store.ingest(source("b"), [same]).duplicates == 1
    assert store.ingest(source("c"), [batch([0.1], isl=np.array([129.0]))]).stored == 1
    assert store.ingest(source("d"), [batch([0.1])]).stored == 1


def test_texts_that_spell_each_other_are_told_apart(store: Store) -> None:
    one = batch([0.1], client=objects("x;lengths=1:y"))
    two = batch([0.1], client=objects("x"), lengths=objects("y"))
    store.ingest(source("a"), [one])
    assert store.ingest(source("b"), [two]).stored == 1


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=4), data=st.data())
def test_every_file_is_accounted_for_and_the_store_is_their_union(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], data: st.DataObject
) -> None:
    """A record is stored as often as the file that has it most often."""
    store = Store(tmp_path_factory.mktemp("db") / "perf.duckdb")
    for number, values in enumerate(files):
        cut = data.draw(st.integers(0, len(values)))
        pieces = [batch(values[:cut]), batch(values[cut:], first=cut + 1)]
        counts = store.ingest(source(f"f{number}", f"{number}"), pieces)
        assert accounted(counts)
        assert counts.rows_read == len(values)
    expected: Counter[float] = Counter()
    for values in files:
        expected |= Counter(map(float, values))
    assert Counter(store.results()["ttft_s"].tolist()) == expected


def test_bad_rows_are_kept_with_file_row_column_value_and_reason(store: Store) -> None:
    bad = (BadRow(2, "Latency", "OOM", "not a number"), BadRow(3, "Latency", "", "empty"))
    counts = store.ingest(source("x.csv"), [batch([0.1], bad=bad)])
    assert counts == ImportCounts(3, 1, 0, 2, 1, {"not a number": 1, "empty": 1})
    table = store.sql("SELECT * EXCLUDE (source_id) FROM quarantine")
    assert table.columns == ["file", "row", "column", "value", "reason"]
    assert table.rows == [["x.csv", 2, "Latency", "OOM", "not a number"], ["x.csv", 3, "Latency", "", "empty"]]
    assert store.seen(["x.csv"]) == {"x.csv": counts}
    assert store.ingest(source("x.csv"), []) == ImportCounts(3, 0, 3, 0, 0)


def test_two_faults_of_one_row_count_once(store: Store) -> None:
    bad = (BadRow(1, "a", "x", "first"), BadRow(1, "b", "y", "second"))
    counts = store.ingest(source(), [batch([], bad=bad)])
    assert (counts.rows_read, counts.quarantined, counts.reasons) == (1, 1, {"first": 1})
    assert store.sql("SELECT count(*) FROM quarantine").rows == [[2]]


@pytest.mark.parametrize(
    ("column", "wrong", "reason"),
    [
        ("concurrency", objects("8", "many"), "not a whole number"),
        ("concurrency", np.array([8.0, 2.5]), "not a whole number"),
        ("concurrency", np.array([8.0, np.inf]), "not a whole number"),
        ("isl", objects("128", "128/2048"), "not a number"),
        ("measured_at", objects("2025-01-31", "yesterday"), "not a time"),
        ("measured_at", np.array([1.7e9, 1.7e12]), "not a time"),
        ("outcome", objects("oom", "kaput"), "not one of ok, oom, launch_failed"),
    ],
)
def test_a_value_of_the_wrong_kind_is_set_aside_not_guessed(
    store: Store, column: str, wrong: np.ndarray[Any, Any], reason: str
) -> None:
    counts = store.ingest(source(), [batch([0.1, 0.2], **{column: wrong})])
    assert (counts.stored, counts.quarantined) == (1, 1)
    assert next(iter(counts.reasons)).startswith(reason)
    assert store.sql('SELECT "row", "column" FROM quarantine').rows == [[2, column]]


def test_an_infinite_measurement_is_set_aside(store: Store) -> None:
    counts = store.ingest(source(), [batch([0.1, np.inf, np.nan])])
    assert (counts.stored, counts.quarantined, counts.measurements) == (2, 1, 1)
    assert store.sql('SELECT "column", value, reason FROM quarantine').rows == [
        ["ttft_s/mean", "inf", "not a finite number"]
    ]


def test_an_infinite_request_rate_is_a_rate(store: Store) -> None:
    store.ingest(source(), [batch([0.1], request_rate=np.array([np.inf]))])
    assert store.results()["request_rate"].tolist() == [np.inf]


def test_times_are_utc_whatever_their_spelling(store: Store) -> None:
    spelled = objects("2025-01-31T12:00:00+02:00", "20250131-100000", "2025-01-31 10:00:00", "1738317600", None)
    store.ingest(source(), [batch([1, 2, 3, 4, 5], measured_at=spelled)])
    store.ingest(source("b"), [batch([6], measured_at=np.array(["2025-01-31T10:00:00"], dtype="datetime64[s]"))])
    assert store.results()["measured_at"].tolist()[:4] == [1738317600.0] * 4
    assert np.isnan(store.results()["measured_at"][4])
    assert store.results()["measured_at"][5] == 1738317600.0


def test_a_late_text_in_a_column_of_numbers_breaks_nothing(store: Store) -> None:
    """DuckDB guesses the type of an object column from its first 1,000 values unless it is told not to."""
    column = objects(*[1] * 1500, "v2")
    store.ingest(source(), [batch([0.1] * 1501, engine_version=column)])
    assert store.results()["engine_version"][[0, 1500]].tolist() == ["1", "v2"]


def test_configs_have_the_key_that_records_give_them(store: Store) -> None:
    config = Config({"tp": 2, "kv": "f16"})
    store.ingest(source(), [batch([0.1], config=objects('{"kv":"f16","tp":2}'))])
    assert store.sql("SELECT config_key FROM operating_points").rows == [[config.key]]
    assert content_key({"kv": "f16", "tp": 2.0}) == config.key


def test_text_of_a_file_is_data_never_sql(store: Store) -> None:
    evil = "'); DROP TABLE sources; --"
    batches = [batch([0.1], bad=(BadRow(2, evil, evil, evil),), client=objects(evil))]
    store.ingest(Source(evil, evil, evil), batches)
    assert store.results()["client"].tolist() == [evil]
    assert store.sql("SELECT path FROM sources").rows == [[evil]]


def test_an_unknown_metric_is_refused_and_nothing_is_stored(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="ttft_s"):
        store.ingest(source(), [Batch(np.array([1]), {}, {("ttft", Statistic.MEAN): np.array([1.0])})])
    assert list(tmp_path.iterdir()) == []


def test_an_importer_that_fails_half_way_stores_nothing(store: Store) -> None:
    def batches() -> Iterator[Batch]:
        yield batch([0.1])
        raise FileError("a.csv, line 7: a quote is not closed")

    with pytest.raises(FileError, match="line 7"):
        store.ingest(source(), batches())
    assert store.seen(["a.csv"]) == {}
    assert len(store.results()["ttft_s"]) == 0


def test_batches_may_read_the_database_while_they_are_made(store: Store) -> None:
    def batches() -> Iterator[Batch]:
        assert store.seen(["other"]) == {}
        yield batch([0.1])

    assert store.ingest(source(), batches()).stored == 1


def test_a_file_without_records_is_remembered(store: Store) -> None:
    assert store.ingest(source(), []) == ImportCounts(0, 0, 0, 0, 0)
    assert store.seen(["a.csv"]) == {"a.csv": ImportCounts(0, 0, 0, 0, 0)}


def test_what_is_known_is_asked_for_once_per_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once per file: each time opens the database."""
    asked: list[int] = []

    def seen(_: Store, hashes: list[str]) -> dict[str, ImportCounts]:
        asked.append(len(hashes))
        return {}

    monkeypatch.setattr(Store, "seen", seen)
    for place in range(3):
        (tmp_path / f"{place}.csv").write_text(f"model,gpu,engine,mean_ttft_ms\nx,A10,vllm,{50 + place}\n")
    assert import_paths(Store(tmp_path / "x.duckdb"), [tmp_path]).stored == 3
    assert asked == [3]
