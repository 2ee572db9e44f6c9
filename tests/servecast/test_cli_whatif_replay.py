"""`whatif` (FEATURES S0.7, S1.24) and `replay` from the command line: their documents, and what they refuse."""

from __future__ import annotations

import json

import pytest
from questions import POINT, WHATIF

GRID = "a,name,tps,ttft\n1,x,10,1\n2,x,20,2\n4,y,OOM,\n2,x,99,9\n8,y,40,8\n"


def test_whatif_answers_the_product_in_order(cli):
    answer = cli.json(*WHATIF, *POINT, "--set", "tp=1,2", "--set", "max-num-seqs=4,8")
    assert [row["config"] for row in answer["rows"]] == [
        {"tensor_parallel_size": tp, "max_num_seqs": seqs} for tp in (1, 2) for seqs in (4, 8)
    ]
    for row in answer["rows"]:
        assert row["provenance"] == "roofline"
        assert row["feasible"] is True
        for metric in ("ttft_s", "tpot_s", "output_tps"):
            assert 0 < row[metric]["lo"] < row[metric]["mean"] < row[metric]["hi"]


def test_the_top_configs_are_those_of_the_best_throughput(cli):
    grid = [*WHATIF, *POINT, "--set", "tp=1,2", "--set", "max-num-seqs=2,4,8"]
    everything, best = cli.json(*grid), cli.json(*grid, "--top", "2")
    ranked = sorted(everything["rows"], key=lambda row: -row["output_tps"]["mean"])
    assert best["rows"] == ranked[:2]
    assert best["configs"] == everything["configs"] == 6


def test_it_is_explained_where_the_time_of_the_best_config_goes(cli):
    answer = cli.json(*WHATIF, *POINT, "--set", "tp=1,2", "--explain")
    best = max(answer["rows"], key=lambda row: row["output_tps"]["mean"])
    assert answer["explain"]["config"] == best["config"]
    for step in ("prefill", "decode"):
        assert sum(part["share"] for part in answer["explain"][step]) == pytest.approx(1.0)
    shown = cli.run(*WHATIF, *POINT, "--explain").stdout
    assert "decode step of 8 sequences" in shown
    assert "generation_attention" in shown


@pytest.mark.parametrize(
    "served_by", [["--platform", "h100_sxm", "--engine", "vllm"], ["--platform", "local", "--engine", "llamacpp"]]
)
def test_what_is_explained_is_what_was_predicted(cli, served_by):
    """With an empty database too, on a GPU and on this CPU: one sequence's token is one step, and what a token adds."""
    one = ["--isl", "8", "--osl", "512", "--concurrency", "1"]
    answer = cli.json("whatif", "--model", "meta-llama/Llama-3.1-8B", *served_by, *one, "--explain")
    step = sum(part["seconds"] for part in answer["explain"]["decode"])
    assert answer["rows"][0]["tpot_s"]["mean"] == pytest.approx(step, rel=0.05)


def test_what_prompts_have_in_common_is_not_computed_again(cli):
    grid = [*WHATIF, "--isl", "4096", "--osl", "64", "--concurrency", "8", "--set", "enable_prefix_caching=true,false"]
    cached, plain = (row["ttft_s"]["mean"] for row in cli.json(*grid, "--prefix-tokens", "3500")["rows"])
    assert cached < 0.6 * plain
    assert plain == pytest.approx(cli.json(*grid)["rows"][0]["ttft_s"]["mean"])


def test_prefixes_of_a_workload_file_count_too(cli, tmp_path):
    (tmp_path / "w.yaml").write_text(
        "lengths: D(4096,64)\nconcurrency: 8\nprefixes: {share: 1.0, count: 1, skew: 0, tokens: [3500, 3500]}\n"
    )
    found = cli.json(*WHATIF, "--workload", str(tmp_path / "w.yaml"))
    told = cli.json(*WHATIF, "--scenario", "D(4096,64)", "--concurrency", "8", "--prefix-tokens", "3500")
    assert found["rows"][0]["ttft_s"]["mean"] == pytest.approx(told["rows"][0]["ttft_s"]["mean"], rel=0.02)
    assert "not_modelled" not in found


def test_the_configs_are_drawn_as_points(cli, tmp_path):
    page = tmp_path / "page.html"
    cli.json(*WHATIF, *POINT, "--set", "tp=1,2,4", "--set", "max-num-seqs=4,8", "--plot", str(page))
    text = page.read_text()
    assert "6 configs that fit" in text
    assert "frontier (" in text
    assert "tensor_parallel_size" in text
    refused = cli.run(*WHATIF[:1], "--model", "deepseek-ai/DeepSeek-V3", *WHATIF[3:], *POINT, "--plot", str(page))
    assert "no config fits" in refused.stderr


def test_an_engine_may_be_asked_by_its_version(cli):
    assert cli.json(*WHATIF[:-1], "vllm:0.24.0", *POINT)["rows"][0]["feasible"] is True
    assert "unknown engine" in cli.run(*WHATIF[:-1], "vllmx:0.24.0", *POINT).stderr


def test_an_answer_of_one_token_has_no_time_between_tokens(cli, tmp_path):
    one, two = (["--isl", "512", "--osl", osl, "--concurrency", "8"] for osl in ("1", "2"))
    [row] = cli.json(*WHATIF, *one)["rows"]
    assert row["tpot_s"] is row["itl_s"] is None
    assert row["e2e_s"]["mean"] == pytest.approx(row["ttft_s"]["mean"])
    [row] = cli.json(*WHATIF, *two)["rows"]
    assert row["tpot_s"]["mean"] > 0
    header, line = cli.run(*WHATIF, *one).stdout.splitlines()
    assert line[header.index("tpot_s") :].split()[0] == "-"
    page = tmp_path / "page.html"
    cli.json(*WHATIF, *one, "--plot", str(page))
    assert "seconds to the first token" in page.read_text()
    assert "seconds per output token" not in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*WHATIF, "--isl", "5", "--osl", "5"], "exactly one of --concurrency, --rate, --batch"),
        ([*WHATIF, *POINT, "--set", "speed=1"], "unknown parameter of vllm 'speed'"),
        ([*WHATIF, *POINT, "--set", "tp="], "empty value"),
        ([*WHATIF, *POINT, "--prefix-tokens", "512"], "expected fewer than --isl"),
        ([*WHATIF, *POINT, "--set", "tp=4", "--devices", "2"], "takes 4 devices"),
        ([*WHATIF, "--isl", "inf", "--osl", "5", "--concurrency", "1"], "out of range"),
        ([*WHATIF[:2], "llama9", *WHATIF[3:], *POINT], "unknown model 'llama9'"),
        ([*WHATIF[:2], "", *WHATIF[3:], *POINT], "unknown model ''"),
        ([*WHATIF[:2], "olmo", *WHATIF[3:], *POINT], "servecast models lists them"),
        ([*WHATIF, *POINT, "--set", "tp=1", "--set", "tensor-parallel-size=2"], "tensor_parallel_size stands twice"),
        ([*WHATIF, *POINT, "--set", "max_num_seqs=1e400"], "the value inf; expected a whole number of at least 1"),
        ([*WHATIF, *POINT, "--set", "num_gpu_blocks_override=-1"], "the value -1; expected from 0"),
        ([*WHATIF, *POINT, "--set", "max_model_len=-10"], "the value -10; expected from -1"),
        ([*WHATIF, *POINT, "--db", ""], "--db: '.' names no file"),
        ([*WHATIF, *POINT, "--plot", "none/page.html"], "none/page.html: the page cannot be written (there is no such"),
        ([*WHATIF, *POINT, "--plot", "."], "no file; expected the name of a page"),
        ([*WHATIF, *POINT, "--decode", ""], "--decode: beside --mode agg"),
        (
            [*WHATIF, *POINT, "--set", "prefill.tp=4"],
            "--set prefill.tp: a parameter of the prefill pool, and --mode agg has no pools; expected --mode disagg "
            "beside it, or no 'prefill' there",
        ),
        ([*WHATIF, *POINT, "--set", "pool.tp=4"], "unknown parameter of vllm 'pool.tp'"),
    ],
)
def test_whatif_refuses_in_one_sentence(cli, arguments, sentence):
    done = cli.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


def test_a_parameter_that_changes_no_prediction_is_said(cli):
    """Silence would read as: it makes no difference."""
    done = cli.run(*WHATIF, *POINT, "--set", "scheduling_policy=fcfs,priority", "--set", "tp=1")
    assert "scheduling_policy: not seen by the closed form" in done.stderr
    assert len({line.partition("yes")[0] for line in done.stdout.splitlines()[1:]}) == 1
    pools = cli.json(*WHATIF, *POINT, "--mode", "disagg", "--set", "decode.scheduling_policy=priority")
    assert [text for text in pools["warnings"] if text.startswith("scheduling_policy: not seen")]
    load = ["--scenario", "D(512,64)", "--concurrency", "8"]
    assert cli.json(*WHATIF, *load, "--set", "tp=1,2", "--set", "kv_cache_dtype=fp8")["warnings"] == []


def test_replay_runs_every_config_once_and_finds_all_of_the_hypervolume(cli):
    (cli.folder / "grid.csv").write_text(GRID)
    answer = cli.json(
        *[
            "replay",
            "grid.csv",
            "--params",
            "a,name",
            "--objectives",
            "tps:max,ttft:min",
            "--budget",
            "9",
            "--seeds",
            "2",
        ]
    )
    assert (answer["strategy"], answer["grid"]) == ("active", 4)
    for run in answer["runs"]:
        assert sorted(run["order"]) == [0, 1, 2, 4]
        assert run["hypervolume"][-1] == pytest.approx(1)
        assert run["hypervolume"] == sorted(run["hypervolume"])


def test_replay_takes_filters_derived_columns_and_quoted_names(cli):
    (cli.folder / "grid.csv").write_text(GRID.replace("name", '"the, name"'))
    answer = cli.json(
        *["replay", "grid.csv", "--params", 'a,"the, name"', "--objectives", "speed:max", "--where", "a < 8"],
        *["--derive", "speed=TRY_CAST(tps AS DOUBLE) / a", "--strategy", "random", "--seeds", "1"],
    )
    assert sorted(answer["runs"][0]["order"]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("params", "objectives", "sentence"),
    [
        ("a", "a:max", "is a parameter, too"),
        ("a", "tps:max,tps:min", "stands twice"),
        ("b", "tps:max", "unknown column 'b'"),
        ("a", "tps", "NAME:max or NAME:min"),
        ("", "tps:max", "names nothing"),
    ],
)
def test_replay_refuses_in_one_sentence(cli, params, objectives, sentence):
    (cli.folder / "grid.csv").write_text(GRID)
    done = cli.run("replay", "grid.csv", "--params", params, "--objectives", objectives)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_a_file_that_is_no_database_is_named(cli):
    (cli.folder / "grid.csv").write_text(GRID)
    done = cli.process("db", "info", "--db", "grid.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert "grid.csv: not a DuckDB database" in done.stderr


def test_db_sql_answers_json_and_only_reads(cli, task_file):
    cli.json("tune", "task.yaml", "--budget", "2")
    answer = cli.json("db", "sql", "SELECT count(*) AS n FROM experiments")
    assert answer == {"columns": ["n"], "rows": [[2]]}
    assert cli.run("db", "sql", "DELETE FROM experiments").returncode == 2
    assert cli.json("db", "export", "experiments", "out.json")["rows"] == 2
    assert len(json.loads((cli.folder / "out.json").read_text())) == 2


def test_suggest_and_record_from_the_command_line(cli, task_file):
    asked = cli.json("suggest", "task.yaml", "--count", "2")["suggestions"]
    assert [s["selection_reason"] for s in asked] == ["baseline", "initial_design"]
    result = {"config": asked[0]["config"], "metrics": {"throughput": 90, "ttft": 1.5, "tpot": 0.011}}
    told = cli.json("record", "task.yaml", "--file", "-", stdin=json.dumps([result]))
    assert told["recorded"][0]["on_frontier"] is True
    failed = [f"--set={name}={value}" for name, value in asked[1]["config"].items()]
    assert cli.json("record", "task.yaml", *failed, "--failed", "oom")["recorded"][0]["outcome"] == "oom"
    assert cli.process("record", "task.yaml", *failed, "--file", "-", stdin="[]").returncode == 2
    assert cli.json("suggest", "task.yaml")["recorded"] == 2


def test_a_document_of_a_large_grid_holds_the_best_configs_and_says_so(cli, monkeypatch):
    monkeypatch.setattr("servecast.predicting.whatif.MOST_ROWS", 3)
    asked = ["whatif", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--engine", "vllm"]
    asked += ["--scenario", "D(512,64)", "--concurrency", "64", "--db", "none.duckdb"]
    whole = cli.json(*asked, "--set", "max_num_seqs=8,16,32")
    assert [row["config"]["max_num_seqs"] for row in whole["rows"]] == [8, 16, 32]
    answer = cli.json(*asked, "--set", "max_num_seqs=8,64,16,32")
    assert (answer["configs"], [row["config"]["max_num_seqs"] for row in answer["rows"]]) == (4, [64, 32, 16])
    assert answer["warnings"] == ["rows holds the 3 best of 4 configs; --top says another number"]
    all_of_them = cli.json(*asked, "--set", "max_num_seqs=8,64,16,32", "--top", "4")
    assert (len(all_of_them["rows"]), all_of_them["warnings"]) == (4, [])


def test_a_rate_near_the_capacity_is_said(cli):
    """A small error of the capacity decides there whether anybody waits."""
    asked = [*WHATIF, "--isl", "2000", "--osl", "100", "--rate"]
    few = cli.json(*asked, "1")
    assert few["warnings"] == []
    most = 1.0 / few["rows"][0]["utilisation"]
    near, beyond = (cli.json(*asked, f"{most * share:.3f}") for share in (0.95, 1.2))
    assert near["rows"][0]["utilisation"] == pytest.approx(0.95, rel=0.01)
    assert "% of the most that the closed form gives" in near["warnings"][0]
    assert beyond["rows"][0]["utilisation"] == pytest.approx(1.2, rel=0.01)
    assert "waits grow" in beyond["warnings"][0]
    assert beyond["rows"][0]["output_tps"]["hi"] <= most * 1.2 * 100 * 1.001
    assert "utilisation" not in cli.json(*WHATIF, *POINT)["rows"][0]
