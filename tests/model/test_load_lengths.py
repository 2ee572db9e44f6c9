"""Lengths that are drawn: the closed form takes their means, and what was measured is found by their names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from surrogate_world import WORKLOAD, question, rows

from model.learning.history import loads
from model.load import load_of, means_drawn, variety
from model.surrogate import Surrogate
from perfdb.lengths import Lengths
from perfdb.records import Provenance

WIDE = "N(512,512)/(128,128)"


def test_a_load_has_the_means_of_what_is_drawn() -> None:
    isl, osl = Lengths.parse(WIDE).drawn
    found = load_of(replace(WORKLOAD, lengths=WIDE), 2)
    assert found.isl.tolist() == [isl, isl]
    assert found.osl.tolist() == [osl, osl]
    assert (isl / 512, osl / 128) == pytest.approx((1.0833, 1.0833), abs=5e-3)
    assert found.deviation[0] < 0.9 * 128


@pytest.mark.parametrize(
    ("lengths", "isl"),
    [(None, 512.0), ("D(512,128)", 512.0), (WIDE, 500.0), ("N(512,9)/(100,9)", 512.0), ("read elsewhere", 512.0)],
)
def test_other_means_are_what_they_are_said_to_be(lengths: str | None, isl: float) -> None:
    """Of a sample they may be known better than by its notation."""
    assert means_drawn(lengths, isl, 128.0) == (isl, 128.0)
    assert load_of(replace(WORKLOAD, isl=isl, lengths=lengths), 1).isl.item() == isl
    assert np.isinf(variety("read elsewhere")[1])


def test_rows_of_the_database_are_read_alike() -> None:
    history = rows(question(workload=replace(WORKLOAD, lengths=WIDE)), lengths=WIDE)
    found, _ = loads(history)
    asked = load_of(replace(WORKLOAD, lengths=WIDE), len(found.isl))
    assert found.isl.tolist() == asked.isl.tolist()
    assert found.osl.tolist() == asked.osl.tolist()


@pytest.mark.parametrize("lengths", [WIDE, None])
def test_what_was_measured_is_found_by_the_lengths_that_are_named(lengths: str | None) -> None:
    measured = Surrogate.fit(rows(question(workload=replace(WORKLOAD, lengths=WIDE)), lengths=WIDE))
    found = measured.predict(question(workload=replace(WORKLOAD, lengths=lengths)))
    assert (found.provenance == Provenance.MEASURED).all()
