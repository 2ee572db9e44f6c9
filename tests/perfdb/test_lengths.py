import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.errors import InputError
from perfdb.lengths import Lengths, lengths_of, longest
from perfdb.records import Workload


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("D(96,24)", (96, 24)),
        (" d( 96 , 24 ) ", (96, 24)),
        ("N(480,240)/(300,150)", (1200, 750)),
        ("U(1,9)/(2,8)", (9, 8)),
        ("U(200,50)", (200, 50)),
    ],
)
def test_the_notation_is_read(text, most):
    assert Lengths.parse(text).most() == most


@pytest.mark.parametrize(
    "text", ["", "D(96)", "D(1,2)/(3,4)", "N(1,2)", "X(1,2)", "D(0,4)", "U(9,1)/(1,2)", "U(0,1)/(1,1)", "D(1,2) x"]
)
def test_what_is_no_distribution_is_refused(text):
    with pytest.raises(InputError, match="lengths"):
        Lengths.parse(text)


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
    [("D(96,24)", (96, 24)), ("N(480,240)/(300,150)", (480, 300)), ("U(1,9)/(2,8)", (5, 5)), ("U(199,49)", (100, 25))],
)
def test_mean_lengths(text, means):
    lengths = Lengths.parse(text)
    assert (lengths.isl, lengths.osl) == means


def test_a_normal_sample_has_its_mean():
    sample = Lengths.parse("N(480,40)/(300,20)").sample(2000, 3)
    assert sum(isl for isl, _ in sample) / 2000 == pytest.approx(480, rel=0.01)
    assert sum(osl for _, osl in sample) / 2000 == pytest.approx(300, rel=0.01)


def test_lengths_come_from_the_workload_or_it_is_refused():
    assert longest(Workload(isl=7, osl=3)) == (7, 3)
    assert lengths_of(Workload(isl=7, osl=3, lengths="D(5,2)")).most() == (5, 2)
    with pytest.raises(InputError, match="no lengths"):
        longest(Workload(isl=7))
