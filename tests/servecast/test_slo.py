"""Bounds on metrics, read from text."""

from __future__ import annotations

import numpy as np
import pytest

from perfdb.errors import InputError, UnknownNameError
from servecast.slo import Slo, met, parse_slos


@pytest.mark.parametrize(
    ("text", "slo"),
    [
        ("ttft_s<0.5", Slo("ttft_s", 0.5)),
        (" tpot_s_p99 <= 50ms ", Slo("tpot_s_p99", 0.05)),
        ("ttft<1", Slo("ttft_s", 1.0)),
        ("latency_p90<2s", Slo("e2e_s_p90", 2.0)),
        ("e2e_s_mean<2", Slo("e2e_s", 2.0)),
        ("throughput>1e3", Slo("output_tps", 1000.0, is_floor=True)),
    ],
)
def test_a_bound_is_read(text: str, slo: Slo) -> None:
    assert Slo.parse(text) == slo
    assert Slo.parse(str(slo)) == slo


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a bound"),
        ("ttft_s", "not a bound"),
        ("ttft_s<0", "not a bound"),
        ("ttft_s<1e999", "not a bound"),
        ("ttft_s>0.5", "bounded on its better side"),
        ("output_tps<5", "bounded on its better side"),
        ("duration_s<5", "bounded on its better side"),
        ("output_tps>5ms", "a time for output_tps"),
        ("ttft_s<1,ttft_s_mean<2", "a metric stands twice"),
        ("ttft_s<1,", "not a bound"),
    ],
)
def test_what_is_no_bound_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_slos(text)


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="ttft_s"):
        Slo.parse("tfft_s<1")


def test_the_least_bound_is_broken_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    assert Slo.parse("e2e_s<1e-320").violation(np.ones(1)) > 1.0
    assert not recwarn


def test_all_bounds_must_hold_and_what_is_unknown_does_not() -> None:
    slos = parse_slos("ttft_s<0.5,output_tps>100")
    metrics = {"ttft_s": np.array([0.5, 0.6, 0.1, np.nan]), "output_tps": np.array([100.0, 500.0, 99.0, 500.0])}
    assert met(slos, metrics).tolist() == [True, False, False, False]
    np.testing.assert_allclose(slos[0].violation(metrics["ttft_s"]), [1.0, 1.2, 0.2, np.inf])
    np.testing.assert_allclose(slos[1].violation(metrics["output_tps"])[:3], [1.0, 0.2, 100 / 99])
