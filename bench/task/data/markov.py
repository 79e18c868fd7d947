"""``data=markov``: a synthetic language, of which the least loss that there can be is known."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.keys import Count, Seed, Share
from bench.task.contract import LearningTask
from bench.task.data.contract import Data
from bench.task.language import TOKENS

if TYPE_CHECKING:
    from bench.task.token_stream import TokenStream

ALPHABET = string.ascii_lowercase + string.ascii_uppercase + string.digits + " ."
"""What symbols are written as."""
TRAIN, TEST = range(2)
"""Keys of the draws of the two texts."""
SYMBOL_BYTES = 16
"""Bytes that a symbol takes while it is drawn and kept."""


@dataclass(frozen=True)
class Markov(Data):
    """A text of a random Markov chain whose entropy rate is known exactly: every loss is told with its distance."""

    name: ClassVar[str] = "markov"
    place: ClassVar[int] = 7
    task: ClassVar[LearningTask] = TOKENS
    order: Annotated[int, Field(ge=1, le=3)]
    """Symbols that the next one hangs on."""
    symbols: Annotated[int, Field(ge=2, le=64)]
    """Number of different symbols."""
    language: Seed
    """The seed that the chain is drawn with, whatever the run's seed."""
    length: Count
    """Symbols of the text in all."""
    test: Share
    """The share of them that the network is tested by in the end."""

    def prepare(self) -> Path:
        from bench.task.cache import kept, key_of
        from bench.task.memory import require

        require({"data.length": self.length}, SYMBOL_BYTES * self.length, "its text")
        return kept(f"{self.name}-{key_of(tuple(sorted(self._drawn().items())))}", None, self.read)

    def read(self) -> TokenStream:
        import torch

        from bench.task.markov_source import MarkovSource
        from bench.task.token_stream import stream_of
        from bench.task.vocabulary import Characters

        source = MarkovSource.drawn(self.language, self.order, self.symbols)
        tested = round(self.length * self.test)
        texts = (source.text(length, key) for length, key in ((self.length - tested, TRAIN), (tested, TEST)))
        train, test = (torch.from_numpy(text).int() for text in texts)
        vocabulary = Characters("".join(sorted(ALPHABET[: self.symbols])))
        return stream_of(train, test, vocabulary, source.entropy_rate)

    def _drawn(self) -> dict[str, object]:
        """The keys that the text follows from."""
        return {key: value for key, value in vars(self).items() if key != "validation"}
