"""Where the program starts: first that the rooms are ours, then the command line."""

from __future__ import annotations

import os
import sys

from servecast.rooms import strangers

INTERRUPTED = 130


def main() -> None:
    """Start `servecast`; exit code 1 where a room is not ours, 130 after Ctrl-C."""
    # Our matrices have tens of rows: more threads only wait for each other, and take cores from the server under test.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    wrong = strangers()
    if wrong:
        sys.stderr.write("".join(f"servecast: {sentence}\n" for sentence in wrong))
        sys.exit(1)
    try:
        from servecast.cli import run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("servecast: interrupted; whatever was recorded is kept, the same command goes on from there\n")
        sys.exit(INTERRUPTED)
