import hashlib
import json

import gguf
import numpy as np
import pytest

from perfdb.errors import InputError, UnknownNameError
from runner.tiny_model import TinyShape, make_tiny_model
from runner.vocabulary import BYTES, SPECIALS

SMALL = TinyShape(n_layer=1, n_embd=64, n_head=2, n_head_kv=1, n_ff=96, n_vocab=1400)


def digests(model):
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in model.files.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), SMALL)


def test_the_same_seed_makes_the_same_bytes(made, tmp_path):
    again = make_tiny_model(tmp_path / "a", SMALL)
    other = make_tiny_model(tmp_path / "b", SMALL, seed=1)
    assert digests(again) == digests(made)
    assert set(digests(other).values()).isdisjoint(digests(made).values())


def test_files_are_reused_unless_something_else_is_asked_for(made):
    folder = made.files["F16"].parent
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert make_tiny_model(folder, SMALL) == made
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not list(folder.glob("*.partial"))


def test_a_missing_file_or_another_seed_is_made_anew(tmp_path):
    first = make_tiny_model(tmp_path, SMALL)
    before = digests(first)
    first.files["Q8_0"].unlink()
    assert digests(make_tiny_model(tmp_path, SMALL)) == before
    assert digests(make_tiny_model(tmp_path, SMALL, seed=2)) != before


def test_coarser_files_cost_more_quality_and_less_room(made):
    loss, size = made.quality_loss, {name: path.stat().st_size for name, path in made.files.items()}
    assert 0 < loss["F16"] < 1e-3 < loss["Q8_0"] < 0.01 < loss["Q4_0"] < 0.15
    assert size["F16"] > size["Q8_0"] > size["Q4_0"]


def test_files_say_what_they_hold(made):
    """One draw: the files' weights agree up to their quantisation; rows of bytes and special tokens are zero."""
    held = {}
    for name, path in made.files.items():
        reader = gguf.GGUFReader(path)
        held[name] = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
        assert {t.tensor_type.name for t in reader.tensors if len(t.shape) == 2} == {name}
        assert int(reader.fields["llama.block_count"].contents()) == SMALL.n_layer
    exact = held["F16"]
    assert {k: v.shape for k, v in exact.items()} == dict(SMALL.tensors())
    assert sum(v.size for v in exact.values()) == SMALL.parameters
    for name, tensors in held.items():
        assert not tensors["output.weight"][: len(BYTES) + len(SPECIALS)].any()
        assert np.abs(tensors["output.weight"][len(BYTES) + len(SPECIALS) :]).sum(axis=1).min() > 0
        error = np.linalg.norm(tensors["blk.0.attn_q.weight"] - exact["blk.0.attn_q.weight"])
        assert error / np.linalg.norm(exact["blk.0.attn_q.weight"]) == pytest.approx(made.quality_loss[name], abs=0.01)


def test_the_config_tells_the_same_shape(made):
    config = json.loads((made.files["F16"].parent / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (64, 1, 1400)
    assert config["num_key_value_heads"] == 1


def test_the_default_is_of_the_size_it_says():
    assert 30e6 < TinyShape().parameters < 60e6


@pytest.mark.parametrize("wrong", [{"n_embd": 100}, {"n_head": 3}, {"n_vocab": 100}, {"n_head_kv": 3}])
def test_shapes_that_cannot_be_built_are_refused(wrong):
    with pytest.raises(InputError, match="tiny model"):
        TinyShape(**wrong)


def test_an_unknown_quantisation_lists_the_known_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="F16, Q4_0, Q8_0"):
        make_tiny_model(tmp_path, SMALL, ("Q3_K",))
