"""`servecast collect ops` stopped, disturbed or asked again: nothing is measured twice, nothing wrong gets in."""

from __future__ import annotations

import json

import pytest
from collected import MISBEHAVE, OPS, TINY, asked, stored

pytestmark = pytest.mark.usefixtures("interpreter")


@pytest.mark.parametrize(("plan", "code"), [({"kills_us_at": 3}, -9), ({"interrupts_us_at": 3}, 130)])
def test_stopped_anyhow_it_goes_on_where_it_was(cli, misbehave: MISBEHAVE, plan: dict[str, int], code: int) -> None:
    misbehave(**plan)
    done = cli.process(*TINY)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    kept = (cli.folder / "o" / ".collect" / "times.jsonl").read_text().splitlines()
    assert len(kept) == 1 + 3
    if code == 130:
        assert done.stderr.endswith("interrupted; whatever was recorded is kept, the same command goes on from there\n")
        assert cli.json("import", "o", "--db", "d.duckdb")["stored"] == 3
    misbehave()
    done = cli.run(*TINY, "--json")
    document = json.loads(done.stdout)
    assert done.stderr.startswith("[4 of 7] ")
    assert (document["measured"], document["missing"]) == (7, 0)
    everything = [json.dumps(case) for case in asked(cli.folder)]
    assert len(everything) == 7 + 1  # that under way was lost
    assert len(set(everything)) == 7
    assert cli.json("import", "o", "--db", "d.duckdb")["stored"] == (4 if code == 130 else 7)


def test_a_second_call_measures_nothing_and_writes_the_same(cli) -> None:
    cli.json(*TINY)
    cli.json("import", "o", "--db", "d.duckdb")
    assert cli.json(*TINY)["new"] == 0
    assert cli.json("import", "o", "--db", "d.duckdb")["stored"] == 0


def test_lines_that_cannot_be_read_are_measured_again(cli) -> None:
    cli.json(*TINY)
    journal = cli.folder / "o" / ".collect" / "times.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    bad = ['{"asked": {}, "answer": {"latency_s": -1}}\n', "\x00\xff[[\n", "[]\n", lines[4].replace('"load"', '"l"')]
    journal.write_text("".join([lines[0], *bad, *lines[5:-1], lines[-1][:50]]), encoding="latin-1")
    done = cli.run(*TINY)
    assert done.returncode == 0, done.stderr
    for number in (2, 3, 4, 5, len(lines)):
        assert f"times.jsonl, line {number}: not readable; its case is measured again" in done.stderr
    assert len(asked(cli.folder)) == 7 + 5
    assert cli.json("import", "o", "--db", "d.duckdb")["stored"] == 7


def test_a_case_that_strays_is_measured_once_more_and_the_steadier_times_kept(cli, misbehave: MISBEHAVE) -> None:
    misbehave(strays=[0.5, 0.02])
    first = cli.json(*TINY)
    assert first["spread"]["p90"] == pytest.approx(0.02)
    assert (first["new"], first["repeats"]) == (7, 7)
    assert len(asked(cli.folder)) == 14
    cli.json("import", "o", "--db", "d.duckdb")
    assert {tuple(row) for row in stored(cli.folder, "spread")} == {(0.02,)}


def test_times_of_a_busy_machine_are_measured_again_and_never_in_the_table(cli, misbehave: MISBEHAVE) -> None:
    """However steady: threads that wait in turn for a core do so evenly."""
    misbehave(waited=[1.5, 0.7, 0.6, 0.02])
    first = cli.run(*TINY)
    assert "waiting for a core" in first.stderr
    assert "7 of 7 cases are left" in first.stdout
    assert first.returncode == 1
    why = "there is no table yet: 7 of 7 cases were timed while threads waited for a core; expected a machine without"
    assert first.stderr.splitlines()[-1].startswith(f"servecast: {why}")
    assert not list((cli.folder / "o").glob("*.parquet"))
    assert "left out, as the machine had other work: 7 cases" in (cli.folder / "o" / "METHOD.md").read_text()
    assert len(asked(cli.folder)) == 14
    second = cli.json(*TINY)
    assert (second["measured"], second["missing"], second["new"], second["repeats"]) == (7, 0, 7, 7)
    assert second["busy"] == 0
    cli.json("import", "o", "--db", "d.duckdb")
    assert {json.loads(row[0])["waited"] for row in stored(cli.folder, "more")} == {0.02}


def test_a_table_that_lacks_cases_of_a_busy_machine_says_why(cli, misbehave: MISBEHAVE) -> None:
    cli.json(*TINY, "--dtypes", "fp32")
    (cli.folder / "asked.jsonl").unlink()
    misbehave(waited=[0.5, 0.5])
    done = cli.run(*TINY)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert " cases are left; the same command goes on from there" in lines[-1]
    busy = lines[-1].split(" cases")[0]
    assert f"\n{busy} cases were timed while threads waited for a core; expected a machine without" in done.stderr


def test_a_case_that_strays_always_is_tried_twice_in_all(cli, misbehave: MISBEHAVE) -> None:
    misbehave(strays=[0.4, 0.5])
    first, second = cli.json(*TINY), cli.json(*TINY)
    assert (first["new"], first["repeats"]) == (7, 7)
    assert (second["new"], second["repeats"]) == (0, 0)


def test_a_case_measured_again_by_a_later_call_is_not_new(cli, misbehave: MISBEHAVE) -> None:
    """Stopped after the first round, one case strays: what the next call does with it is a repeat."""
    misbehave(strays=[0.4, 0.5], kills_us_at=7)
    assert cli.process(*TINY).returncode == -9
    misbehave(strays=[0.4, 0.5, 0.3])
    again = cli.json(*TINY)
    assert (again["new"], again["repeats"], again["missing"]) == (0, 7, 0)
    assert "0 new and 7 measured again" not in cli.run(*TINY).stdout


def test_what_strays_twice_is_counted_in_the_notes(cli, misbehave: MISBEHAVE) -> None:
    misbehave(strays=[0.4, 0.5])
    cli.json(*TINY)
    assert "cases with a repeat of 1.5 medians or more: 7" in (cli.folder / "o" / "METHOD.md").read_text()


def test_a_worker_that_dies_costs_its_cases_only(cli, misbehave: MISBEHAVE) -> None:
    misbehave(dies_at={"dtype": "bf16"})
    done = cli.run(*TINY)
    assert done.returncode == 1
    assert "the worker ended 3 times in a row, last at " in done.stderr
    assert "signal 9: no memory left" in done.stderr
    misbehave(dies_at={"n": 4096})
    done = cli.run(*OPS, "--dtypes", "fp32", "--models", "llama-3.1-8b", "--tp", "8", "--grid", "tiny")
    assert done.returncode == 0, done.stderr
    assert "the worker ended (signal 9: no memory left)" in (cli.folder / "o" / "METHOD.md").read_text()
