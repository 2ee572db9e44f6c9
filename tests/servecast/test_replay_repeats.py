"""`replay` on rows that repeat a config: what was run differently is never mixed silently."""

from __future__ import annotations

ARGUMENTS = ["--params", "tp", "--objectives", "tps:max", "--budget", "2", "--seeds", "1", "--strategy", "random"]


def test_rows_of_one_config_under_another_load_are_said_aloud(cli):
    (cli.folder / "grid.csv").write_text("tp,arrival,concurrency,tps\n1,closed,8,10\n1,poisson,,30\n2,closed,8,20\n")
    done = cli.run("replay", "grid.csv", *ARGUMENTS)
    assert done.returncode == 0
    assert "1 of 3 rows repeat a config of --params and differ in arrival, concurrency" in done.stderr
    chosen = cli.run("replay", "grid.csv", *ARGUMENTS, "--where", "arrival = 'closed'")
    assert chosen.stderr == ""
    named = cli.run("replay", "grid.csv", *ARGUMENTS, "--params", "tp,arrival,concurrency")
    assert named.stderr == ""


def test_true_repeats_need_no_warning(cli):
    (cli.folder / "grid.csv").write_text("tp,arrival,tps\n1,closed,10\n1,closed,11\n2,closed,20\n")
    assert cli.run("replay", "grid.csv", *ARGUMENTS).stderr == ""
