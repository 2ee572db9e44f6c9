"""The adapter of the pretended engine, and jobs for it. Loaded by path: tests are no package."""

import sys
from pathlib import Path

from perfdb.errors import EngineError, InputError
from perfdb.facts.engines import Applied, EngineFacts, EngineParameter
from perfdb.records import Config, Target, Workload
from runner.engines.base import HttpCall, Launch
from runner.execute import Job

SERVER = Path(__file__).with_name("fake_server.py")


class FakeEngine:
    health_path = "/health"
    completions_path = "/v1/completions"
    refused_signs = ("unrecognized arguments",)
    facts = EngineFacts(
        "fake",
        {
            "mode": EngineParameter("mode", "ok"),
            "size": EngineParameter("size", 1),
            "speed": EngineParameter("speed", 1, Applied.LIVE),
            "top_k": EngineParameter("top_k", 1, Applied.REQUEST),
        },
        launches=True,
        source="tests",
    )

    def __init__(self):
        self.launches = []

    def launch(self, job, restart, port):
        if restart.get("mode") == "unknown":
            raise InputError.at("fake parameter mode", "'unknown'", "a mode")
        if restart.get("mode") == "absent":
            raise EngineError("fake: the engine is not installed here")
        argv = (sys.executable, "-I", "-S", str(SERVER), str(port), str(restart.get("mode", "ok")), str(restart))
        return Launch(argv, port, {"FAKE_ENV": "set"}, "fake 1.0")

    def request_fields(self, request):
        return dict(request)

    def live_calls(self, live):
        return [HttpCall("/set", dict(live))] if live else []

    def log_facts(self, log):
        return {"said": log.split()[0]} if log else {}


def adapter(_name):
    return FakeEngine()


ENGINE = FakeEngine()
LOAD = Workload(lengths="D(21,3)", concurrency=2, requests=12, warmup_requests=2)


def fake_job(tmp_path, config, *workloads, name="job", **more):
    target = Target("tiny", "local", "fake")
    return Job(name, Config(config), target, workloads or (LOAD,), tmp_path / "logs", **more)
