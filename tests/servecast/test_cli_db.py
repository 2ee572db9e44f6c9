"""`servecast db`: the overview, the report on quality, merging, and the quarantine, as a user meets them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from perfdb.batch import ImportCounts, Number, OperationFile, Reading, Source
from perfdb.store import Store
from servecast.output import print_table

HEADER = "model,platform,engine,isl,osl,concurrency,ttft_ms,output_tps"
ROWS = ["Qwen/Qwen3-8B,a10,vllm,128,64,1,50,100", "Qwen/Qwen3-8B,a10,vllm,128,64,2,60,150"]
BAD = "Qwen/Qwen3-8B,a10,vllm,128,64,4,OOPS,150"


def write(cli, name, *rows, header=HEADER):
    (cli.folder / name).write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture
def loaded(cli):
    """Two files in `servecast.duckdb`: one with a row in quarantine, one that shares a record with it."""
    write(cli, "a.csv", *ROWS, BAD)
    write(cli, "b.csv", ROWS[0], ROWS[0].replace("100", "900").replace(",1,", ",8,"))
    assert cli.run("import", "a.csv", "b.csv").returncode == 0
    return cli


def operations(cli, rows):
    path = cli.folder / "gemm.csv"
    path.write_text("m,n,k,ms\n" + "".join(f"{m},{n},{k},{ms}\n" for m, n, k, ms in rows))
    given = {"op": "gemm", "platform": "h100_sxm", "engine": "vllm", "engine_version": "0.9"}
    file = OperationFile(path, (Reading(Number(("ms",), per=1e3)),), given, numbers={n: Number((n,)) for n in "mnk"})
    (counts,) = Store(cli.folder / "servecast.duckdb").ingest_operations([(Source("gemm.csv", "g", "ops"), file, [])])
    assert isinstance(counts, ImportCounts)


def test_info_says_what_is_there(loaded):
    text = loaded.process("db", "info").stdout
    assert "Files by format" in text
    assert "Serving measurements" in text
    answer = loaded.json("db", "info", "--platform", "a10")
    assert answer["contexts"][0] | {"stored_at": None} == {
        "platform": "a10",
        "engine": "vllm",
        "model": "Qwen/Qwen3-8B",
        "points": 3,
        "measurements": 6,
        "configs": 1,
        "failed": 0,
        "measured_at": None,
        "stored_at": None,
    }
    assert loaded.json("db", "info", "--platform", "a100")["contexts"] == []
    (form,) = answer["formats"]
    assert (form["files"], form["rows_read"], form["stored"], form["duplicates"], form["quarantined"]) == (
        2,
        5,
        3,
        1,
        1,
    )


def test_info_draws_where_an_operation_is_measured(cli):
    operations(cli, [(2**i, 64, 2**j, 1.0) for i in range(20) for j in range(6) for _ in range(1 + (i == 3) * 40)])
    done = cli.run("db", "info", "--op", "gemm", "--platform", "h100_sxm")
    lines = done.stdout.splitlines()
    assert lines[0] == "gemm · h100_sxm · vllm · 0.9: 360 rows"
    assert lines[1].strip() == "n·k"
    assert lines[2] == "     2Ki │" + "░░" * 3 + "██" + "░░" * 16
    assert [line.split("│")[0].strip() for line in lines[2:8]] == ["2Ki", "1Ki", "512", "256", "128", "64"]
    assert lines[9].split() == ["1", "16", "256", "4Ki", "64Ki", "m"]
    assert lines[10].strip().startswith("rows: ░ 1+  ▒ ")
    assert max(map(len, lines)) <= 100
    (table,) = cli.json("db", "info", "--op", "gemm")["coverage"]
    assert (table["rows"], table["bins"][0]) == (360, {"x": 1, "y": 64, "rows": 1})
    assert "No gemm is measured there" in cli.run("db", "info", "--op", "gemm", "--platform", "a10").stdout
    wrong = cli.run("db", "info", "--op", "gem")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "unknown operation 'gem' (did you mean gemm?)" in wrong.stderr


def test_check_reports_and_ends_well(loaded):
    write(loaded, "c.csv", ROWS[1].replace("150", "1500"))
    loaded.run("import", "c.csv")
    operations(loaded, [(1, 64, 64, 1.0), (1, 64, 64, 5.0), (2, 64, 64, 0.1)])
    done = loaded.run("db", "check")
    assert done.returncode == 0, done.stderr
    assert "warning: conflicts: 1 setting with repeats more than 1.5x apart" in done.stdout
    assert "a hidden factor: something that is not recorded differs" in done.stdout
    assert "warning: quarantine: 1 row set aside" in done.stdout
    assert "b.csv: 1 of 2 records are those of a.csv" in done.stdout
    assert "gemm · h100_sxm · vllm · 0.9: 3 rows, 1 of them apart (worst 5.0x)" in done.stdout
    assert "gemm · h100_sxm · vllm · 0.9: 3 rows, 1 drop (worst 10.0x)" in done.stdout
    kinds = [finding["kind"] for finding in loaded.json("db", "check")["findings"]]
    assert {"conflicts", "quarantine", "duplicates", "operations", "operation_conflicts", "operation_order"} <= set(
        kinds
    )


def test_check_of_nothing_finds_nothing_and_makes_nothing(cli):
    assert cli.run("db", "check").stdout == "Nothing doubtful was found.\n"
    assert list(cli.folder.iterdir()) == []


def test_merge_counts_what_came(loaded):
    write(loaded, "c.csv", ROWS[0], ROWS[1].replace("150", "151"))
    loaded.run("import", "c.csv", "--db", "other.duckdb")
    dry = loaded.json("db", "merge", "other.duckdb", "--dry-run")
    assert dry["tables"]["operating_points"] == {"read": 2, "stored": 1, "duplicates": 1}
    assert "would be stored" in loaded.run("db", "merge", "other.duckdb", "--dry-run").stdout
    first = loaded.json("db", "merge", "other.duckdb")
    assert first["tables"] == dry["tables"]
    again = loaded.json("db", "merge", "other.duckdb")
    assert all(counts["stored"] == 0 for counts in again["tables"].values())
    assert loaded.json("db", "sql", "SELECT count(*) FROM results")["rows"] == [[4]]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ("none.duckdb", "none.duckdb: no such file"),
        ("a.csv", "a.csv: not a DuckDB database"),
        ("servecast.duckdb", "it is the database itself"),
    ],
)
def test_merge_refuses_in_one_sentence(loaded, other, sentence):
    done = loaded.process("db", "merge", other) if other == "a.csv" else loaded.run("db", "merge", other)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_quarantine_is_listed_shown_and_tried_again(loaded):
    assert "a.csv" in loaded.process("db", "quarantine", "list").stdout
    (group,) = loaded.json("db", "quarantine", "list")["quarantine"]
    assert (group["source_id"], group["file"], group["rows"]) == (1, "a.csv", 1)
    (shown,) = loaded.json("db", "quarantine", "show", "a.csv")["files"]
    assert shown["quarantined"] == 1
    assert (shown["faults"][0]["row"], shown["faults"][0]["column"], shown["faults"][0]["value"]) == (
        3,
        "ttft_ms",
        "OOPS",
    )
    assert loaded.json("db", "quarantine", "show", "1")["files"] == [shown]
    (Path(loaded.folder) / "ignore.yaml").write_text("ttft_ms: extra.wait\n")
    (tried,) = loaded.json("db", "quarantine", "retry", "--map", "ignore.yaml", "--set", "engine_version=0.9")["files"]
    assert tried["before"]["quarantined"] == 1
    assert (tried["after"]["stored"], tried["after"]["quarantined"]) == (3, 0)
    assert loaded.run("db", "quarantine", "list").stdout == "No row is in quarantine.\n"
    assert loaded.run("db", "quarantine", "retry").stdout == "No file has rows in quarantine.\n"
    query = 'SELECT file, engine_version, ttft_s FROM results ORDER BY file, "row"'
    assert loaded.json("db", "sql", query)["rows"] == [
        ["a.csv", "0.9", None],
        ["a.csv", "0.9", None],
        ["a.csv", "0.9", None],
        ["b.csv", None, 0.05],
        ["b.csv", None, 0.05],
    ]


def test_a_changed_file_is_left_alone_and_an_unknown_one_refused(loaded):
    write(loaded, "a.csv", *ROWS)
    assert loaded.run("db", "quarantine", "retry").stdout.startswith("left alone: a.csv: the file has changed")
    done = loaded.run("db", "quarantine", "show", "nothing.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing.csv: no such file was imported" in done.stderr
    wrong = loaded.run("db", "quarantine", "retry", "--set", "platfrom=a10")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "unknown field of --set 'platfrom'" in wrong.stderr


def test_show_says_that_there_are_more(cli):
    write(cli, "a.csv", ROWS[0], *[BAD] * 5)
    cli.run("import", "a.csv")
    text = cli.run("db", "quarantine", "show", "a.csv", "--limit", "2").stdout
    assert "a.csv (source 1): 5 rows in quarantine" in text
    assert text.count("OOPS") == 2
    assert "the first 2 faults" in text


def test_the_view_of_results_is_queried_exported_and_explained(loaded):
    assert "results" in loaded.run("db", "sql", "--help").stdout
    answer = loaded.json("db", "export", "results", "out.csv")
    assert answer["rows"] == 3
    assert "output_tps" in (loaded.folder / "out.csv").read_text().splitlines()[0]
    refused = loaded.run("db", "sql", "CREATE VIEW mine AS SELECT 1")
    assert refused.returncode == 2
    assert "refused" in refused.stderr


def test_an_export_writes_over_a_file_only_when_told(loaded):
    (loaded.folder / "out.csv").write_text("precious")
    refused = loaded.run("db", "export", "results", "out.csv")
    assert (refused.returncode, (loaded.folder / "out.csv").read_text()) == (2, "precious")
    assert "it exists already; expected the name of a new file, or --force" in refused.stderr
    assert loaded.run("db", "export", "results", "out.csv", "--force").returncode == 0
    assert (loaded.folder / "out.csv").read_text().startswith("point_id,")


def test_a_wide_answer_of_many_rows_has_a_line_per_row(cli):
    """Folding such a table into a terminal took minutes."""
    columns = ", ".join(f"'a text that is long enough' AS column_{i}" for i in range(60))
    done = cli.run("db", "sql", f"SELECT range AS n, {columns}, 'a\x1b[31m' AS odd FROM range(3000)")
    lines = done.stdout.splitlines()
    assert len(lines) == 3001
    assert len({len(line) for line in lines}) == 1
    assert lines[3000].split()[0] == "2999"
    assert "\x1b" not in done.stdout


def test_a_short_wide_table_is_folded_into_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(["name", "n"], [["x" * 60, 1]])
    _, *lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert sum(line.count("x") for line in lines) == 60


def test_a_database_that_is_not_there_is_said_to_be_read_as_empty(cli):
    for command in (["check"], ["info"], ["quarantine", "list"], ["sql", "SELECT 1"]):
        done = cli.run("db", *command, "--db", "typo.duckdb")
        assert done.returncode == 0
        assert "typo.duckdb: no such database" in done.stderr
    assert list(cli.folder.iterdir()) == []


def test_a_choice_that_fits_nothing_is_said(loaded):
    assert "Nothing of that platform" in loaded.run("db", "info", "--platform", "a100").stdout
    assert "Nothing of that platform" not in loaded.run("db", "info", "--platform", "a10").stdout


def test_a_table_of_nearly_that_name_is_suggested(loaded):
    assert 'Did you mean "results"?' in loaded.run("db", "sql", "SELECT * FROM result").stderr


def test_a_file_read_again_with_other_settings_stands_twice_until_a_retry_replaces_it(cli):
    write(cli, "a.csv", *ROWS)
    assert "other settings" not in cli.run("import", "a.csv").stderr
    assert "imported before with other settings" in cli.run("import", "a.csv", "--set", "gpu=L4").stderr
    cli.run("db", "quarantine", "retry", "a.csv", "--set", "platform=l4")
    assert cli.json("db", "sql", "SELECT DISTINCT platform FROM results")["rows"] == [["l4"]]
    assert cli.json("db", "sql", "SELECT count(*) FROM results")["rows"] == [[2]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([""], "an empty name; expected files or folders"),
        (["a.csv", "--map", "none.yaml"], "(No such file or directory)"),
    ],
)
def test_an_import_refuses_in_one_sentence(cli, arguments, sentence):
    write(cli, "a.csv", *ROWS)
    done = cli.run("import", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert not (cli.folder / "servecast.duckdb").exists()
