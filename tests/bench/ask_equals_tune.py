"""Tune once for real, then again by `suggest` and `record` alone with the same results: are the choices the same?

Run by hand: `uv run python tests/bench/ask_equals_tune.py DEMO_FOLDER`, a folder that `servecast demo` has made.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any


def servecast(*arguments: str, stdin: str | None = None) -> Any:
    """One command in a process of its own; its JSON document."""
    command = [sys.executable, "-m", "servecast", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, input=stdin)
    return json.loads(done.stdout)


def main(folder: Path) -> None:
    """Compare choice by choice."""
    task = str(folder / "task.yaml")
    tuned = servecast("tune", task, "--db", str(folder / "servecast.duckdb"), "--budget", "1")["experiments"]
    results = defaultdict(list)
    for experiment in tuned:
        results[json.dumps(experiment["config"], sort_keys=True)].append(experiment)
    same = 0
    with tempfile.TemporaryDirectory() as name:
        db = str(Path(name) / "asked.duckdb")
        for experiment in tuned:
            asked = servecast("suggest", task, "--db", db, "--budget", str(len(tuned)))["suggestions"][0]
            told = (experiment["config"], experiment["selection_reason"])
            same += (asked["config"], asked["selection_reason"]) == told
            print(f"[{experiment['index'] + 1}] {asked['selection_reason']}: {asked['config']}")
            answer = results[json.dumps(asked["config"], sort_keys=True)].pop(0)
            metrics = answer["actual"] if answer["outcome"] == "ok" else {}
            report = {"config": asked["config"], "metrics": metrics, "wall_s": answer["wall_s"]}
            if answer["outcome"] != "ok":
                report["outcome"] = answer["outcome"]
            servecast("record", task, "--db", db, "--file", "-", stdin=json.dumps(report))
    print(f"{same} of {len(tuned)} choices are the same")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
