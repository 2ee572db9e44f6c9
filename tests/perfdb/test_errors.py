"""The sentences of errors: what is known, and why a file could not be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfdb.errors import FileError, UnknownNameError


def test_a_short_list_is_told_whole_and_a_long_one_by_its_number() -> None:
    assert str(UnknownNameError.of("engine", "triton", ["vllm", "sglang"])) == (
        "unknown engine 'triton'; known: sglang, vllm"
    )
    many = [f"maker/model-{size}b" for size in range(60)]
    assert str(UnknownNameError.of("model", "llama", many)) == (
        "unknown model 'llama'; known: 60; servecast models lists them"
    )
    assert str(UnknownNameError.of("engine", "x", [])) == "unknown engine 'x'; known: none"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("vlm", "did you mean vllm?"), ("LLAMA", "did you mean meta-llama/Llama-3.1-8B?"), ("", None), ("la", None)],
)
def test_close_names_come_first_and_else_those_that_hold_the_word(name: str, hint: str | None) -> None:
    said = str(UnknownNameError.of("name", name, ["vllm", "meta-llama/Llama-3.1-8B"]))
    assert (hint in said) if hint else ("did you mean" not in said)


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    missing, binary = tmp_path / "no.csv", tmp_path / "b.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, reason in (
        (missing, "No such file or directory"),
        (tmp_path, "Is a directory"),
        (binary, "not UTF-8 text"),
    ):
        with pytest.raises((OSError, UnicodeDecodeError)) as caught:
            path.read_text(encoding="utf-8")
        said = str(FileError.unreadable(path, caught.value, "a CSV"))
        assert said == f"{path}: cannot be read ({reason}); expected a CSV"
    assert str(FileError.unreadable("x", ValueError("odd"), "y")) == "x: cannot be read (odd); expected y"
