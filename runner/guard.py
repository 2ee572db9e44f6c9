"""A small process between us and a server: whatever ends us, it ends the server's whole process group at once.

Run by absolute path as `python -I -S guard.py PARENT_PID COMMAND...`; imports only the standard library. Its stdin is a
pipe whose other end only we hold: end of file there means that we are gone (kill -9 included), `T` asks for SIGTERM,
`K` for SIGKILL. On stdout it says `pid N` once the server runs and `exit CODE` when it has ended (negative: a signal).
No prctl: works on Linux and macOS.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

_LOOK_AT_PARENT_S = 1.0


def main() -> int:
    """Guard one server; the exit code is 0 once its group is gone, 127 if it could not be started."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    # A handler that does nothing wakes `select` at the server's end; unlike SIG_IGN it is not inherited.
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, _ignore)
    signal.signal(signal.SIGTERM, _leave)
    try:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    except OSError as error:
        _say(f"failed {error.strerror}: {command[0]}")
        return 127
    strays: set[int] = set()
    try:
        _say(f"pid {server.pid}")
        _watch(server, parent, woken, strays)
    finally:
        strays.update(_descendants(server.pid))
        _kill(server.pid, signal.SIGKILL)
        for stray in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(stray, signal.SIGKILL)
        code = server.wait()
    _say(f"exit {code}")
    return 0


def _watch(server: subprocess.Popen[bytes], parent: int, woken: int, strays: set[int]) -> None:
    """Return when the server has ended or must be killed. `strays` gains whom a server asked to end may leave."""
    while server.poll() is None:
        ready, _, _ = select.select([0, woken], [], [], _LOOK_AT_PARENT_S)
        if woken in ready:
            os.read(woken, 512)
        if 0 in ready:
            asked = os.read(0, 64)
            if not asked or b"K" in asked:
                return
            # Once the server is gone nothing tells that its children in other sessions were its own.
            strays.update(_descendants(server.pid))
            _kill(server.pid, signal.SIGTERM)
        # A forked sibling may hold the pipe open after our death; the parent's number cannot lie.
        if os.getppid() != parent:
            return


def _kill(group: int, number: int) -> None:
    # PermissionError: macOS says so of a group that holds only zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _descendants(root: int) -> list[int]:
    """All processes below `root`: some launchers (mpirun) put their workers into sessions of their own."""
    try:
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        listing = _listing_of_proc()
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        pid, parent = map(int, line.split())
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _listing_of_proc() -> str:
    """ "pid ppid" lines where there is no `ps`, as in slim containers; the name in the stat file may hold spaces."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            lines.append(f"{entry.parent.name} {entry.read_text().rpartition(')')[2].split()[1]}")
    return "\n".join(lines)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(1, (line + "\n").encode())


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
