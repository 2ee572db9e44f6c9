from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.errors import InputError
from perfdb.lengths import Lengths, is_fixed, lengths_of, longest
from perfdb.records import Workload


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("D(96,24)", (96, 24)),
        (" d( 96 , 24 ) ", (96, 24)),
        ("N(480,240)/(300,150)", (1200, 750)),
        ("U(1,9)/(2,8)", (9, 8)),
        ("U(200,50)", (200, 50)),
        ("Q(1,5,70)/(2,8)", (70, 8)),
        ("0.7 D(96,24) + 0.3*D(40,200)", (96, 200)),
    ],
)
def test_the_notation_is_read(text, most):
    lengths = Lengths.parse(text)
    assert lengths.most() == most
    again = Lengths.parse(str(lengths))
    assert (again.most(), again.isl, again.osl) == (most, pytest.approx(lengths.isl), pytest.approx(lengths.osl))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "D(96)",
        "D(1,2)/(3,4)",
        "N(1,2)",
        "X(1,2)",
        "D(0,4)",
        "U(9,1)/(1,2)",
        "U(0,1)/(1,1)",
        "D(1,2) x",
        "Q(1)/(2,3)",
        "Q(5,4)/(1,2)",
        "Q(1,2,3)",
        "0 D(1,2)",
        "0.5 D(1,2) + ",
        "D(1e99,2)",
        "N(1,2,3)/(1,2)",
    ],
)
def test_what_is_no_distribution_is_refused(text):
    with pytest.raises(InputError, match="lengths"):
        Lengths.parse(text)


@pytest.mark.parametrize("weights", [(0.7, 0.5), (0.2, 0.3), (0.9, 0.0), (0.33, 0.33, 0.3)])
def test_shares_that_do_not_add_up_are_refused(weights):
    text = " + ".join(f"{weight} D({place},1)" for place, weight in enumerate(weights, 1))
    with pytest.raises(InputError, match=rf"= {sum(weights):g}; expected shares that add up to 1, or weights from 1"):
        Lengths.parse(text)


@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.33, 0.33, 0.33), (0.17,) * 6, (7, 5), (1, 0.5), (0.5,)])
def test_weights_count_in_proportion(weights):
    found = Lengths.parse(" + ".join(f"{weight} D({place},1)" for place, weight in enumerate(weights, 1)))
    assert [share for share, _ in found.parts] == pytest.approx([weight / sum(weights) for weight in weights])


@given(
    kind=st.sampled_from(["N", "U"]),
    pairs=st.tuples(st.integers(1, 500), st.integers(0, 300), st.integers(1, 500), st.integers(0, 300)),
    seed=st.integers(0, 2**32),
)
def test_samples_stay_inside_their_bounds_and_repeat(kind, pairs, seed):
    low_in, span_in, low_out, span_out = pairs
    second = (span_in, span_out) if kind == "N" else (low_in + span_in, low_out + span_out)
    lengths = Lengths.parse(f"{kind}({low_in},{second[0]})/({low_out},{second[1]})")
    sample = lengths.sample(50, seed)
    assert sample == lengths.sample(50, seed)
    floor = (1, 1) if kind == "N" else (low_in, low_out)
    for pair in sample:
        assert all(f <= x <= m for f, x, m in zip(floor, pair, lengths.most(), strict=True))


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("D(96,24)", (96, 24)),
        ("N(480,240)/(300,150)", (480, 300)),
        ("U(1,9)/(2,8)", (5, 5)),
        ("U(199,49)", (100, 25)),
        ("Q(1,3,9)/(5,5)", (4, 5)),
        ("3 D(100,10) + 1 D(500,50)", (200, 20)),
    ],
)
def test_mean_lengths(text, means):
    lengths = Lengths.parse(text)
    assert (lengths.isl, lengths.osl) == means


def test_a_normal_sample_has_its_mean():
    sample = Lengths.parse("N(480,40)/(300,20)").sample(2000, 3)
    assert sum(isl for isl, _ in sample) / 2000 == pytest.approx(480, rel=0.01)
    assert sum(osl for _, osl in sample) / 2000 == pytest.approx(300, rel=0.01)


@pytest.mark.parametrize(
    "text",
    ["D(96,24)", "N(900,9)/(300,60)", "U(1,9)/(100,300)", "Q(1,3)/(5,200,900)", "0.3 D(9,900) + 0.7 N(9,9)/(200,50)"],
)
def test_the_deviation_of_answers_is_that_of_a_sample(text):
    lengths = Lengths.parse(text)
    answers = [osl for _, osl in lengths.sample(20_000, 5)]
    assert lengths.deviation == pytest.approx(pstdev(answers), rel=0.02)


def test_lengths_come_from_the_workload_or_it_is_refused():
    assert longest(Workload(isl=7, osl=3)) == (7, 3)
    assert lengths_of(Workload(isl=7, osl=3, lengths="D(5,2)")).most() == (5, 2)
    with pytest.raises(InputError, match="no lengths"):
        longest(Workload(isl=7))


@given(st.lists(st.integers(1, 900), min_size=2, max_size=9), st.integers(1, 99), st.integers(0, 2**32))
def test_quantiles_and_mixtures_stay_inside_and_keep_their_means(values, other, seed):
    quantiles = ",".join(map(str, sorted(values)))
    lengths = Lengths.parse(f"0.25 Q({quantiles})/(1,4) + 0.75 D({other},{other})")
    sample = lengths.sample(400, seed)
    assert all(isl == other or min(values) <= isl <= max(values) for isl, _ in sample)
    spread = max(*values, other)
    assert sum(isl for isl, _ in sample) / 400 == pytest.approx(lengths.isl, abs=0.25 * spread + 1)


def test_a_mixture_draws_prompt_and_answer_together():
    sample = Lengths.parse("1 D(10,100) + 3 D(1000,1)").sample(4000, 1)
    assert set(sample) == {(10, 100), (1000, 1)}
    assert sample.count((10, 100)) == pytest.approx(1000, abs=100)


@given(st.lists(st.integers(1, 99), min_size=2, max_size=6), st.integers(1, 200), st.integers(0, 2**32))
def test_every_part_of_a_mix_has_its_share_of_a_sample(weights, n, seed):
    lengths = Lengths.mixed((weight, Lengths.parse(f"D({place},1)")) for place, weight in enumerate(weights, 1))
    drawn = [isl for isl, _ in lengths.sample(n, seed)]
    assert len(drawn) == n
    for place, weight in enumerate(weights, 1):
        assert abs(drawn.count(place) - n * weight / sum(weights)) <= 1


def test_a_mix_is_drawn_in_random_order():
    lengths = Lengths.parse("0.5 D(1,1) + 0.5 D(2,2)")
    one, other = lengths.sample(40, 1), lengths.sample(40, 2)
    assert one != other
    assert sorted(one) == sorted(other)
    assert one[:20] != sorted(one)[:20]


def test_a_mix_of_mixes_is_a_mix():
    inner = Lengths.parse("1 D(1,1) + 3 D(2,2)")
    found = Lengths.mixed([(1.0, inner), (1.0, Lengths.parse("D(9,9)"))])
    assert str(found) == "0.125 D(1,1) + 0.375 D(2,2) + 0.5 D(9,9)"


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("D(96,24)", True),
        (" 0.7 d( 96 , 24 )", True),
        ("D(1,2) + D(3,4)", False),
        ("U(1,9)/(1,9)", False),
        ("D", False),
    ],
)
def test_fixed_lengths_are_known_by_their_notation(text, fixed):
    assert is_fixed(text) is fixed
