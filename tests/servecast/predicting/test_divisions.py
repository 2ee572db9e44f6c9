"""How a model may be divided: every way that an engine has, none that takes more devices than there are."""

from __future__ import annotations

import pytest

from model.checkpoint.architecture import resolve_model
from perfdb.facts.engines import ENGINES, engine
from perfdb.records import Grid
from servecast.backends import get_backend
from servecast.predicting.divisions import divisions
from servecast.tuning.space import devices_of

LLAMA, MOE = resolve_model("meta-llama/Llama-3.1-8B"), resolve_model("Qwen/Qwen3-30B-A3B")


@pytest.mark.parametrize("name", sorted(ENGINES))
@pytest.mark.parametrize("model", [LLAMA, MOE], ids=["dense", "mixture"])
@pytest.mark.parametrize("devices", [1, 3, 8, 16])
def test_no_way_takes_more_devices_than_there_are(name, model, devices):
    found = divisions(engine(name), model, devices)
    assert len({tuple(sorted(way.items(), key=str)) for way in found}) == len(found)
    assert devices_of(Grid.of(found), engine(name)).max() <= devices


def test_a_dense_model_is_divided_by_tensors_and_layers_alone():
    found = divisions(engine("sglang"), LLAMA, 16)
    assert {frozenset(way) for way in found} == {frozenset({"tp_size", "pp_size"})}
    assert {"tp_size": 8, "pp_size": 2} in found
    assert max(way["tp_size"] for way in found) == 8


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("vllm", {"tensor_parallel_size": 8, "enable_expert_parallel": True, "pipeline_parallel_size": 1}),
        (
            "vllm",
            {
                "tensor_parallel_size": 2,
                "data_parallel_size": 4,
                "enable_expert_parallel": True,
                "pipeline_parallel_size": 1,
            },
        ),
        ("sglang", {"tp_size": 8, "dp_size": 4, "enable_dp_attention": True, "ep_size": 8, "pp_size": 1}),
        ("sglang", {"tp_size": 4, "ep_size": 4, "pp_size": 2}),
        ("trtllm", {"tp_size": 8, "enable_attention_dp": True, "ep_size": 8, "pp_size": 1}),
    ],
)
def test_a_mixture_may_be_spread(name, way):
    assert way in divisions(engine(name), MOE, 8)


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_every_engine_finds_its_best(name):
    place = "epyc_9654" if name == "llamacpp" else "h200_sxm"
    (best,) = get_backend(name).find_best_result_under_constraints(
        "Qwen/Qwen3-30B-A3B", place, 500, 100, 4, "tpot_s<1, ttft_s<60"
    )
    assert best.feasible
    assert best.devices <= 4
