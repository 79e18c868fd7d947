"""``data=text``: any text, to foretell its next token."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.keys import ConfigError, Count, Place, Share
from bench.task.contract import LearningTask
from bench.task.data.contract import Data
from bench.task.language import TOKENS

if TYPE_CHECKING:
    from bench.task.token_stream import TokenStream


@dataclass(frozen=True)
class Text(Data):
    """Any text in UTF-8, split without a gap into what is trained on, validated by and tested by, in this order."""

    name: ClassVar[str] = "text"
    place: ClassVar[int] = 6
    task: ClassVar[LearningTask] = TOKENS
    file: Place
    """The file of the text."""
    vocabulary: Literal["characters", "bytes", "bpe"]
    """What a token is: a character, a byte, or one of ``size`` byte pairs that the text before the test is cut into."""
    size: Count
    """Tokens of the vocabulary ``bpe``; the others have as many as they need."""
    test: Share
    """The share of the text, at its end, that the network is tested by in the end."""

    def prepare(self) -> Path:
        from bench.task.cache import kept, key_of

        path = Path(self.file)
        try:
            status = path.stat()
        except OSError as error:
            raise self._wrong(f"cannot be read ({error.strerror})") from None
        own = (self.vocabulary, self.size if self.vocabulary == "bpe" else 0, self.test)
        key = key_of((str(path.absolute()), status.st_size, status.st_mtime_ns, *own))
        return kept(f"{self.name}-{key}", path.parent, self.read)

    def read(self) -> TokenStream:
        import torch

        from bench.task.token_stream import stream_of
        from bench.task.vocabulary import Vocabulary

        text = self._text()
        end = len(text) - round(len(text) * self.test)
        try:
            vocabulary = Vocabulary.of(
                text if self.vocabulary == "characters" else text[:end], self.vocabulary, self.size
            )
        except ValueError as error:
            raise ConfigError(f"data.{error}") from None
        train, test = (torch.from_numpy(vocabulary.encode(part)) for part in (text[:end], text[end:]))
        return stream_of(train, test, vocabulary)

    def _text(self) -> str:
        from bench.task.memory import require

        try:
            require({"data.file": self.file}, 8 * os.path.getsize(self.file), "its text and its tokens")
            text = Path(self.file).read_text(encoding="utf-8")
        except OSError as error:
            raise self._wrong(f"cannot be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            raise self._wrong(f"is no text in UTF-8 ({error.reason} at byte {error.start}); allowed is one") from None
        if not text:
            raise self._wrong("is empty; allowed is a text")
        return text

    def _wrong(self, why: str) -> ConfigError:
        return ConfigError(f"data.file={self.file!r}: {why}")

    def sizes(self) -> Mapping[str, object]:
        return {"data.size": self.size} if self.vocabulary == "bpe" else {}
