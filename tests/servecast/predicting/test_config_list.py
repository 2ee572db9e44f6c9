"""Lists of configs (`--configs`): what a file says, what is answered of it, and what is refused of which row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from questions import POINT, WHATIF

from perfdb.errors import FileError, InputError
from perfdb.facts.engines import engine
from perfdb.records import Arrival, Grid, Workload
from perfdb.store import Store
from search.space import ConfigSpace
from servecast.predicting.config_list import ConfigList
from servecast.predicting.whatif import WhatIf, whatif

ROWS = [{"tp": 1, "max_num_seqs": 64}, {"tp": 2, "enable_prefix_caching": False}, {"quantization": "fp8"}, {}]
OWN = [
    {"tensor_parallel_size": 1, "max_num_seqs": 64},
    {"tensor_parallel_size": 2, "enable_prefix_caching": False},
    {"quantization": "fp8"},
    {},
]
CSV = "tp,max-num-seqs,enable_prefix_caching,quantization\n1,64,,\n\n2,,false,\n,,,fp8\n,,,\n"
FILES = {
    "rows.jsonl": "\n".join(map(json.dumps, ROWS)) + "\n\n",
    "rows.json": json.dumps(ROWS),
    "rows.yaml": "- {tp: 1, max_num_seqs: 64}\n- tp: 2\n  enable_prefix_caching: no\n- {quantization: fp8}\n- {}\n",
    "rows.csv": CSV,
    "semi.csv": "\ufeff" + CSV.replace(",", " ; "),
}
CAPACITY = ["capacity", *WHATIF[1:], "--isl", "512", "--osl", "64", "--slo", "ttft_s<0.5"]
CLOSED = Workload(512, 64, Arrival.CLOSED, 8)


@pytest.mark.parametrize(("name", "text"), FILES.items())
def test_a_file_says_what_a_list_of_a_program_says(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = ConfigList.read(tmp_path / name).of_engine(engine("vllm"), {})
    assert list(found.configs) == OWN == list(ConfigList.of(ROWS).of_engine(engine("vllm"), {}).configs)
    assert type(found.configs[0]["max_num_seqs"]) is int
    assert all(place.startswith(str(tmp_path / name)) for place in found.places)


def test_each_config_of_a_list_is_answered_as_if_it_were_asked_alone(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    answer = cli.json(*WHATIF, *POINT, "--configs", "rows.csv")
    assert [row["config"] for row in answer["rows"]] == OWN
    assert answer["configs"] == 4
    assert answer["cpu_s"] > 0
    for config, row in zip(OWN, answer["rows"], strict=True):
        sets = [part for name, value in config.items() for part in ("--set", f"{name}={json.dumps(value)}")]
        [alone] = cli.json(*WHATIF, *POINT, *sets)["rows"]
        assert row["ttft_s"] == pytest.approx(alone["ttft_s"])
        assert row["output_tps"] == pytest.approx(alone["output_tps"])


def test_a_table_and_its_best_config_name_what_each_row_says(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    shown = cli.run(*WHATIF, *POINT, "--configs", "rows.csv", "--top", "2", "--explain")
    lines = shown.stdout.splitlines()
    assert lines[1].endswith("tensor_parallel_size=2 enable_prefix_caching=off")
    assert lines[2].rstrip().endswith("quantization=fp8")
    assert "2 more; --top shows others" in shown.stderr


def test_what_is_set_beside_a_list_is_of_every_config(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"tp": 2}\n{"max_num_seqs": 8}\n')
    answer = cli.json(*WHATIF, *POINT, "--configs", "rows.jsonl", "--set", "memory_fraction=0.8,0.9")
    assert [row["config"] for row in answer["rows"]] == [
        {**config, "gpu_memory_utilization": share}
        for config in ({"tensor_parallel_size": 2}, {"max_num_seqs": 8})
        for share in (0.8, 0.9)
    ]


def test_a_config_that_comes_again_is_answered_once(cli: Any, tmp_path: Path) -> None:
    rows = [{"tp": 2}, {"tp": 1}, {"tensor-parallel-size": 2}, {"tp": 2, "max_num_seqs": None}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    answer = cli.json(*WHATIF, *POINT, "--configs", "rows.json")
    assert [row["config"]["tensor_parallel_size"] for row in answer["rows"]] == [2, 1]
    assert "2 of the configs listed repeat others, and each is answered once" in answer["warnings"]


@pytest.mark.parametrize("method", ["model", "simulate"])
def test_capacity_takes_a_list_too(cli: Any, tmp_path: Path, method: str) -> None:
    (tmp_path / "rows.csv").write_text("tp,max_num_seqs\n1,8\n2,\n")
    answer = cli.json(*CAPACITY, "--configs", "rows.csv", "--method", method)
    found = {json.dumps(row["config"]): row["capacity"] for row in answer["rows"]}
    assert found['{"tensor_parallel_size": 2}'] > found['{"tensor_parallel_size": 1, "max_num_seqs": 8}'] > 0


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (
            "x.json",
            '[{"tp": 2}, {"tp": 0}]',
            "config 2: tensor_parallel_size of vllm: the value 0; expected a whole number",
        ),
        ("x.json", '[{"tp": 2}, {"tq": 1}]', "config 2: unknown parameter of vllm 'tq'"),
        ("x.json", '[{"tp": [1, 2]}]', "config 1 tp: [1, 2]; expected one value"),
        ("x.json", "[3]", "config 1: 3 is no mapping"),
        ("x.json", "[]", "no configs; expected at least one"),
        ("x.json", '{"tp": 1}', "not a list; expected a list of objects"),
        ("x.yaml", "- {tp: 1}\n- {tp: 1, tp: 2}", "line 2: 'tp' stands twice"),
        ("x.jsonl", '{"tp": 1}\n{tp: 2}', "line 2: not JSON"),
        ("x.jsonl", '{"tp": 1}\n\n{"quantization": "fp9"}', "line 3: unknown number format 'fp9'"),
        ("x.csv", "tp,max_num_seqs\n1,3\n2", "line 3: 1 cells; expected 2"),
        ("x.csv", "tp,max_num_seqs\n1,3\n2,many", "line 3: max_num_seqs of vllm: 'many' is not a number"),
        ("x.csv", "tp,scheduling_policy\n1,fcfs\n2,lifo", "line 3: unknown scheduling_policy of vllm 'lifo'"),
        ("x.csv", "tp,,dp\n1,2,3", "line 1: a name is empty or stands twice"),
        ("x.csv", "tp,concurrency\n1,3", "line 2: concurrency: it is the same for all configs"),
        ("x.csv", "tp,tensor_parallel_size\n1,1", "line 2: tensor_parallel_size: tensor_parallel_size stands twice"),
        ("x.csv", "tp,max-num-batched-tokens\n1,64", "--set says max_num_batched_tokens for every config"),
        ("x.txt", "tp=1", "expected a file that ends in .jsonl, .json, .yaml or .csv"),
        ("x.csv", None, "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_wrong_in_a_list_is_said_with_its_place(
    cli: Any, tmp_path: Path, name: str, text: str | None, sentence: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    sets = ["--set", "max_num_batched_tokens=4096"] if sentence.startswith("--set") else []
    refused = cli.run(*WHATIF, *POINT, "--configs", name, *sets)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"servecast: {name}: ")
    assert sentence in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_what_no_row_says_is_refused_of_none(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"tp": 1}\n{"tp": 4}\n')
    listed = [*WHATIF, *POINT, "--configs", "rows.jsonl"]
    assert "servecast: max_num_seqs of vllm: the value 0" in cli.run(*listed, "--set", "max_num_seqs=0").stderr
    assert "servecast: rows.jsonl: line 2: --devices 2" in cli.run(*listed, "--devices", "2").stderr
    assert "--configs: a list is of whole servers" in cli.run(*listed, "--mode", "disagg").stderr
    refused = cli.run(*CAPACITY, "--configs", "rows.jsonl", "--set", "max_num_seqs=0")
    assert "servecast: max_num_seqs of vllm: the value 0" in refused.stderr
    (tmp_path / "rows.jsonl").write_text('{"tp": 1}\n{"tp": 2.5}\n')
    refused = cli.run(*CAPACITY, "--configs", "rows.jsonl")
    assert "servecast: rows.jsonl: line 2: tensor_parallel_size of vllm: the value 2.5" in refused.stderr


def test_too_many_configs_are_refused_before_they_are_made() -> None:
    many = ConfigList.of([{"tp": 1}, {"tp": 2}])
    with pytest.raises(InputError, match=r"2 configs, each with 3,000,000 of --set"):
        many.times(Grid({}, 3_000_000))
    with pytest.raises(FileError, match="cannot be read"):
        ConfigList.read(Path("none.yaml"))


COMBINED = st.lists(st.tuples(st.sampled_from((1, 2, 4)), st.sampled_from((None, 4, 64))), min_size=1, max_size=6)


@given(COMBINED)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_list_has_the_answers_of_the_product_it_is_taken_from(tmp_path: Path, pairs: list[tuple[int, Any]]) -> None:
    store = Store(tmp_path / "none.duckdb")
    of = ("llama-3.1-8b", "h100_sxm", "vllm:0.24.0", CLOSED)
    configs = [{"tp": tp, "max_num_seqs": seqs} for tp, seqs in pairs]
    product = whatif(WhatIf(*of, {"tp": (1, 2, 4), "max_num_seqs": (None, 4, 64)}), store)["rows"]
    known = {tuple(row["config"].values()): row["ttft_s"] for row in product}
    found = whatif(WhatIf(*of, {}, listed=ConfigList.of(configs)), store)["rows"]
    assert [row["ttft_s"] for row in found] == [known[pair] for pair in dict.fromkeys(pairs)]


def test_a_grid_of_configs_that_say_nothing_has_rows() -> None:
    silent = Grid.of([{}, {}, {}])
    assert (len(silent), dict(silent.config(1)), len(silent.take([2, 0]))) == (3, {}, 2)
    assert len(silent.take([False, True, False])) == 1
    assert (len(ConfigSpace(()).grid()), len(Grid.of([])), len(Grid({}))) == (1, 0, 0)
    with pytest.raises(IndexError):
        silent.take([3])
