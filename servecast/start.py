"""Where the program starts: first that the rooms are ours, then the command line."""

from __future__ import annotations

import sys

from servecast.rooms import strangers


def main() -> None:
    """Start `servecast`; exit code 1 where a room is not ours."""
    wrong = strangers()
    if wrong:
        sys.stderr.write("".join(f"servecast: {sentence}\n" for sentence in wrong))
        sys.exit(1)
    from servecast.cli import run

    run()
