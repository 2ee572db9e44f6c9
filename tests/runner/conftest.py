import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fake():
    """The module fake_engine.py beside this file."""
    path = Path(__file__).with_name("fake_engine.py")
    spec = importlib.util.spec_from_file_location("runner_fake_engine", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def local(fake):
    """A LocalExecutor over the pretended engine; nothing of it is left when the test ends."""
    from runner.local import LocalExecutor

    with LocalExecutor(adapter=lambda _name: fake.ENGINE, grace_s=5.0) as executor:
        yield executor
