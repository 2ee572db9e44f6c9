"""A worker that answers at once: its times follow a formula, and FAKE_WORKER (JSON) says what goes wrong.

Started in place of an interpreter: `sh wrapper main.py LIBRARY DEVICE THREADS`. It appends each case to asked.jsonl in
its folder.
"""

import json
import os
import signal
import sys
from pathlib import Path


def seconds(case):
    """Grows with everything that is asked."""
    total = 1e-6
    for place, name in enumerate(sorted(case)):
        if isinstance(case[name], int):
            total *= 1.0 + case[name] ** 0.5 / (7 + place)
    return total


def main():
    plan = json.loads(os.environ.get("FAKE_WORKER", "{}"))
    log = Path("asked.jsonl")
    half = ["bf16"]
    formats = {"gemm": ["bf16", "fp32"], "context_attention": half, "generation_attention": half}
    about = {"version": plan.get("version", "9.1"), "build": "fake", "python": "3.12.0", "threads": int(sys.argv[4])}
    about |= {"formats": formats, "usual": formats["gemm"], "how": "They are made up."}
    print(json.dumps({**about, **plan.get("about", {})}), flush=True)
    for line in sys.stdin:
        before = log.read_text().splitlines() if log.exists() else []
        with log.open("a") as file:
            file.write(line)
        case = json.loads(line)
        _misbehave(plan, len(before), case)
        spread = plan["strays"][before.count(line.strip())] if "strays" in plan else 0.01
        each = seconds(case)
        answer = {"kernel": "fake", "latency_s": each, "spread": spread, "samples": [each] * 5, "times": 1}
        answer["waited"] = plan.get("waited", [0.0] * 9)[before.count(line.strip())]
        print(json.dumps({**answer, "outliers": int(spread > 0.3)}), flush=True)


def _misbehave(plan, number, case):
    if number == plan.get("kills_us_at"):
        os.kill(os.getppid(), signal.SIGKILL)
        sys.exit()
    if number == plan.get("interrupts_us_at"):
        os.kill(os.getppid(), signal.SIGINT)
        sys.stdin.read()
    if "dies_at" in plan and plan["dies_at"].items() <= case.items():
        print("no memory left", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
