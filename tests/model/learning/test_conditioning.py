"""What the loads at which a config was measured say of others: smooth between them, and no trend carried on beyond."""

from __future__ import annotations

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.learning.history import Columns
from model.prediction import GridPrediction
from model.question import Question
from model.surrogate import Surrogate
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload

LOADS = (8, 32, 128)
TTFT_S, TPOT_S, OUTPUT_TPS = (0.0521, 0.1184, 0.8402), (0.0079, 0.0116, 0.0283), (968.0, 2560.0, 3690.0)


def history(kept: slice = slice(None)) -> Columns:
    """A ladder of loads as somebody's CSV has it: nothing says how lengths varied."""
    loads = np.array(LOADS, float)[kept]
    n = len(loads)
    texts = {"model": "meta-llama/Llama-3.1-8B", "platform": "h100_sxm", "engine": "vllm", "arrival": "closed"}
    texts |= {"outcome": "ok", "origin": "measured", "config": "{}"}
    columns: Columns = {name: np.full(n, value, object) for name, value in texts.items()}
    columns |= {"devices": np.ones(n), "isl": np.full(n, 1024.0), "osl": np.full(n, 128.0), "concurrency": loads}
    values = {"ttft_s": TTFT_S, "tpot_s": TPOT_S, "output_tps": OUTPUT_TPS}
    return columns | {name: np.array(value)[kept] for name, value in values.items()}


def ask(concurrency: int, lengths: str | None = None, known: Columns | None = None) -> GridPrediction:
    model = resolve_model("meta-llama/Llama-3.1-8B")
    target = Target(model.name, "h100_sxm", "vllm", 1)
    load = Workload(1024, 128, Arrival.CLOSED, concurrency, lengths=lengths)
    question = Question(target, model, platform("h100_sxm"), load, Grid.of([{}]))
    return Surrogate.fit(history() if known is None else known).predict(question)


@pytest.mark.parametrize("lengths", [None, "D(1024,128)"])
def test_time_grows_with_the_load_below_between_and_above_what_was_measured(lengths: str | None) -> None:
    """Runs that say nothing of their lengths are taken to be as those that are asked for."""
    loads = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    ttft = [ask(load, lengths).metrics["ttft_s"].mean.item() for load in loads]
    assert ttft == sorted(ttft)
    assert [ttft[loads.index(load)] for load in LOADS] == pytest.approx(TTFT_S)


@pytest.mark.parametrize(("load", "nearest"), [(2, 8), (4, 8), (256, 128)])
def test_beyond_what_was_measured_the_prediction_is_off_as_at_the_nearest_load(load: int, nearest: int) -> None:
    off = [np.log(ask(at).metrics[name].mean / ask(at, known={}).metrics[name].mean).item()
           for at in (load, nearest) for name in ("ttft_s", "tpot_s")]  # fmt: skip
    assert off[:2] == pytest.approx(off[2:], abs=0.05)


def test_no_first_token_comes_sooner_than_the_prompt_can_be_multiplied() -> None:
    soonest = 2 * 7.5e9 * 1024 / 989e12
    assert ask(1).metrics["ttft_s"].mean.item() > 0.99 * soonest
    fast = history() | {"ttft_s": np.array(TTFT_S) / 20}
    assert ask(1, known=fast).metrics["ttft_s"].mean.item() == pytest.approx(soonest, rel=0.01)
    assert ask(8, known=fast).metrics["ttft_s"].mean.item() == pytest.approx(TTFT_S[0] / 20)


def test_farther_from_what_was_measured_less_is_known() -> None:
    widths = [ask(load).metrics["ttft_s"].log_sd.item() for load in (8, 16, 256, 1024)]
    assert widths == sorted(widths)
    assert len(set(widths)) == 4
    outside = ask(64, known=history(slice(2))).metrics["ttft_s"].log_sd.item()
    assert outside > ask(64).metrics["ttft_s"].log_sd.item()


def test_another_config_between_the_loads_is_not_known_as_well() -> None:
    model = resolve_model("meta-llama/Llama-3.1-8B")
    load = Workload(1024, 128, Arrival.CLOSED, 16)
    grid = Grid.of([{"max_num_seqs": None}, {"max_num_seqs": 12}])
    target = Target(model.name, "h100_sxm", "vllm", 1)
    question = Question(target, model, platform("h100_sxm"), load, grid)
    own, other = Surrogate.fit(history()).predict(question).metrics["tpot_s"].log_sd
    assert own < 0.7 * other


def test_what_a_row_says_of_its_lengths_stands() -> None:
    asked = ask(16, "D(1024,128)")
    said = history() | {"lengths": np.full(3, "U(512,1536)/(64,192)", object)}
    other = ask(16, "D(1024,128)", said)
    assert asked.metrics["ttft_s"].mean.item() != pytest.approx(other.metrics["ttft_s"].mean.item(), rel=0.01)
    assert asked.provenance[0] == "learned"


def test_the_whole_request_follows_where_its_parts_were_measured_at_other_loads() -> None:
    found = ask(64).metrics
    parts = found["ttft_s"].mean + 127 * found["tpot_s"].mean
    assert found["e2e_s"].mean == pytest.approx(parts)
    assert found["e2e_s"].log_sd < 1.05 * max(found["ttft_s"].log_sd, found["tpot_s"].log_sd)
    assert OUTPUT_TPS[1] < found["output_tps"].mean.item() < OUTPUT_TPS[2]
    assert found["output_tps"].mean <= 64 * 128 / parts
