"""The schedulers against decisions that vLLM's and SGLang's own made, step for step.

Run: `python tests/bench/scheduler_oracle.py scheduler_oracle.jsonl`, a file of scenarios with their answers (settings,
requests, steps, num_steps, cached_tokens), one a line; `sglang_oracle.py` writes one of SGLang's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from model.simulate.decisions import decisions

ANSWERS = ("steps", "num_steps", "cached_tokens")


def main(path: Path) -> None:
    """Print how many scenarios are equal in every field of every step, and the first that are not."""
    lines = path.read_text(encoding="utf-8").splitlines()
    different = []
    for line in lines:
        wanted = json.loads(line)
        found = decisions({name: wanted[name] for name in wanted if name not in ANSWERS})
        if any(found[name] != wanted[name] for name in ANSWERS):
            different.append(wanted["id"])
    print(f"{len(lines) - len(different)} of {len(lines)} scenarios are equal; different: {different[:10]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
