"""Starting up: light, and not fooled by the user's own modules."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from servecast.output import emit_json
from servecast.start import RECORDING, main

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
    assert (done.returncode, done.stderr) == (130, "servecast: interrupted\n")


def test_ctrl_c_says_that_a_command_goes_on_only_of_those_that_record(cli, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("servecast.cli.run", interrupted)
    said = "servecast: interrupted; whatever was recorded is kept, the same command goes on from there\n"
    for command in RECORDING:
        assert cli.run(command, "x").stderr == said
    assert cli.run("simulate", "tune").stderr == "servecast: interrupted\n"


def main_to(stdout, monkeypatch, *arguments):
    """Exit code of the program, run here, with stdout a file."""
    monkeypatch.setattr(sys, "argv", ["servecast", *arguments])
    with redirect_stdout(stdout), pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.fixture
def question(tmp_path):
    (tmp_path / "µ.csv").write_text("op,dtype,a1,a2,a3\ngemm,bf16,64,4096,4096\n")
    return ["ops", str(tmp_path / "µ.csv"), "--platform", "h100_sxm", "--engine", "vllm", "--db", str(tmp_path / "db")]


def test_an_encoding_without_our_letters_gets_them_spelled_out(question, monkeypatch):
    taken = io.BytesIO()
    assert main_to(io.TextIOWrapper(taken, "ascii"), monkeypatch, *question) == 0
    assert b"\\xb5s" in taken.getvalue()
    assert b"\\xb1 sd" in taken.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_any_encoding(encoding):
    taken = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(taken, encoding)):
        emit_json({"µ": "± 一"})
        assert json.loads(taken.getvalue().decode(encoding)) == {"µ": "± 一"}


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_closed_stdout_takes_everything(question, monkeypatch, more):
    assert main_to(None, monkeypatch, *question, *more) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_disk_is_one_sentence(question, monkeypatch, capsys, more):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        assert main_to(full, monkeypatch, *question, *more) == 1
    said = capsys.readouterr().err
    assert said == "servecast: stdout: cannot be written (No space left on device); expected room for the answer\n"
