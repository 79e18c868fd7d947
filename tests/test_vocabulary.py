"""Vocabularies: texts come back from their tokens, and a vocabulary from its content."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.task.vocabulary import Vocabulary

GERMAN = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 🥊"
TEXT = "\n".join([GERMAN, "the cat sat on the mat; the hat sat on the cat", "  and  then\tthe rat ate them\r\n"] * 20)
KINDS = ("characters", "bytes", "bpe")
SIZE = 300


@cache
def vocabulary(kind: str) -> Vocabulary:
    return Vocabulary.of(TEXT, kind, SIZE)


# ------------------------------------------------------------------------------------------------------- there and back
@given(st.text(st.sampled_from(sorted(set(TEXT)))))
def test_characters_come_back(text: str) -> None:
    numbers = vocabulary("characters").encode(text)
    assert vocabulary("characters").decode(numbers) == text
    assert len(numbers) == len(text)


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
@given(text=st.text())
def test_any_text_comes_back(kind: str, text: str) -> None:
    numbers = vocabulary(kind).encode(text)
    assert vocabulary(kind).decode(numbers) == text
    assert len(numbers) <= len(text.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_int32_below_the_size(kind: str) -> None:
    for text in ("", TEXT):
        numbers = vocabulary(kind).encode(text)
        assert numbers.dtype == np.int32
        assert all(0 <= number < vocabulary(kind).size for number in numbers)
        assert vocabulary(kind).decode(numbers) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_comes_back_from_its_content(kind: str) -> None:
    content = json.loads(json.dumps(vocabulary(kind).content()))
    assert all(isinstance(value, str) for value in content.values())
    again = Vocabulary.from_content(content)
    assert again.encode(TEXT).tolist() == vocabulary(kind).encode(TEXT).tolist()
    assert (again.size, again.content()) == (vocabulary(kind).size, content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_makes_one_vocabulary(kind: str) -> None:
    assert Vocabulary.of(TEXT, kind, SIZE).content() == vocabulary(kind).content()


# ---------------------------------------------------------------------------------------------------------------- sizes
def test_sizes() -> None:
    assert {kind: vocabulary(kind).size for kind in KINDS} == {
        "characters": len(set(TEXT)),
        "bytes": 256,
        "bpe": SIZE,
    }


def test_characters_are_sorted_and_bytes_are_utf_8s() -> None:
    assert Vocabulary.of("cabbage", "characters", 0).encode("abceg").tolist() == [0, 1, 2, 3, 4]
    assert vocabulary("bytes").encode("aö").tolist() == [97, 0xC3, 0xB6]
    # Four umlauts and the sharp s take two bytes each, the glove four.
    assert len(vocabulary("characters").encode(GERMAN)) == len(GERMAN)
    assert len(vocabulary("bytes").encode(GERMAN)) == len(GERMAN) + 4 + 3


def test_more_pairs_make_fewer_tokens() -> None:
    """With no pair there is a token for each byte; the most frequent word is one token, with the blank before it."""
    lengths = [len(Vocabulary.of(TEXT, "bpe", size).encode(TEXT)) for size in (256, 260, 280, 300)]
    assert lengths[0] == len(TEXT.encode())
    assert lengths == sorted(set(lengths), reverse=True)
    assert len(vocabulary("bpe").encode(" the")) == 1


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_half_a_character_is_replaced(kind: str) -> None:
    """The sign for what is no UTF-8 stands for the first byte of an umlaut that is cut in two."""
    plain = Vocabulary.of(TEXT, kind, 256)
    assert plain.decode(plain.encode("aö")[:2]) == "a\ufffd"


# ------------------------------------------------------------------------------------------------------ what is refused
REFUSED: dict[str, Callable[[], object]] = {
    "vocabulary='words': allowed are characters, bytes, bpe": lambda: Vocabulary.of(TEXT, "words", SIZE),
    "kind='words': allowed are characters, bytes, bpe": lambda: Vocabulary.from_content({"kind": "words"}),
    "vocabulary='characters': the text is empty; it must have a character": lambda: Vocabulary.of("", "characters", 0),
    "character 'ß': not one of the vocabulary's 3": lambda: Vocabulary.of("abc", "characters", 0).encode("abßd"),
    "character '\\x00': not one of the vocabulary's 3": lambda: Vocabulary.of("abc", "characters", 0).encode("\0"),
    "token 3: allowed are 0 to 2": lambda: Vocabulary.of("abc", "characters", 0).decode(np.array([2, 3], np.int32)),
    "token -1: allowed are 0 to 255": lambda: vocabulary("bytes").decode(np.array([-1], np.int32)),
    "size=255: allowed are 256 tokens, one for each byte, or more": lambda: Vocabulary.of(TEXT, "bpe", 255),
    "size=300: the text yields 259 tokens; allowed are 256 to 259": lambda: Vocabulary.of("abcd", "bpe", 300),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        REFUSED[message]()


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_half_of_a_surrogate_pair_is_refused(kind: str) -> None:
    """UTF-8 has no bytes for it; a file that is read as UTF-8 never holds one."""
    with pytest.raises(ValueError, match=r"'\\ud83e' in position 1: surrogates not allowed"):
        vocabulary(kind).encode("a\ud83e")
    assert Vocabulary.of("\ud83e", "characters", 0).decode(np.zeros(2, np.int32)) == "\ud83e\ud83e"


def test_without_the_library_a_message_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    content = vocabulary("bpe").content()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    words = r"^vocabulary='bpe': needs tokenizers: pip install 'staleness-bench\[bpe\]'; allowed without it are "
    with pytest.raises(ValueError, match=words):
        Vocabulary.of(TEXT, "bpe", SIZE)
    with pytest.raises(ValueError, match=words):
        Vocabulary.from_content(content).encode(TEXT)
    assert Vocabulary.of(TEXT, "bytes", SIZE).size == 256
