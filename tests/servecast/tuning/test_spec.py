"""Task files: what is accepted, and that each mistake is named by file, field and what would be right."""

import json

import pytest
import yaml

from perfdb.errors import FileError, InputError
from perfdb.metrics import Direction, Statistic
from perfdb.records import Arrival
from servecast.tuning.space import task_space
from servecast.tuning.task_file import load_task, parse_task

TASK = {
    "name": "t",
    "model": "meta-llama/Llama-3.1-8B",
    "engine": "vllm",
    "platform": "h100_sxm",
    "load": {"isl": 1024, "osl": 128, "concurrency": [8, 64]},
    "space": {"max_num_seqs": [64, 256], "enable_chunked_prefill": {"values": [True, False], "applied": "restart"}},
}


def task(**changes):
    return parse_task({**TASK, **changes}, "task.yaml")


def test_loads_become_operating_points_on_one_server():
    low, high = task().load.workloads()
    assert (low.concurrency, high.concurrency) == (8, 64)
    assert (low.isl, low.osl, low.lengths, low.arrival) == (1024, 128, "D(1024,128)", Arrival.CLOSED)


def test_length_notation_gives_the_mean_lengths():
    point = task(load={"lengths": "N(480,240)/(300,150)", "arrival": "poisson", "request_rate": 2.5}).load.workloads()[
        0
    ]
    assert (point.isl, point.osl, point.request_rate) == (480, 300, 2.5)


def test_objectives_take_aliases_statistics_and_both_spellings_of_a_direction():
    given = ["throughput:max", "ttft", {"name": "latency_p90", "direction": "minimize"}]
    found = [spec.objective() for spec in task(objectives=given).objectives]
    assert [(o.name, o.direction, o.statistic) for o in found] == [
        ("output_tps", Direction.MAX, None),
        ("ttft_s", Direction.MIN, None),
        ("e2e_s_p90", Direction.MIN, Statistic.P90),
    ]


def test_values_keep_their_types():
    values = task(space={"a": [True, 1.5, 2, "x", None]}).space["a"].values
    assert [type(v) for v in values] == [bool, float, int, str, type(None)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"space": {}}, "space"),
        ({"space": {"a": []}}, "space.a.values"),
        ({"space": {"a": [1, 1]}}, "values repeat"),
        ({"objectives": ["speed"]}, "unknown metric 'speed'; known: throughput"),
        ({"objectives": ["ttft_s", "ttft"]}, "an objective stands twice"),
        ({"load": {"isl": 8, "osl": 8}}, "needs concurrency"),
        ({"load": {"isl": 8, "concurrency": 1}}, "isl alone; give isl and osl, lengths such as"),
        ({"load": {"concurrency": 1}}, "no lengths; give isl and osl"),
        ({"load": {"lengths": "Q(1,2)", "concurrency": 1}}, r"not a distribution; expected D\(96,24\)"),
        ({"load": {"isl": 8, "osl": 8, "arrival": "poisson"}}, "needs request_rate"),
        ({"load": {"isl": 8, "osl": 8, "concurrency": 1, "request_rate": 2}}, "request_rate has no meaning"),
        ({"at": 2}, "names no operating point"),
        ({"objectives": ["ttft_s:max"]}, "write ttft_s:min"),
        ({"budget": True}, "budget"),
        ({"colour": "red"}, "unknown field; known: name, model"),
        ({"name": ""}, "name"),
    ],
)
def test_a_wrong_field_is_named(changes, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        task(**changes)
    assert str(caught.value).startswith("task.yaml: ")


def test_yaml_and_json_files_give_the_same_task(tmp_path):
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(TASK))
    (tmp_path / "t.json").write_text(json.dumps(TASK))
    assert load_task(tmp_path / "t.yaml").key() == load_task(tmp_path / "t.json").key()


@pytest.mark.parametrize(
    ("name", "text"), [("t.yaml", "a: [1,\nb"), ("t.json", "{"), ("t.yaml", "- 1"), ("t.yaml", "")]
)
def test_a_file_that_is_no_task_is_named_with_its_line(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        load_task(tmp_path / name)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "t.yaml").write_text("name: a\nmodel: b\nname: c\n")
    with pytest.raises(InputError, match=r"line 3: 'name' stands twice"):
        load_task(tmp_path / "t.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"nothing.yaml: cannot be read"):
        load_task(tmp_path / "nothing.yaml")


def test_the_budget_is_not_part_of_the_identity_and_everything_else_is():
    assert task(budget=12).key() == task(budget="2h").key()
    assert task(seed=1).key() != task(seed=2).key()


def test_another_word_for_a_parameter_is_refused(tmp_path):
    """The model would not see it, and the engine would not take it."""
    with pytest.raises(InputError, match=r"space.tp: vllm calls it tensor_parallel_size"):
        task_space(task(space={"tp": [1, 2]}))
    with pytest.raises(InputError, match=r"space.max-num-seqs: vllm calls it max_num_seqs"):
        task_space(task(space={"max-num-seqs": [8, 16]}))
    assert len(task_space(task(space={"compilation_level": [0, 3]})).grid) == 2


def test_what_a_task_does_not_say_is_no_part_of_its_identity():
    """Runs of tasks from before there were mixes go on."""
    mixed = {"mix": [{"weight": 1, "lengths": "D(8,8)"}], "concurrency": 1}
    assert task(load=mixed).key() != task(load={"lengths": "D(8,8)", "concurrency": 1}).key()
