"""The model from Python (FEATURES S1.17, S1.19): one backend per engine."""

from __future__ import annotations

import re
from pathlib import Path

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
    with pytest.raises(InputError, match="exactly one"):
        vllm.run_agg(LLAMA, PLACE, 1000, 200)
    with pytest.raises(InputError, match="not a bound"):
        vllm.find_best_result_under_constraints(LLAMA, PLACE, 1000, 200, 8, "fast")
    with pytest.raises(InputError, match="top: 0; expected at least 1"):
        vllm.find_best_result_under_constraints(LLAMA, PLACE, 1000, 200, 8, "tpot_s<1", top=0)
    with pytest.raises(FileError, match="no such file"):
        get_backend("vllm", db=Path("typo.duckdb"))
    with pytest.raises(UnknownNameError, match="unknown model"):
        vllm.run_static("llama9", PLACE, 1000, 200, 1)


def test_the_page_about_it_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    (code,), (printed,) = (re.findall(rf"```{kind}\n(.*?)```", text, flags=re.DOTALL) for kind in ("python", "text"))
    exec(compile(code, "docs/python.md", "exec"), {})
    assert capsys.readouterr().out == printed
