"""Telling people that the runs of a database are learned from: the first time that takes a while."""

from __future__ import annotations

from model.kept.training import takes_long
from model.learning.history import Columns, size
from model.tables.shelf import Shelf
from servecast.output import note


def say_learning(history: Columns, shelf: Shelf) -> None:
    """Say so where they are many, and were not learned from before with these operation tables."""
    if takes_long(history, shelf):
        note(f"learning from {size(history):,} runs, once until they or the operation tables change")
