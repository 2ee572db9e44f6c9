"""The README is true: its blocks run in order in one folder, and what it prints is what comes out.

Left out: the install line, the test command, and the full demo, which runs with a budget of 2 instead.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perfdb.importers.importer import ReadSettings
from perfdb.metrics import Statistic

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMAND = re.compile(r"^uv run servecast ((?:.*\\\n)*.*)\n", re.MULTILINE)
INSTALL = "python3 -m pip install uv && uv run servecast demo\nuv run poe test\n"


def run(script: str, folder: Path) -> str:
    """A block as a user of a clone types it; `uv run` is the environment that the tests already run in."""
    script = script.replace("uv run servecast", f'"{sys.executable}" -m servecast')
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, cwd=folder, check=False, timeout=240
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def in_this_process(script: str, cli: Any) -> str:
    """The same, but that only what is no command of ours needs a shell."""
    printed = []
    for place, part in enumerate(COMMAND.split(script)):
        if place % 2:
            done = cli.run(*shlex.split(part.replace("\\\n", " ")))
            assert done.returncode == 0, f"{part}\n{done.stdout}\n{done.stderr}"
            printed.append(done.stdout)
        elif part.strip():
            printed.append(run(part, cli.folder))
    return "".join(printed)


def squeezed(text: str) -> str:
    """Lines without the blanks at their ends."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_it_is_short_and_begins_with_the_two_commands():
    assert len(README.splitlines()) <= 150
    assert BLOCKS[0] == ("sh", INSTALL)
    assert {language for language, _ in BLOCKS} == {"sh", "text", "python"}


@pytest.mark.slow
def test_the_demo_runs_for_real(tmp_path):
    run("uv run servecast demo --budget 2", tmp_path)
    made = {path.name for path in (tmp_path / "servecast-demo").iterdir()}
    assert made >= {"task.yaml", "servecast.duckdb", "report.html", "logs"}


def test_every_other_block_runs_and_prints_what_it_says(cli, tmp_path):
    """The first of them in a shell, the others as that would pass them on: a process each takes seconds to start."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    # The first two blocks are the install block and the transcript of the full demo.
    output, started = "", False
    for language, text in BLOCKS[2:]:
        if language == "sh":
            output, started = in_this_process(text, cli) if started else run(text, tmp_path), True
        elif language == "text":
            assert squeezed(output).endswith(squeezed(text))


def test_the_importer_that_it_shows_reads_a_file(tmp_path):
    shown: dict[str, Any] = {}
    exec(next(text for language, text in BLOCKS if language == "python"), shown)
    path = tmp_path / "run.json"
    run = {"mybench_version": 1, "model": "Qwen/Qwen3-8B", "users": 16, "latency": {"first": {"p99": 84}}}
    path.write_text(json.dumps(run))
    assert shown["IMPORTER"].sniff(path.read_bytes(), path) == 0.9
    (batch,) = shown["IMPORTER"].read(path, ReadSettings())
    assert batch.values["ttft_s", Statistic.P99].tolist() == [0.084]
    assert batch.context["concurrency"].tolist() == [16]
