"""Compiled kernels are kept under a name that changes with their sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from model import compiled

ROOT = Path(compiled.__file__).parents[1]


def folder(home: Path, **more: str) -> str:
    """What a fresh process takes as its folder."""
    env = {**{k: v for k, v in os.environ.items() if k not in {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}}, "HOME": str(home)}
    said = "from model import compiled; from numba import config; print(config.CACHE_DIR)"
    found = subprocess.run(
        [sys.executable, "-c", said], cwd=ROOT, env={**env, **more}, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def test_the_name_follows_every_kernel_source(tmp_path: Path, monkeypatch) -> None:
    kernels = tmp_path / "model" / "deep"
    kernels.mkdir(parents=True)
    (tmp_path / "search").mkdir()
    (kernels / "a.py").write_text("@njit\n")
    (kernels / "plain.py").write_text("x = 1\n")
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "model" / "compiled.py"))
    first = compiled._sources()
    (kernels / "plain.py").write_text("x = 2\n")
    assert compiled._sources() == first
    (kernels / "a.py").write_text("@njit  # changed\n")
    assert compiled._sources() != first


def test_kernels_are_kept_in_the_users_cache(tmp_path: Path) -> None:
    assert folder(tmp_path) == str(tmp_path / ".cache" / "servecast" / "kernels" / compiled._sources())
    assert folder(tmp_path, XDG_CACHE_HOME=str(tmp_path / "x")).startswith(str(tmp_path / "x" / "servecast"))


def test_a_folder_of_the_users_own_is_respected(tmp_path: Path) -> None:
    assert folder(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "mine")) == str(tmp_path / "mine")
    assert not (tmp_path / ".cache").exists()


def test_where_nothing_can_be_written_kernels_compile_all_the_same(tmp_path: Path) -> None:
    (tmp_path / ".cache").write_text("a file, not a folder")
    assert "servecast" not in folder(tmp_path)
