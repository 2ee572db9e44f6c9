"""The load client against a pretended server in a process of its own."""

import asyncio
import contextlib
import json
import sys
import urllib.request

import pytest

from perfdb.metrics import Statistic
from perfdb.records import Arrival, Workload
from runner.load import run_load
from runner.load.client import Endpoint
from runner.load.drive import measure
from runner.load.plan import Tokenizer, complete, draw
from runner.process import ServerProcess, free_port


@pytest.fixture
def serve(fake, tmp_path):
    """Start the pretended server in a mode; its base URL once it answers."""
    processes = []

    def start(mode="ok"):
        port = free_port()
        argv = (sys.executable, "-I", "-S", str(fake.SERVER), str(port), mode)
        processes.append(ServerProcess(argv, {}, tmp_path / f"{mode}.log"))
        url = f"http://127.0.0.1:{port}"
        while processes[-1].wait(0.01) is None:
            with contextlib.suppress(OSError):
                state_of(url)
                return url
        raise AssertionError(processes[-1].log_text())

    yield start
    for process in processes:
        process.stop(grace_s=0.0)


def state_of(url):
    with urllib.request.urlopen(url + "/state", timeout=30) as answer:
        return json.load(answer)


def value(measurements, name, statistic=Statistic.VALUE):
    return next(m.value for m in measurements if (m.metric, m.statistic) == (name, statistic))


@pytest.mark.parametrize(
    ("load", "most"),
    [
        ({"concurrency": 3}, 3),
        ({"batch_size": 4}, 4),
        ({"request_rate": 5000.0, "concurrency": 2}, 2),
        ({"arrival": Arrival.CONSTANT, "request_rate": 2000.0}, 17),
    ],
)
def test_every_arrival_process_sends_all_and_no_more_at_once_than_allowed(serve, load, most):
    url = serve()
    workload = Workload(lengths="U(9,20)/(2,6)", requests=17, warmup_requests=2, **load)
    result = run_load(Endpoint(url + "/v1/completions"), workload, seed=1)
    state = state_of(url)
    assert state["seen"] == 2 + 2 + 17
    assert 1 <= state["most_in_flight"] <= most
    assert value(result.measurements, "success_rate") == 1
    assert sorted(record.index for record in result.records) == list(range(17))
    assert result.workload == complete(workload)


def test_real_tokens_come_from_usage_and_prompts_are_fitted_to_the_tokenizer(serve):
    """The server counts two tokens per word and one more; 21 tokens are then 10 words."""
    result = run_load(Endpoint(serve() + "/v1/completions"), Workload(isl=21, osl=5, requests=4), seed=0)
    assert {(r.input_tokens, r.output_tokens) for r in result.records} == {(21, 5)}
    assert all(len(record.token_s) == 5 for record in result.records)
    window = value(result.measurements, "duration_s")
    assert value(result.measurements, "output_tps") == pytest.approx(4 * 5 / window)
    assert value(result.measurements, "total_tps") == pytest.approx(4 * 26 / window)
    assert value(result.measurements, "request_tps") == pytest.approx(4 / window)


def test_without_usage_chunks_are_counted_and_prompts_stay_unknown(serve):
    result = run_load(Endpoint(serve("no_usage") + "/v1/completions"), Workload(isl=8, osl=5, requests=4), seed=0)
    assert {(r.input_tokens, r.output_tokens) for r in result.records} == {(None, 5)}
    assert not {m.metric for m in result.measurements} & {"total_tps", "input_tps", "input_tokens"}


def test_warm_up_keeps_to_the_load(serve):
    url = serve()
    run_load(Endpoint(url + "/v1/completions"), Workload(isl=8, osl=4, requests=2, warmup_requests=30), seed=0)
    assert state_of(url)["most_in_flight"] == 1


def test_failures_are_counted_with_their_reasons(serve):
    result = run_load(Endpoint(serve("half_fails") + "/v1/completions"), Workload(isl=8, osl=2, requests=20), seed=0)
    failed = sum(record.error is not None for record in result.records)
    assert 0 < failed < 20
    assert value(result.measurements, "success_rate") == 1 - failed / 20
    assert result.reasons == {'HTTP 500: {"error": "worker is confused"}': failed}


def test_a_server_that_is_not_there_fails_every_request():
    result = run_load(Endpoint(f"http://127.0.0.1:{free_port()}/x"), Workload(isl=8, osl=2, requests=3), seed=0)
    assert [m.metric for m in result.measurements] == ["success_rate"]
    assert sum(result.reasons.values()) == 3


def test_a_cut_window_keeps_what_was_finished(serve):
    url = serve("hangs")
    workload = complete(Workload(isl=8, osl=2, requests=12, concurrency=2))
    done = []

    async def cut():
        work = asyncio.ensure_future(measure(Endpoint(url + "/v1/completions"), workload, requests, done))
        while len(done) < 8:
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    requests = draw(workload, 0, Tokenizer())
    asyncio.run(cut())
    assert len(done) == 8
    assert all(record.ok for record in done)


def test_extra_body_fields_win(serve):
    """An engine may set its own temperature."""
    endpoint = Endpoint(serve() + "/v1/completions", fields={"max_tokens": 2})
    result = run_load(endpoint, Workload(isl=8, osl=6, requests=2), seed=0)
    assert {record.output_tokens for record in result.records} == {2}
