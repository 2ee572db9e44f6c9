"""Made-up words, the same for everyone: the vocabulary of the tiny model and the prompts of the load client."""

from __future__ import annotations

import random

SPECIALS = ("<s>", "</s>")
"""Tokens that begin and end a text."""
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_SYLLABLES = tuple(first + second for first in _CONSONANTS for second in _VOWELS)
PROMPT_WORDS = 1024
"""Prompts use the first so many words, so that every tiny model knows them all."""


def _byte_letters() -> tuple[str, ...]:
    """GPT-2's printable stand-ins for the 256 bytes (Radford et al. 2019, `bytes_to_unicode`), by byte value."""
    kept = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    moved = iter(range(256, 512))
    return tuple(chr(value if value in kept else next(moved)) for value in range(256))


BYTES = _byte_letters()
"""The 256 raw-byte tokens."""
_SPACE = BYTES[ord(" ")]
MERGES = (f"{_SPACE} b",)
"""Byte-pair merges: the format asks for some, whole words are found before any is tried."""


def word(index: int) -> str:
    """The word number `index`: its base-70 digits as syllables, at least two of them, so all words differ."""
    text, rest = "", index
    while rest or len(text) < 4:
        rest, digit = divmod(rest, len(_SYLLABLES))
        text += _SYLLABLES[digit]
    return text


def word_tokens(count: int) -> list[str]:
    """The first `count` words as the tokenizer writes them: with the space before them, none twice."""
    return [_SPACE + word(index) for index in range(count)]


def words(n: int, seed: int | str, vocabulary: int = PROMPT_WORDS) -> str:
    """A text of `n` random words, each with a space before it: `n` tokens of a tiny model. Same seed, same text."""
    # random.Random and a str seed: stable across processes and versions, and no numpy at import.
    draw = random.Random(f"words {seed}")
    return "".join(" " + word(draw.randrange(vocabulary)) for _ in range(n))
