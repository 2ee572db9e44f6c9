"""What identifies an imported file; and back, from a stored source to the settings with which it was read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from perfdb.batch import Source
from perfdb.importers.content import digest_of
from perfdb.importers.importer import ColumnRule, Importer, ReadSettings
from perfdb.importers.table.redact import MARK, is_secret_name, redact
from perfdb.records import canonical_json


def digests_of(path: Path, reader: Importer) -> list[str]:
    """SHA-256 of a file's bytes, and of those of the files beside it that its importer looks into.

    Raises:
        FileError: one of them cannot be read, or is no text that its importer could read.
    """
    return [digest_of(path, reader.is_lines), *map(digest_of, reader.companions(path))]


def source_of(path: Path, reader: Importer, settings: ReadSettings, digests: Sequence[str]) -> Source:
    """The source that a file is: its hash covers the bytes and all that changes their meaning.

    What the user said is kept without the secrets in it.
    """
    said: dict[str, object] = {"bytes": list(digests), "settings": settings.fingerprint()}
    if facts := reader.facts(path):
        said["path"] = dict(facts)
    digest = hashlib.sha256(canonical_json({**said, "format": reader.name}).encode()).hexdigest()
    shown = replace(settings, constants=_redacted(settings.constants), captures=_redacted(settings.captures))
    kept = canonical_json({**said, "settings": shown.fingerprint()})
    return Source(str(path), digest, reader.name, reader.version, kept)


def _redacted(given: Mapping[str, str]) -> dict[str, str]:
    return {name: MARK if is_secret_name(name) else redact(text) for name, text in given.items()}


def settings_of(source: Source) -> tuple[list[str], ReadSettings]:
    """The digests of a stored source and the settings with which it was read; no digests where none were kept."""
    said = json.loads(source.settings)
    given = said.get("settings", {})
    columns = {name: ColumnRule(*rule) for name, rule in given.get("columns", {}).items()}
    settings = ReadSettings(given.get("constants", {}), given.get("captures", {}), columns)
    return list(said.get("bytes", [])), settings
