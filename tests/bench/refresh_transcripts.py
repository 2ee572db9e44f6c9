"""Runs the commands in a document's transcripts and puts what they print in place of what stands there.

Run: `python tests/bench/refresh_transcripts.py docs/traffic.md`. A transcript is a block fenced as `console`: a line
`$ servecast …`, then its output. Blocks fenced as `yaml` or `json` after a line that ends in `NAME.yaml`: or the like
are written as that file first. Everything runs in an empty folder; what goes to stderr is kept, before the rest.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

_FILE = re.compile(r"`([\w.]+\.(?:yaml|jsonl))`[^\n]*:\n```(?:yaml|json)\n(.*?)```", re.DOTALL)
_BLOCK = re.compile(r"```console\n\$ servecast ([^\n]*)\n.*?```", re.DOTALL)


def refreshed(text: str, folder: Path) -> str:
    """The document with fresh output in every transcript."""
    for name, body in _FILE.findall(text):
        (folder / name).write_text(body)

    def run(found: re.Match[str]) -> str:
        command = [sys.executable, "-m", "servecast", *shlex.split(found[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
        lines = [line.rstrip() for line in (done.stderr + done.stdout).splitlines()]
        return "\n".join(["```console", f"$ servecast {found[1]}", *lines, "```"])

    return _BLOCK.sub(run, text)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as name:
            path.write_text(refreshed(path.read_text(), Path(name)))
