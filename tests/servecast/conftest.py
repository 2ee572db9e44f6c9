"""A recorded grid that answers like a small server would, and a task that tunes on it."""

from __future__ import annotations

import csv
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from collected import SUPPORT

from servecast.start import main

SPACE = {
    "max_num_seqs": [1, 2, 4, 8],
    "max_num_batched_tokens": [256, 1024, 4096],
    "enable_chunked_prefill": [True, False],
}


def answer(config: dict[str, Any]) -> dict[str, Any]:
    """A plain queueing formula: more sequences, more throughput and slower tokens; one corner runs out of memory."""
    seqs, tokens = config["max_num_seqs"], config["max_num_batched_tokens"]
    if seqs == 8 and tokens == 4096:
        return {"outcome": "oom", "wall_s": 5}
    step = 0.01 * (1 + 0.15 * seqs) * (1.0 if config["enable_chunked_prefill"] else 1.1)
    return {
        "output_tps": seqs / step,
        "ttft_s": 0.05 + 8 / seqs * step * 20 + 30 / tokens,
        "tpot_s": step * (1 + tokens / 20000),
        "e2e_s_p90": 1.3 * step * 40,
        "outcome": "ok",
        "wall_s": 10,
    }


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    """A folder with `grid.csv` and `task.yaml`."""
    configs = [dict(zip(SPACE, values, strict=True)) for values in itertools.product(*SPACE.values())]
    rows = [{**config, **answer(config)} for config in configs]
    with (tmp_path / "grid.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*SPACE, "output_tps", "ttft_s", "tpot_s", "e2e_s_p90", "outcome", "wall_s"])
        writer.writeheader()
        writer.writerows(rows)
    task = {
        "name": "recorded",
        "model": "meta-llama/Llama-3.1-8B",
        "engine": "vllm",
        "platform": "h100_sxm",
        "load": {"isl": 200, "osl": 40, "concurrency": 8},
        "space": SPACE,
        "baseline": {"max_num_seqs": 1, "max_num_batched_tokens": 1024},
        "budget": 8,
        "stop_early": False,
        "replay": "grid.csv",
    }
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=True))
    return tmp_path / "task.yaml"


@pytest.fixture
def edit() -> Callable[..., None]:
    """Change fields of a task file."""

    def change(path: Path, **fields: Any) -> None:
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}))

    return change


class Cli:
    """`servecast` from the command line: in this process, or in one of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What its entry point prints and how it ends, without the two seconds that a process takes to start."""
        argv = ["servecast", *map(str, arguments)]
        stdout, stderr = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
            patch.setattr(sys, "argv", argv)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            patch.chdir(self.folder)
            with pytest.raises(SystemExit) as ended:
                main()
        return subprocess.CompletedProcess(argv, int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())

    def process(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The same in a process of its own, as a user starts it."""
        command = [sys.executable, "-m", "servecast", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, input=stdin, timeout=240
        )

    def json(self, *arguments: str, stdin: str = "") -> dict[str, Any]:
        """Run it with --json; stdout must hold one document and nothing else."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line, started in the test's own folder."""
    return Cli(tmp_path)


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """An interpreter in whose place the fake worker answers; tests name it `./python`."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{SUPPORT / "fake_worker.py"}" "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def misbehave(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What the fake worker does wrong is said by the environment."""
    return lambda **plan: monkeypatch.setenv("FAKE_WORKER", json.dumps(plan))
