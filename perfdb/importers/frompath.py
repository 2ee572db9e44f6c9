"""Parameters that stand only in a file's path, taken out by a pattern that the user gives."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from perfdb.errors import InputError
from perfdb.importers.table.fields import field_meaning

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class PathPattern:
    """A pattern over the end of a path.

    "{_}_vllm_tp{tp}_isl{isl}_osl{osl}_conc{concurrency}.json" is compared with the last component of a path, a pattern
    with k slashes with the last k + 1, always from end to end. A placeholder takes as little text as it can, at least
    one character, never a slash; it is named by a canonical field (isl, concurrency, platform, …), an engine parameter
    or role (tp, max_num_seqs, …), "config.NAME" or "extra.NAME"; "{_}" takes any text, even none, and is forgotten.
    A pattern that starts with "re:" is a regular expression with named groups, searched anywhere in the path; a dot in
    a group's name is written as two underscores (config__foo).
    """

    text: str
    expression: re.Pattern[str]
    names: tuple[tuple[str, str], ...]
    depth: int

    @classmethod
    def parse(cls, text: str) -> PathPattern:
        """Read a pattern.

        Raises:
            InputError: it has no placeholder, one twice, or is no regular expression.
            UnknownNameError: a placeholder is not named by a known field.
        """
        if text.startswith("re:"):
            return cls._regex(text)
        plain = text.strip("/")
        pieces = _PLACEHOLDER.split(plain)
        names = [name.strip() for name in pieces[1::2]]
        _check(text, [name for name in names if name != "_"])
        groups = {name: f"g{place}" for place, name in enumerate(names)}
        body = re.escape(pieces[0])
        for name, literal in zip(names, pieces[2::2], strict=True):
            body += "[^/]*?" if name == "_" else f"(?P<{groups[name]}>[^/]+?)"
            body += re.escape(literal)
        kept = tuple((groups[name], name) for name in names if name != "_")
        return cls(text, re.compile(f"^{body}$"), kept, plain.count("/") + 1)

    @classmethod
    def _regex(cls, text: str) -> PathPattern:
        try:
            expression = re.compile(text.removeprefix("re:"))
        except re.error as error:
            raise InputError.at(
                f"--from-path {text!r}", str(error), "a regular expression with named groups"
            ) from error
        names = tuple((group, group.replace("__", ".")) for group in expression.groupindex)
        _check(text, [name for _, name in names])
        return cls(text, expression, names, 0)

    def match(self, path: Path) -> dict[str, str] | None:
        """Field -> text for a path, None if the pattern does not fit it."""
        parts = path.absolute().as_posix()
        if self.depth:
            found = self.expression.match("/".join(parts.split("/")[-self.depth :]))
        else:
            found = self.expression.search(parts)
        if found is None:
            return None
        return {name: found[group] for group, name in self.names if found[group] is not None}


def _check(text: str, names: list[str]) -> None:
    where = f"--from-path {text!r}"
    if not names:
        raise InputError.at(where, "no placeholder in it", "at least one, such as {concurrency}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError.at(where, f"placeholder {twice[0]!r} stands twice", "each name once")
    for name in names:
        field_meaning(name, "field of --from-path")
