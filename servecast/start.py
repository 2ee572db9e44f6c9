"""Where the program starts: first that the rooms are ours, then the command line."""

from __future__ import annotations

import io
import os
import sys

from servecast.rooms import strangers

INTERRUPTED = 130
RECORDING = ("collect", "demo", "import", "tune")
"""Commands that keep what they have when they are interrupted, and go on from there."""


def main() -> None:
    """Start `servecast`; exit code 1 where a room is not ours, 130 after Ctrl-C."""
    # Our matrices have tens of rows: more threads only wait for each other, and take cores from the server under test.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _spell_out()
    wrong = strangers()
    if wrong:
        sys.stderr.write("".join(f"servecast: {sentence}\n" for sentence in wrong))
        sys.exit(1)
    try:
        from servecast.cli import run

        run()
    except KeyboardInterrupt:
        kept = "; whatever was recorded is kept, the same command goes on from there"
        sys.stderr.write(f"servecast: interrupted{kept if set(RECORDING) & set(sys.argv[1:2]) else ''}\n")
        sys.exit(INTERRUPTED)


def _spell_out() -> None:
    """Let stdout spell what its encoding lacks, as Python's stderr does: "±" is "\\xb1" where there is only ASCII. What
    is closed, and so None, takes everything and keeps it to itself."""
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
