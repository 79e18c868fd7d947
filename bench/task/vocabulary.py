"""Vocabularies: what of a text is a token, and which number it has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.system.variables import variables

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Tokens = NDArray[np.int32]
"""Numbers of tokens from 0, [tokens]."""
Kind = Literal["characters", "bytes", "bpe"]
BYTES = 256
UTF_32 = "utf-32-le"
"""Four bytes for each character, least first."""


class Vocabulary(ABC):
    """The tokens that a text is cut into, and their numbers."""

    @staticmethod
    def of(text: str, kind: str, size: int) -> Vocabulary:
        """The vocabulary of a text to train on: its ``characters``, the ``bytes`` of UTF-8, or ``bpe``, byte pairs.

        Args:
            size: tokens of ``bpe``; the others have as many as there are.

        Raises:
            ValueError: there is no such kind, or the text has too few characters or pairs for it.
        """
        match kind:
            case "characters":
                return Characters.of_text(text)
            case "bytes":
                return Utf8()
            case "bpe":
                return BytePairs.trained(text, size)
        raise ValueError(f"vocabulary={kind!r}: allowed are {', '.join(get_args(Kind))}")

    @staticmethod
    def from_content(content: Mapping[str, str]) -> Vocabulary:
        """The vocabulary whose :meth:`content` this is.

        Raises:
            ValueError: its kind is unknown.
        """
        match content["kind"]:
            case "characters":
                return Characters(content["tokens"])
            case "bytes":
                return Utf8()
            case "bpe":
                return BytePairs(content["tokens"])
        raise ValueError(f"kind={content['kind']!r}: allowed are {', '.join(get_args(Kind))}")

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of tokens."""

    @abstractmethod
    def encode(self, text: str) -> Tokens:
        """The numbers of a text's tokens.

        Raises:
            ValueError: a character is none of the vocabulary's, or half of a surrogate pair, which UTF-8 has not.
        """

    def decode(self, numbers: Tokens) -> str:
        """The text of tokens; U+FFFD stands where bytes are no UTF-8.

        Raises:
            ValueError: a number is no token's.
        """
        for number in numbers[(numbers < 0) | (numbers >= self.size)][:1]:
            raise ValueError(f"token {number}: allowed are 0 to {self.size - 1}")
        return self._text(numbers)

    @abstractmethod
    def _text(self, numbers: Tokens) -> str:
        """The text of numbers that are tokens'."""

    @abstractmethod
    def content(self) -> dict[str, str]:
        """All that :meth:`from_content` needs, fit for JSON."""


@dataclass(frozen=True)
class Characters(Vocabulary):
    """A token for each character, in the order of their code points."""

    tokens: str
    """The characters, sorted."""

    @classmethod
    def of_text(cls, text: str) -> Characters:
        """The distinct characters of a text.

        Raises:
            ValueError: it has none.
        """
        if not text:
            raise ValueError("vocabulary='characters': the text is empty; it must have a character")
        return cls("".join(sorted(set(text))))

    @property
    def size(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> Tokens:
        points = _points(text)
        numbers = np.searchsorted(self._all, points).clip(max=self.size - 1)
        for place in np.flatnonzero(self._all[numbers] != points)[:1]:
            raise ValueError(f"character {text[place]!r}: not one of the vocabulary's {self.size}")
        return numbers.astype(np.int32)

    def _text(self, numbers: Tokens) -> str:
        return self._all[numbers].tobytes().decode(UTF_32, "surrogatepass")

    def content(self) -> dict[str, str]:
        return {"kind": "characters", "tokens": self.tokens}

    @cached_property
    def _all(self) -> NDArray[np.uint32]:
        return _points(self.tokens)


@dataclass(frozen=True)
class Utf8(Vocabulary):
    """A token for each byte: the 256 of UTF-8, in which every text is written."""

    @property
    def size(self) -> int:
        return BYTES

    def encode(self, text: str) -> Tokens:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def _text(self, numbers: Tokens) -> str:
        return numbers.astype(np.uint8).tobytes().decode(errors="replace")

    def content(self) -> dict[str, str]:
        return {"kind": "bytes"}


@dataclass(frozen=True)
class BytePairs(Vocabulary):
    """The 256 bytes, and pairs of tokens merged, the most frequent first (Sennrich et al. 2016, arXiv 1508.07909).

    Words are cut apart before, as GPT-2 does: no token reaches over the blank before a word.
    """

    tokens: str
    """What Hugging Face's ``tokenizers`` writes of itself, JSON."""

    @classmethod
    def trained(cls, text: str, size: int) -> BytePairs:
        """The tokens of a text, the same ones at every call.

        Raises:
            ValueError: the size is below that of the bytes or above what the text yields, or ``tokenizers`` is missing.
        """
        if size < BYTES:
            raise ValueError(f"size={size}: allowed are {BYTES} tokens, one for each byte, or more")
        _needed()
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        raw = Tokenizer(models.BPE())
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.pre_tokenizer = byte_level
        raw.decoder = decoders.ByteLevel()
        alphabet = byte_level.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        # Once it has used threads, the library prints a warning in every process forked from this one.
        with variables({"TOKENIZERS_PARALLELISM": "false"}):
            raw.train_from_iterator([text], trainer)
        found = raw.get_vocab_size()
        if found < size:
            raise ValueError(f"size={size}: the text yields {found} tokens; allowed are {BYTES} to {found}")
        return cls(raw.to_str())

    @property
    def size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> Tokens:
        # The library's own error for half of a surrogate pair names nothing.
        text.encode()
        return np.array(self._tokenizer.encode(text).ids, np.int32)

    def _text(self, numbers: Tokens) -> str:
        return self._tokenizer.decode(numbers.tolist())

    def content(self) -> dict[str, str]:
        return {"kind": "bpe", "tokens": self.tokens}

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        _needed()
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.tokens)


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode(UTF_32, "surrogatepass"), "<u4")


def _needed() -> None:
    """Import ``tokenizers``.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        message = "needs tokenizers: pip install 'staleness-bench[bpe]'; allowed without it are characters and bytes"
        raise ValueError(f"vocabulary='bpe': {message}") from None
