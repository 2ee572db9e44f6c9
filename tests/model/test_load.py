"""Loads: what is asked and what was measured are read alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from surrogate_world import WORKLOAD, question, rows

from model.learning.history import loads
from model.load import load_of
from model.question import analyse
from perfdb.records import Arrival

FEW = replace(WORKLOAD, arrival=Arrival.CLOSED, concurrency=64, requests=10, lengths="D(512,128)", isl=512, osl=128)


def test_no_more_are_in_flight_than_are_sent() -> None:
    few, as_many = (analyse(question(workload=replace(FEW, concurrency=count))).serving.metrics for count in (64, 10))
    for name, values in few.items():
        np.testing.assert_array_equal(values, as_many[name], err_msg=name)
    more = analyse(question(workload=replace(FEW, requests=640))).serving.metrics
    assert more["output_tps"].max() > 2 * few["output_tps"].max()


@pytest.mark.parametrize("requests", [10, 64, 1000, None])
def test_what_was_measured_is_taken_alike(requests: int | None) -> None:
    asked = replace(FEW, requests=requests)
    history = rows(question(workload=asked)) | {"requests": np.full(len(rows(question())["isl"]), requests or np.nan)}
    found, valid = loads(history)
    assert valid.all()
    assert found.amount.tolist() == load_of(asked, len(valid)).amount.tolist()


@pytest.mark.parametrize("arrival", [Arrival.POISSON, Arrival.BATCH])
def test_rates_and_batches_are_what_they_are_said_to_be(arrival: Arrival) -> None:
    asked = replace(FEW, arrival=arrival, concurrency=None, request_rate=40.0, batch_size=40)
    assert load_of(asked, 1).amount.item() == 40.0
