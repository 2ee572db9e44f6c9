"""Secrets are taken out of every text before anything is stored or shown."""

from __future__ import annotations

import re

from perfdb.texts import printable

MARK = "[redacted]"

# every repetition that can fail late is bounded or starts at a word: a text of a megabyte must not take minutes
_FLAG = re.compile(
    r"(?i)((?:^|[\s,;&?{\"'])(?:--?)?[\w.-]*?(?:api[_-]?key|access[_-]?key|account[_-]?key|access[_-]?token|auth[_-]?token|hf[_-]?token|secret|password|passwd)"
    r"[\"']?(?:\s{0,99}[=:]\s{0,99}|\s{1,99})[\"']?)([^\s\"',;&}]+)"
)
_BEARER = re.compile(r"(?i)(bearer\s+)[\w.~+/=-]{8,}")
_KNOWN = re.compile(
    r"\b(?:sk-[\w-]{8,}|hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|AKIA[0-9A-Z]{16}"
    r"|AIza[\w-]{30,}|xox[abprs]-[\w-]{10,}|nvapi-[\w-]{16,}|eyJ[\w-]{10,2000}\.[\w-]{10,}\.[\w-]{5,})"
)
_URL = re.compile(r"(\b\w{1,40}://[^/\s:@]+:)[^/\s@]+(@)")
_SECRET_NAME = re.compile(
    r"(?i)^(.*[_\s.-])?(api[_\s-]?key|access[_\s-]?key|account[_\s-]?key|access[_\s-]?token|auth[_\s-]?token|hf[_\s-]?token|secret|password|passwd)$"
)
# one of these is in every text that a pattern above finds something in: a million cells without any are not searched
_HINTS = (
    "key", "token", "secret", "passw", "bearer", "://", "sk-", "hf_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
    "github_pat", "akia", "aiza", "xox", "nvapi", "eyj",
)  # fmt: skip

_LONG_WORD = re.compile(r"\S{200,}")
_SHOWN, _LONGEST = 80, 4000


def redact(text: str) -> str:
    """The text with keys, tokens and passwords replaced by "[redacted]"."""
    folded = text.casefold()
    if not any(hint in folded for hint in _HINTS):
        return text
    text = _FLAG.sub(rf"\1{MARK}", text)
    text = _BEARER.sub(rf"\1{MARK}", text)
    text = _URL.sub(rf"\1{MARK}\2", text)
    return _KNOWN.sub(MARK, text)


def is_secret_name(name: str) -> bool:
    """Whether a column or field of this name holds a secret as a whole."""
    return bool(_SECRET_NAME.match(name.strip()))


def sentence(text: str) -> str:
    """A warning or an error as it is shown: no secrets, no control characters, and no cell of a megabyte in it."""
    short = _LONG_WORD.sub(lambda found: f"{found[0][:_SHOWN]}…", printable(redact(text)))
    return short if len(short) <= _LONGEST else f"{short[:_LONGEST]}…"
