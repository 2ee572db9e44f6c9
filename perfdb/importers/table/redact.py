"""Secrets are taken out of every text before anything is stored or shown."""

from __future__ import annotations

import re

MARK = "[redacted]"

_FLAG = re.compile(
    r"(?i)((?:^|[\s,;&?{\"'])(?:--?)?[\w.-]*?(?:api[_-]?key|access[_-]?token|auth[_-]?token|hf[_-]?token|secret|password|passwd)"
    r"[\"']?\s*(?:=|:|\s)\s*[\"']?)([^\s\"',;&}]+)"
)
_BEARER = re.compile(r"(?i)(bearer\s+)[\w.~+/=-]{8,}")
_KNOWN = re.compile(
    r"\b(?:sk-[\w-]{8,}|hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|AKIA[0-9A-Z]{16}"
    r"|AIza[\w-]{30,}|xox[abprs]-[\w-]{10,}|nvapi-[\w-]{16,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
)
_URL = re.compile(r"(\w+://[^/\s:@]+:)[^/\s@]+(@)")
_SECRET_NAME = re.compile(
    r"(?i)^(.*[_\s-])?(api[_\s-]?key|access[_\s-]?token|auth[_\s-]?token|hf[_\s-]?token|secret|password|passwd)$"
)


def redact(text: str) -> str:
    """The text with keys, tokens and passwords replaced by "[redacted]"."""
    if len(text) < 6:
        return text
    text = _FLAG.sub(rf"\1{MARK}", text)
    text = _BEARER.sub(rf"\1{MARK}", text)
    text = _URL.sub(rf"\1{MARK}\2", text)
    return _KNOWN.sub(MARK, text)


def is_secret_name(name: str) -> bool:
    """Whether a column or field of this name holds a secret as a whole."""
    return bool(_SECRET_NAME.match(name.strip()))
