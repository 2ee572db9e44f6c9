"""The one error tree of the product.

Every error that a user can cause or meet derives from `ServecastError`; its text is one sentence that says what was
wrong, where, and what would be right. The command line prints that sentence and exits with `exit_code`; anything else
is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED_BY = {"model": "servecast models", "platform": "servecast platforms"}
"""Kinds of names that are too many for one sentence, and the command that lists them."""


class ServecastError(Exception):
    """Root of the tree. Exit code 1: the work was understood and failed."""

    exit_code = 1


class InputError(ServecastError):
    """What the user gave cannot be right: a file, a field, a flag. Exit code 2."""

    exit_code = 2

    @classmethod
    def at(cls, where: str, what: str, right: str) -> InputError:
        """Build "WHERE: WHAT; expected RIGHT" (one sentence, no trailing full stop)."""
        return cls(f"{where}: {what}; expected {right}")


class RefusedError(InputError):
    """What no server would do: engines do not start with a config, or it is not simulated."""


class UnknownNameError(InputError):
    """A name that is not known, together with those that are."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the error for `name`, listing the closest of `known` first, then all of them in order, or the command
        that does."""
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
        close = close or [each for each in names if len(name) > 2 and name.lower() in each.lower()][:3]
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        told = f"{len(names)}; {_LISTED_BY[kind]} lists them" if kind in _LISTED_BY else ", ".join(names)
        return cls(f"unknown {kind} {name!r}{hint}; known: {told or 'none'}")


class FileError(InputError):
    """A named file or folder cannot be read, or is not what its format says."""

    @classmethod
    def unreadable(cls, path: object, error: Exception, right: str) -> FileError:
        """Build "PATH: cannot be read (REASON); expected RIGHT" of what went wrong when it was read as text."""
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror  # without the path, which stands before it
        return cls(f"{path}: cannot be read ({reason}); expected {right}")


class OutputError(ServecastError):
    """What was asked for is known, but nothing takes it: the disk that stdout goes to is full."""


class StoreError(ServecastError):
    """The database cannot be opened, migrated or written."""


class StoreBusyError(StoreError):
    """Another process held the database for longer than `--wait` allows."""


class ModelError(InputError):
    """A model architecture cannot be described: a field is missing or has no known meaning."""


class EngineError(ServecastError):
    """An engine is not installed here, or answered in a way that its adapter does not know."""


class BudgetError(InputError):
    """A budget cannot be read, or cannot be charged in its unit."""
