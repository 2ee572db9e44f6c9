"""Where the program starts: first that the rooms are ours, then the command line."""

from __future__ import annotations

import os
import sys

from servecast.rooms import strangers


def main() -> None:
    """Start `servecast`; exit code 1 where a room is not ours."""
    # Our matrices have tens of rows: more threads only wait for each other, and take cores from the server under test.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    wrong = strangers()
    if wrong:
        sys.stderr.write("".join(f"servecast: {sentence}\n" for sentence in wrong))
        sys.exit(1)
    from servecast.cli import run

    run()
