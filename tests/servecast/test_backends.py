"""The model from Python (FEATURES S1.17, S1.19): one backend per engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfdb.errors import FileError, InputError, UnknownNameError
from servecast.backends import BaseBackend, get_backend

LLAMA, PLACE = "meta-llama/Llama-3.1-8B", "h100_sxm"


@pytest.fixture(params=["vllm", "sglang", "trtllm"])
def backend(request: pytest.FixtureRequest) -> BaseBackend:
    return get_backend(request.param)


def test_every_engine_has_a_backend_and_others_are_refused_with_the_choices(backend: BaseBackend) -> None:
    assert backend.name in {"vllm", "sglang", "trtllm"}
    with pytest.raises(UnknownNameError, match=r"unknown engine 'triton'; known: llamacpp, sglang, trtllm, vllm"):
        get_backend("triton")


def test_continuous_batching_is_summarised(backend: BaseBackend) -> None:
    found = backend.run_agg(LLAMA, PLACE, 1000, 200, concurrency=16, config={"tp": 2})
    assert found.devices == 2
    assert found.feasible
    assert found.reason is None
    assert found.e2e_s == pytest.approx(found.ttft_s + 199 * found.tpot_s, rel=0.1)
    assert found.output_tps_per_gpu == pytest.approx(found.output_tps / 2)
    assert found.metrics["ttft_s"].lo < found.ttft_s < found.metrics["ttft_s"].hi
    assert found.memory_bytes["weights"] == pytest.approx(8.03e9, rel=0.02)
    assert found.metrics["cost_per_mtok"].mean > 0


def test_a_static_batch_waits_for_its_slowest(backend: BaseBackend) -> None:
    one, many = (backend.run_static(LLAMA, PLACE, 1000, 200, size) for size in (1, 64))
    assert one.e2e_s < many.e2e_s < 64 * one.e2e_s
    assert many.output_tps == pytest.approx(64 * 200 / many.e2e_s, rel=0.05)


def test_a_rate_is_served_or_its_backlog_grows(backend: BaseBackend) -> None:
    few, crowd = (backend.run_agg(LLAMA, PLACE, 1000, 200, request_rate=rate) for rate in (1.0, 500.0))
    assert few.output_tps == pytest.approx(200, rel=0.02)
    assert crowd.ttft_s > 10 * few.ttft_s


def test_the_best_keeps_its_bounds(backend: BaseBackend) -> None:
    best = backend.find_best_result_under_constraints(LLAMA, PLACE, 1000, 200, 8, "tpot_s<0.02, ttft_s<1", top=5)
    assert len(best) == 5
    assert all(one.tpot_s < 0.02 and one.ttft_s < 1 and one.feasible and one.devices <= 8 for one in best)
    rates = [one.output_tps_per_gpu for one in best]
    assert rates == sorted(rates, reverse=True)
    alone = backend.run_agg(LLAMA, PLACE, 1000, 200, concurrency=best[0].workload.concurrency, config=best[0].config)
    assert alone.output_tps == pytest.approx(best[0].output_tps)


def test_tighter_bounds_never_find_more_throughput(backend: BaseBackend) -> None:
    def rate(bound: str) -> float:
        found = backend.find_best_result_under_constraints(LLAMA, PLACE, 1000, 200, 8, bound)
        return found[0].output_tps_per_gpu if found else 0.0

    rates = [rate(f"tpot_s<{limit}") for limit in (0.0001, 0.005, 0.01, 0.05)]
    assert rates[0] == 0.0
    assert rates == sorted(rates)


def test_a_model_that_does_not_fit_is_never_the_best() -> None:
    found = get_backend("vllm").find_best_result_under_constraints(
        "meta-llama/Llama-3.3-70B-Instruct", PLACE, 1000, 200, 8, "tpot_s<10", top=100
    )
    assert found
    assert all(one.devices > 1 for one in found)


def test_given_configs_are_chosen_from() -> None:
    configs = [{"tp": 1, "max_num_seqs": 4}, {"tp": 2}]
    found = get_backend("vllm").find_best_result_under_constraints(
        LLAMA, PLACE, 1000, 200, 8, "tpot_s<1", top=100, configs=configs
    )
    assert {one.devices for one in found} == {1, 2}


def test_wrong_questions_get_one_sentence() -> None:
    vllm = get_backend("vllm")
    with pytest.raises(InputError, match="not a bound"):
        vllm.find_best_result_under_constraints(LLAMA, PLACE, 1000, 200, 8, "fast")
    with pytest.raises(InputError, match="top: 0; expected a whole number, at least 1"):
        vllm.find_best_result_under_constraints(LLAMA, PLACE, 1000, 200, 8, "tpot_s<1", top=0)
    with pytest.raises(FileError, match="no such file"):
        get_backend("vllm", db=Path("typo.duckdb"))
    with pytest.raises(UnknownNameError, match="unknown model"):
        vllm.run_static("llama9", PLACE, 1000, 200, 1)


def test_one_load_and_no_other() -> None:
    vllm = get_backend("vllm")
    with pytest.raises(InputError, match="load: neither concurrency nor request_rate; expected one of both"):
        vllm.run_agg(LLAMA, PLACE, 1000, 200)
    with pytest.raises(InputError, match="load: concurrency and request_rate; expected one of both"):
        vllm.run_agg(LLAMA, PLACE, 1000, 200, 8, 2.0)


def test_a_common_beginning_is_computed_once(backend: BaseBackend) -> None:
    plain = backend.run_agg(LLAMA, PLACE, 4000, 64, concurrency=8)
    shared = backend.run_agg(LLAMA, PLACE, 4000, 64, concurrency=8, prefix_tokens=3500)
    assert shared.ttft_s < plain.ttft_s / 2
    assert backend.run_agg(LLAMA, PLACE, 4000, 64, concurrency=8, prefix_tokens=0).ttft_s == plain.ttft_s
    whole, most = (backend.run_static(LLAMA, PLACE, 4000, 64, 8, prefix_tokens=tokens) for tokens in (0, 3500))
    assert most.ttft_s < whole.ttft_s / 2


def test_the_best_is_of_prompts_that_begin_alike() -> None:
    vllm = get_backend("vllm")
    asked: Any = {"isl": 4000, "osl": 64, "devices": 1, "constraints": "ttft_s<0.5", "configs": [{"tp": 1}]}
    [plain], [alike] = (
        vllm.find_best_result_under_constraints(LLAMA, PLACE, **asked, prefix_tokens=tokens) for tokens in (0, 3500)
    )
    assert alike.output_tps_per_gpu > 1.5 * plain.output_tps_per_gpu
    again = vllm.run_agg(LLAMA, PLACE, 4000, 64, alike.workload.concurrency, config={"tp": 1}, prefix_tokens=3500)
    assert again.output_tps == pytest.approx(alike.output_tps)
    assert vllm.find_best_result_under_constraints(LLAMA, PLACE, **asked) == [plain]


def test_the_best_answer_of_one_token_has_no_tpot() -> None:
    vllm = get_backend("vllm")
    assert np.isnan(vllm.run_agg(LLAMA, PLACE, 1000, 1, 8).tpot_s)
    assert vllm.find_best_result_under_constraints(LLAMA, PLACE, 1000, 1, 8, "tpot_s<9") == []
    assert vllm.find_best_result_under_constraints(LLAMA, PLACE, 1000, 1, 8, "ttft_s<9")


def test_numbers_of_numpy_are_numbers() -> None:
    vllm = get_backend("vllm")
    given = vllm.run_agg(LLAMA, PLACE, np.int64(1000), np.float32(200), np.int32(8), config={"tp": np.int64(2)})
    assert given.ttft_s == vllm.run_agg(LLAMA, PLACE, 1000, 200, 8, config={"tp": 2}).ttft_s
    assert given.config == {"tensor_parallel_size": 2}


WHOLE = "expected a whole number, at least 1"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": None}, "model: None is no text; expected a string"),
        ({"model": 7}, "model: 7 is no text"),
        ({"platform_name": None}, "platform_name: None is no text"),
        ({"isl": "1024"}, "isl: '1024'; expected a number above 0"),
        ({"isl": None}, "isl: None; expected a number"),
        ({"isl": True}, "isl: True; expected a number"),
        ({"osl": float("nan")}, "osl: nan; expected a number"),
        ({"osl": 0}, "osl: 0; expected a number above 0"),
        ({"osl": -3}, "osl: -3; expected a number above 0"),
        ({"osl": 1e30}, "osl: 1e\\+30; expected a number above 0 and up to 1e\\+09"),
        ({"concurrency": "8"}, f"concurrency: '8'; {WHOLE}"),
        ({"concurrency": 2.5}, f"concurrency: 2.5; {WHOLE}"),
        ({"concurrency": 0}, f"concurrency: 0; {WHOLE}"),
        ({"concurrency": None, "request_rate": "3"}, "request_rate: '3'; expected a number above 0"),
        ({"concurrency": None, "request_rate": float("inf")}, "request_rate: inf; expected a number"),
        ({"config": None}, "config: None is no mapping; expected parameters and values such as"),
        ({"config": "tp=2"}, "config: 'tp=2' is no mapping"),
        ({"config": {"tp": [1, 2]}}, r"config tp: \[1, 2\]; expected one value"),
        ({"config": {2: 3}}, "config: 2 is no text"),
        ({"config": {"tp": "two"}}, "two"),
        ({"config": {"speed": 2}}, "unknown parameter of vllm 'speed'"),
        ({"prefix_tokens": "9"}, "prefix_tokens: '9'; expected a number from 0 to less than isl, 1000"),
        ({"prefix_tokens": 1000}, "prefix_tokens: 1000; expected a number from 0"),
        ({"prefix_tokens": -1}, "prefix_tokens: -1; expected a number from 0"),
        ({"prefix_tokens": None}, "prefix_tokens: None; expected a number from 0"),
    ],
)
def test_what_is_of_a_wrong_type_is_one_sentence(changed: dict[str, Any], said: str) -> None:
    asked: dict[str, Any] = {"model": LLAMA, "platform_name": PLACE, "isl": 1000, "osl": 200, "concurrency": 8}
    with pytest.raises(InputError, match=said):
        get_backend("vllm").run_agg(**{**asked, **changed})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"devices": "8"}, f"devices: '8'; {WHOLE}"),
        ({"top": 1.5}, f"top: 1.5; {WHOLE}"),
        ({"constraints": None}, "constraints: None is no text"),
        ({"constraints": ""}, "not a bound"),
        ({"configs": {"tp": 2}}, "configs: {'tp': 2}; expected a list of configs"),
        ({"configs": None}, "configs: None; expected a list of configs"),
        ({"configs": ["tp"]}, "config: 'tp' is no mapping"),
        ({"prefix_tokens": 1000}, "prefix_tokens: 1000; expected a number from 0 to less than isl, 1000"),
        ({"best": 3}, "unknown argument 'best'; known: configs, prefix_tokens, top"),
        ({"model": None}, "model: None is no text"),
    ],
)
def test_a_search_for_what_is_of_a_wrong_type_is_one_sentence(changed: dict[str, Any], said: str) -> None:
    asked: dict[str, Any] = {"model": LLAMA, "platform_name": PLACE, "isl": 1000, "osl": 200, "devices": 8}
    with pytest.raises(InputError, match=said):
        get_backend("vllm").find_best_result_under_constraints(**{**asked, "constraints": "tpot_s<1", **changed})


def test_a_static_batch_and_a_backend_of_wrong_types(tmp_path: Path) -> None:
    untyped: Any = get_backend
    with pytest.raises(InputError, match=f"batch_size: None; {WHOLE}"):
        untyped("vllm").run_static(LLAMA, PLACE, 1000, 200, None)
    with pytest.raises(InputError, match="name: None is no text"):
        untyped(None)
    with pytest.raises(InputError, match="db: 5 is no path"):
        untyped("vllm", db=5)
    with pytest.raises(FileError, match=r"typo.duckdb: no such file"):
        untyped("vllm", db=str(tmp_path / "typo.duckdb"))


def test_the_page_about_it_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    (code,), (printed,) = (re.findall(rf"```{kind}\n(.*?)```", text, flags=re.DOTALL) for kind in ("python", "text"))
    exec(compile(code, "docs/python.md", "exec"), {})
    assert capsys.readouterr().out == printed
