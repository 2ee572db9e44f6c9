"""What `tune` and `suggest` find out before they work: a budget, a page and flags that cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

TASK = {
    "name": "mixed",
    "model": "meta-llama/Llama-3.1-8B",
    "engine": "vllm",
    "platform": "h100_sxm",
    "load": {
        "mix": [{"weight": 7, "lengths": "D(512,128)"}, {"weight": 3, "lengths": "D(4096,256)"}],
        "concurrency": 8,
    },
    "space": {"max_num_seqs": [8, 16]},
}


@pytest.fixture
def written(cli: Any) -> Any:
    def write(**changes: Any) -> Path:
        path = Path(cli.folder / "t.yaml")
        path.write_text(yaml.safe_dump({**TASK, **changes}))
        return path

    return write


def test_a_mix_is_predicted_as_its_mean_request(cli: Any, written: Any) -> None:
    """Not as one of its parts: a few long prompts make tokens slower, but not as slow as long ones only."""
    expected = []
    for load in (
        TASK["load"],
        {"lengths": "D(512,128)", "concurrency": 8},
        {"lengths": "D(4096,256)", "concurrency": 8},
    ):
        found = cli.json("suggest", str(written(load=load)), "--db", "d.duckdb")
        expected.append(found["suggestions"][0]["predicted"]["tpot_s"]["mean"])
    mixed, short, long = expected
    assert short < mixed < long


def test_flags_that_nobody_knows_are_said_to_be_learned_only(cli: Any, written: Any) -> None:
    done = cli.run("suggest", str(written(space={"max_num_seqs": [8], "made_up": [1, 2]})), "--db", "d.duckdb")
    assert done.returncode == 0
    assert "made_up: no parameter of vllm known here; only runs tell what it does" in done.stderr
    assert "known here" not in cli.run("suggest", str(written()), "--db", "d.duckdb").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "abc"), "budget 'abc' cannot be read"),
        (("--report", "none/page.html"), "none/page.html: the page cannot be written (there is no such folder"),
        (("--report", "."), "no file; expected the name of a page"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_run(cli: Any, task_file: Path, words: Any, said: str) -> None:
    done = cli.run("tune", str(task_file), "--db", "d.duckdb", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (cli.folder / "d.duckdb").exists()
