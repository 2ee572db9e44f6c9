"""A config that failed when it ran is told so, with the file and row that say it."""

from __future__ import annotations

import pytest

HEAD = "model,gpu,engine,tp,isl,osl,max_concurrency,max_num_seqs,mean_ttft_ms,mean_tpot_ms,output_throughput"
RAN = [
    ",8,512,52.1,7.9,968",
    ",32,512,118.4,11.6,2560",
    ",128,512,840.2,28.3,3690",
    ",256,512,OOM,,",
    ",256,64,900,30,3600",
]
ASKED = [
    "whatif", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--engine", "vllm",
    "--isl", "1024", "--osl", "128",
]  # fmt: skip
FAILED = "failed when it ran: out of memory (bench.csv, row 4)"


@pytest.fixture
def ask(cli):
    lines = [f"meta-llama/Llama-3.1-8B,H100,vllm,1,1024,128{cells}" for cells in RAN]
    (cli.folder / "bench.csv").write_text("\n".join([HEAD, *lines, ""]))
    cli.json("import", "bench.csv", "--db", "perf.duckdb")

    def run(concurrency, *sets, isl="1024"):
        flags = [word for text in sets for word in ("--set", text)]
        return cli.json(*ASKED, "--isl", isl, "--concurrency", str(concurrency), "--db", "perf.duckdb", *flags)

    return run


def warned(document):
    return [text for text in document["warnings"] if "failed" in text]


def test_the_very_config_and_load_does_not_fit(ask):
    found = ask(256, "max_num_seqs=512,64,256", "tensor_parallel_size=1")
    assert [row["reason"] for row in found["rows"]] == [FAILED, None, None]
    assert [row["feasible"] for row in found["rows"]] == [False, True, True]
    assert not warned(found)


def test_at_a_higher_load_it_is_warned_of(ask):
    found = ask(512, "max_num_seqs=512")
    assert found["rows"][0]["feasible"]
    assert warned(found) == [f"at a load of 256, less than is asked for, a config of these {FAILED}"]


@pytest.mark.parametrize(
    ("concurrency", "flags", "isl"),
    [
        (128, ("max_num_seqs=512",), "1024"),
        (512, ("max_num_seqs=64",), "1024"),
        (256, ("max_num_seqs=512", "tensor_parallel_size=2"), "1024"),
        (256, ("max_num_seqs=512", "kv_cache_dtype=fp8"), "1024"),
        (256, ("max_num_seqs=512", "scheduling_policy=priority"), "1024"),
        (256, ("max_num_seqs=512",), "512"),
    ],
)
def test_others_are_not_told_so(ask, concurrency, flags, isl):
    found = ask(concurrency, *flags, isl=isl)
    assert found["rows"][0]["reason"] is None
    assert not warned(found)


def test_a_failure_is_told_whatever_else_is_asked(ask, cli):
    cells = "meta-llama/Llama-3.1-8B,H100,vllm,2,1024,128,256,512,OOM,,"
    (cli.folder / "more.csv").write_text(f"{HEAD}\n{cells}\n")
    cli.json("import", "more.csv", "--db", "perf.duckdb")
    found = ask(256, "tensor_parallel_size=1,2,4", "max_num_seqs=512")
    reasons = {row["config"]["tensor_parallel_size"]: row["reason"] for row in found["rows"]}
    assert reasons == {1: FAILED, 2: "failed when it ran: out of memory (more.csv, row 1)", 4: None}
