"""`kill -9` a real `servecast tune` at random moments: nothing recorded is lost or repeated, no server stays behind.

Run by hand: `uv run python tests/bench/kill_tune.py [KILLS]`. Prints one line per kill and a verdict.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

PATIENCE_S = 10.0


def servers(folder: Path) -> list[psutil.Process]:
    """Processes that serve a model from `folder`, and their guards."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(folder) in line and ("llamacpp_server" in line or "guard" in line):
            found.append(process)
    return found


def recorded(db: Path) -> list[str]:
    """Ids and configs of the recorded experiments, in order."""
    query = "SELECT experiment_id, config, outcome FROM experiments ORDER BY index"
    command = [sys.executable, "-m", "servecast", "db", "sql", query, "--db", str(db), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.dumps(row) for row in json.loads(done.stdout)["rows"]]


def main(kills: int) -> None:
    """Kill, look, go on; at last let it finish."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        subprocess.run(
            [sys.executable, "-m", "servecast", "demo", "--budget", "1", "--out", name], check=True, capture_output=True
        )
        db = folder / "servecast.duckdb"
        command = [sys.executable, "-m", "servecast", "tune", str(folder / "task.yaml"), "--db", str(db)]
        before, problems = recorded(db), 0
        for kill in range(kills):
            process = subprocess.Popen(
                [*command, "--budget", "200"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            wait_s = rng.uniform(0.2, 16.0)
            time.sleep(wait_s)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            deadline = time.monotonic() + PATIENCE_S
            while servers(folder) and time.monotonic() < deadline:
                time.sleep(0.05)
            orphans, after = len(servers(folder)), recorded(db)
            lost = after[: len(before)] != before
            configs = [json.loads(row)[1] for row in after]
            repeated = len(configs) - len(set(configs))
            problems += orphans > 0 or lost or repeated > 1  # the baseline is repeated once, on purpose
            print(f"kill {kill + 1} after {wait_s:.1f} s: {len(after)} recorded, lost {lost}, orphans {orphans}")
            before = after
        done = subprocess.run(
            [*command, "--budget", str(len(before) + 1), "--json"], capture_output=True, text=True, check=True
        )
        answer = json.loads(done.stdout)
        print(f"then finished: {len(answer['experiments'])} experiments, stopped because {answer['stopped_because']}")
        print(f"{kills} kills, {problems} with a problem")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
