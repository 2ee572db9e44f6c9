"""Which importer reads a file: the one that the user names, else the one that is surest of its content."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path

from perfdb.errors import UnknownNameError
from perfdb.importers.content import PARQUET
from perfdb.importers.importer import Importer

FORMATS = (
    "aiconfigurator",
    "aiperf",
    "collected",
    "flat_json",
    "genai_bench",
    "generic",
    "guidellm",
    "inferencemax",
    "key_value",
    "llama_bench",
    "llm_optimizer",
    "llmservingsim",
    "llmservingsim_profile",
    "markdown",
    "mlperf",
    "per_request",
    "sglang",
    "silicon",
    "trtllm_bench",
    "vidur",
    "vllm",
)
"""Every format, by the name of the module in `formats/` that holds its `IMPORTER`. A new format is added here."""


@lru_cache(maxsize=len(FORMATS))
def importer(name: str) -> Importer:
    """The importer of a format.

    Raises:
        UnknownNameError: there is no such format.
    """
    if name not in FORMATS:
        raise UnknownNameError.of("format", name, FORMATS)
    found: Importer = import_module(f"perfdb.importers.formats.{name}").IMPORTER
    return found


def recognise(head: bytes, path: Path) -> Importer | None:
    """The importer that is surest of a file with these first bytes; None if none knows it."""
    if head.startswith(PARQUET):  # its names stand at its end; what follows here is no text
        head = PARQUET
    scored = [(importer(name).sniff(head, path), name) for name in FORMATS]
    score, name = max(scored)
    return importer(name) if score > 0 else None
