"""Values that no server takes are refused by one sentence, whether a step is timed or scheduled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.flags import SWITCH_WORDS, check_flags, is_switched
from perfdb.errors import InputError
from perfdb.facts.engines import ENGINES, engine
from perfdb.records import Grid, Scalar


@pytest.mark.parametrize(
    ("by", "name", "value", "sentence"),
    [
        ("sglang", "schedule_policy", "bananas", "unknown schedule_policy of sglang 'bananas'"),
        ("vllm", "scheduling_policy", "lpm", "unknown scheduling_policy of vllm 'lpm'"),
        ("sglang", "enable_mixed_chunk", "abc", "enable_mixed_chunk of sglang: 'abc'; expected true or false"),
        ("sglang", "disable_overlap_schedule", 2, "disable_overlap_schedule of sglang: 2; expected true or false"),
        ("sglang", "schedule_conservativeness", "abc", "schedule_conservativeness of sglang: 'abc'; expected a number"),
        ("sglang", "max_prefill_tokens", -5, "max_prefill_tokens of sglang: -5; expected a whole number of at least 1"),
        ("vllm", "long_prefill_token_threshold", "abc", "'abc'; expected a whole number of at least 0"),
        ("vllm", "num_speculative_tokens", 2.5, "num_speculative_tokens of vllm: 2.5; expected a whole number"),
        ("llamacpp", "cache_type_v", "fp9", "unknown cache_type_v of llamacpp 'fp9'"),
    ],
)
def test_a_wrong_value_is_said_with_what_would_be_right(by: str, name: str, value: Scalar, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check_flags(engine(by), Grid.of([{name: value}, {name: None}]))


@pytest.mark.parametrize(
    ("by", "name", "value"),
    [
        ("sglang", "schedule_policy", "random"),  # a policy of the engine, though none that is simulated
        ("sglang", "enable_mixed_chunk", "on"),
        ("sglang", "schedule_conservativeness", 0.3),
        ("vllm", "long_prefill_token_threshold", 2048.0),
        ("vllm", "kv_cache_dtype", "bf16"),
        ("vllm", "compilation_config", "whatever"),
    ],
)
def test_what_a_server_takes_passes(by: str, name: str, value: Scalar) -> None:
    check_flags(engine(by), Grid.of([{name: value}, {name: None}]))


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_the_defaults_of_every_engine_pass(name: str) -> None:
    check_flags(engine(name), Grid.of([engine(name).defaults()]))


@given(st.sampled_from([*SWITCH_WORDS, "TRUE", " Off ", True, False, 0, 1, 1.0]))
def test_a_switch_is_on_or_off_however_it_is_spelled(value: Scalar) -> None:
    assert is_switched(value) is (str(value).strip().lower() in {"true", "on", "1", "1.0"})


@given(st.one_of(st.text(), st.floats(), st.integers(), st.none()))
def test_anything_else_is_neither(value: Scalar) -> None:
    known = str(value).strip().lower() in SWITCH_WORDS or value in {0, 1}
    assert (is_switched(value) is None) == (not known)
