"""Starting up: light, and not fooled by the user's own modules."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["numpy", "pandas", "duckdb", "numba", "scipy", "sklearn", "xgboost", "optuna", "plotly", "pydantic", "aiohttp"]


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd, check=False, timeout=60)


def test_help_imports_nothing_heavy():
    code = f"import servecast.cli, sys; print([m for m in {HEAVY} if m in sys.modules])"
    assert run("-c", code).stdout.strip() == "[]"


@pytest.fixture
def folder_with_own_modules(tmp_path):
    (tmp_path / "model.py").write_text("raise SystemExit('the wrong model')")
    (tmp_path / "runner.py").write_text("raise SystemExit('the wrong runner')")
    (tmp_path / "perfdb.py").write_text("raise SystemExit('the wrong perfdb')")
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "__init__.py").write_text("raise SystemExit('the wrong search')")
    return tmp_path


@pytest.mark.parametrize("arguments", [["--help"], ["engines", "--json"], ["platforms", "local"]])
def test_modules_of_the_user_do_not_stand_in_for_ours(folder_with_own_modules, arguments):
    script = str(Path(sys.executable).with_name("servecast"))
    for command in (["-m", "servecast"], [script]):
        done = run(*command, *arguments, cwd=folder_with_own_modules)
        assert done.returncode == 0, done.stderr
        assert "wrong" not in done.stdout + done.stderr


def test_a_strange_room_is_named(folder_with_own_modules):
    code = "import sys; sys.path.insert(0, ''); from servecast.start import main; main()"
    done = run("-c", code, cwd=folder_with_own_modules)
    assert done.returncode == 1
    assert "module 'model' comes from" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["servecast.commands.db_check.open_existing", "servecast.cli.run"])
def test_ctrl_c_is_one_sentence(cli, monkeypatch, place):
    def interrupted(*_given):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    done = cli.run("db", "check")
    assert done.returncode == 130
    assert done.stderr == (
        "servecast: interrupted; whatever was recorded is kept, the same command goes on from there\n"
    )
