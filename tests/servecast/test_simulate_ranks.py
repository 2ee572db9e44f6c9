"""`servecast simulate` where ranks share experts, layers stand in stages, or both, in each engine; and `whatif`."""

from __future__ import annotations

import pytest

EXPERTS = "Qwen/Qwen3-30B-A3B"
DENSE = "llama-3.1-70b"
RANKS = {
    "vllm": ("data_parallel_size=4",),
    "sglang": ("tp_size=4", "dp_size=4", "enable_dp_attention=true"),
    "trtllm": ("tp_size=4", "enable_attention_dp=true"),
}
STAGES = {"vllm": ("tensor_parallel_size=2", "pipeline_parallel_size=2"), "sglang": ("tp_size=2", "pp_size=2")}
LOAD = ("--scenario", "U(500,1500)/(50,150)", "--concurrency", "8", "--requests", "160")


def asked(engine, model, *sets):
    flags = [each for pair in sets for each in ("--set", pair)]
    return ["--model", model, "--platform", "h200_sxm", "--engine", engine, *flags]


def beside(cli, *question):
    """What `whatif` says over what is simulated: of first tokens, of others, and of tokens per second."""
    told = cli.json("whatif", *question, "--isl", "1000", "--osl", "100", "--concurrency", "8")["rows"][0]
    found = cli.json("simulate", *question, *LOAD)
    assert found["requests"] == 160
    simulated = found["ttft_s"]["mean"], found["tpot_s"]["mean"], found["output_tps"]
    names = "ttft_s", "tpot_s", "output_tps"
    return found, [told[name]["mean"] / one for name, one in zip(names, simulated, strict=True)]


@pytest.mark.parametrize("engine", RANKS)
def test_ranks_that_share_experts_are_near_the_closed_form(cli, engine):
    found, ratios = beside(cli, *asked(engine, EXPERTS, *RANKS[engine]))
    assert found["replicas"] == 4
    assert ratios == pytest.approx([1.0] * 3, rel=0.5)
    stands_in = any("vLLM's rules stand in" in warning for warning in found["warnings"])
    assert stands_in == (engine == "trtllm")


@pytest.mark.parametrize("engine", STAGES)
def test_pipelines_are_near_the_closed_form(cli, engine):
    found, ratios = beside(cli, *asked(engine, DENSE, *STAGES[engine]))
    assert found["replicas"] == 1
    assert ratios[1:] == pytest.approx([1.0] * 2, rel=0.35)
    assert 0.3 < ratios[0] < 3.0  # who comes while the first stage is busy is in no closed form


@pytest.mark.parametrize(
    ("engine", "sets"),
    [
        ("vllm", ("data_parallel_size=2", "pipeline_parallel_size=2")),
        ("vllm", ("tensor_parallel_size=2", "pipeline_parallel_size=2", "num_speculative_tokens=3")),
        ("sglang", ("tp_size=2", "dp_size=2", "enable_dp_attention=true", "pp_size=2")),
        ("sglang", ("tp_size=2", "dp_size=2", "enable_dp_attention=true", "speculative_num_steps=3")),
        ("sglang", ("tp_size=2", "dp_size=2", "enable_dp_attention=true", "enable_mixed_chunk=true")),
    ],
)
def test_what_may_stand_together_is_simulated_together(cli, engine, sets):
    found = cli.json("simulate", *asked(engine, EXPERTS, *sets), *LOAD)
    assert found["requests"] == 160
    assert 0 < found["ttft_s"]["p50"] < found["e2e_s"]["p50"]


def test_idle_ranks_take_part_and_divide_what_a_server_may_take(cli):
    """A request alone is not served faster by more ranks; each has its share of the limits."""
    one = ("--scenario", "D(1000,100)", "--concurrency", "1", "--requests", "4")
    few = asked("sglang", EXPERTS, "tp_size=2", "dp_size=2", "enable_dp_attention=true")
    many = asked("sglang", EXPERTS, "tp_size=4", "dp_size=4", "enable_dp_attention=true")
    two, four = (cli.json("simulate", *question, *one) for question in (few, many))
    assert two["tpot_s"]["mean"] == pytest.approx(four["tpot_s"]["mean"], rel=0.3)
    chunk = ("--scenario", "D(4000,2)", "--concurrency", "1", "--requests", "4")
    whole, parts = (
        cli.json("simulate", *many, *chunk, "--set", f"chunked_prefill_size={size}")["steps"] for size in (16384, 4096)
    )
    assert (whole, parts) == (4 * 2, 4 * 5)  # of 4,096 and of 1,024 tokens a rank, and a step that decodes


@pytest.mark.parametrize(
    ("engine", "sets", "sentence"),
    [
        ("sglang", ("speculative_num_steps=3", "pp_size=2"), "3 drafted tokens in a pipeline of 2 stages: SGLang ref"),
        ("sglang", ("enable_mixed_chunk=true", "pp_size=2"), "enable_mixed_chunk: with pp_size 2: SGLang refuses to"),
        ("sglang", ("max_running_requests=3", "pp_size=4"), "max_running_requests 3: fewer than the 4 micro-batches"),
    ],
)
def test_what_sglang_refuses_to_start_with_is_refused(cli, engine, sets, sentence):
    done = cli.run("simulate", *asked(engine, EXPERTS, *sets), *LOAD)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_whatif_knows_what_sglang_refuses_to_start_with(cli):
    question = asked("sglang", EXPERTS, "speculative_num_steps=0,3", "pp_size=1,2")
    rows = cli.json("whatif", *question, "--isl", "1000", "--osl", "100", "--concurrency", "8")["rows"]
    refused = {(row["config"]["speculative_num_steps"], row["config"]["pp_size"]): row["reason"] for row in rows}
    assert "SGLang refuses to start" in refused.pop((3, 2))
    assert set(refused.values()) == {None}
