"""The tests of one file run on one worker: what it compiles, no other need wait for."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests of this folder by file, those of a folder below it by that folder."""
    here = __file__.removesuffix("conftest.py")
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.xdist_group(str(item.path)[len(here) :].split("/")[0]))
