"""Does `cont_batching: false` keep requests from joining a running batch? Counted on the real server.

Run by hand: `uv run python tests/bench/continuous_batching.py`. Prints, for on and off, how many pairs of requests had
one get its first token while the other was decoding. It reads the client's time stamps: a busy machine blurs it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from perfdb.records import Config, Target, Workload
from runner.execute import Job
from runner.local import LocalExecutor
from runner.tiny_model import make_tiny_model


def joined(folder: Path, model: Path, on: bool) -> int:
    """Pairs (a, b) where b's first token came between the second and the last but one of a."""
    load = Workload(lengths="U(9,30)/(4,60)", concurrency=4, requests=24, warmup_requests=0)
    name = f"on-{on}"
    config = Config({"n_parallel": 4, "cont_batching": on})
    job = Job(name, config, Target("tiny", "local", "llamacpp"), (load,), folder, model_path=str(model))
    with LocalExecutor() as executor:
        [(_, result)] = executor.run([job])
    if not result.outcome.usable:
        raise SystemExit(f"{result.outcome}: {result.error}")
    lines = (folder / f"{name}-0.requests.jsonl").read_text().splitlines()
    stamps = [json.loads(line)["token_s"] for line in lines]
    return sum(a[1] < b[0] < a[-2] for a in stamps for b in stamps if len(a) > 3)


def main() -> None:
    """Three runs each way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_tiny_model(folder, quantizations=("Q8_0",)).files["Q8_0"]
        for on in (True, False):
            print(f"cont_batching {on}: {[joined(folder, model, on) for _ in range(3)]} pairs joined")


if __name__ == "__main__":
    main()
