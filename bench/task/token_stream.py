"""A text as one long row of tokens, and what follows from it: splits, windows and a digest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.keys import ConfigError
from bench.task.contract import LearningTask, Quality, Split, Sums
from bench.task.dataset import Dataset, Draw, Placed, check_batch_size, check_held_out
from bench.task.judgement import Judgement
from bench.task.language import EXCESS, TOKENS
from bench.task.token_batches import TokenBatches, windows_in
from bench.task.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class TokenStream(Dataset):
    """The tokens of a text, int32 [tokens]: those to train on lie before those to test by."""

    task: ClassVar[LearningTask] = TOKENS
    kind: ClassVar[str] = "tokens"
    sample: ClassVar[str] = "window"

    to_train: Tensor
    """The tokens before those to test by, of which the last are held out for validation."""
    test: Tensor
    vocabulary: Vocabulary
    floor: float | None
    """The entropy rate of the source, in nats a token, which no model stays below; None where nobody knows it."""
    digest: str
    held_out: int = 0
    """Tokens for validation: the last ones of those to train on."""
    context: int = 1
    """Tokens that a network sees at once."""

    @property
    def input_shape(self) -> tuple[int]:
        return (self.context,)

    @property
    def outputs(self) -> int:
        return self.vocabulary.size

    @property
    def train(self) -> Tensor:
        """The tokens that updates are made with."""
        return self.to_train[: len(self.to_train) - self.held_out]

    @property
    def validation(self) -> Tensor:
        return self.to_train[len(self.to_train) - self.held_out :]

    @property
    def samples(self) -> int:
        return windows_in(len(self.train), self.context)

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"train": len(self.train), "validation": self.held_out, "test": len(self.test)}

    @property
    def judgement(self) -> Judgement:
        return replace(super().judgement, floor=self.floor)

    @property
    def qualities(self) -> tuple[Quality, ...]:
        return tuple(each for each in self.task.qualities if each is not EXCESS or self.floor is not None)

    def hold_out(self, share: float) -> TokenStream:
        if not share:
            return self
        held_out = round(len(self.to_train) * share)
        check_held_out(len(self.to_train), held_out, "tokens")
        return replace(self, held_out=held_out)

    def in_windows(self, window: int) -> TokenStream:
        for split, size in self.sizes.items():
            if windows_in(size, window) < 1 and (size or split != "validation"):
                raise ConfigError(
                    f"model.context={window}: may be at most {size - 1}, as there are {size} tokens to "
                    f"{'train on' if split == 'train' else 'test by' if split == 'test' else 'validate by'}"
                )
        return replace(self, context=window)

    def batches(self, draw: Draw, placed: Placed, *, augment: bool = False) -> TokenBatches:  # noqa: ARG002
        check_batch_size(self, draw.batch_size, draw.replicas)
        return TokenBatches(self.train, self._splits, self.context, draw, placed.device)

    def example(self, samples: int, device: torch.device) -> Tensor:
        return torch.zeros(samples, self.context, dtype=torch.int64, device=device)

    def judged(self, split: Split, sums: Sums) -> dict[str, float]:
        """Nats a token and what follows from it; bits a character by as many as the split has for a token."""
        found = super().judged(split, sums)
        bits = found["loss"] / math.log(2) / self._characters_per_token[split]
        found["bits_per_character"] = bits
        return found if self.floor is None else found | {EXCESS.name: found["loss"] - self.floor}

    @cached_property
    def _characters_per_token(self) -> dict[Split, float]:
        splits = self._splits.items()
        return {name: len(self.vocabulary.decode(part.numpy())) / max(1, len(part)) for name, part in splits}

    @property
    def _splits(self) -> dict[Split, Tensor]:
        return {"validation": self.validation, "test": self.test}

    def describe(self) -> dict[str, Any]:
        tokens = {f"{split}_tokens": count for split, count in self.sizes.items()}
        own = {"vocabulary": self.vocabulary.size, "vocabulary_kind": self.vocabulary.content()["kind"]}
        floor = {} if self.floor is None else {"entropy_rate": self.floor}
        return {"digest": self.digest, **tokens, **own, **floor}

    def content(self) -> dict[str, Any]:
        own = {"train": self.to_train, "test": self.test, "floor": self.floor, "digest": self.digest}
        return own | {"vocabulary": self.vocabulary.content()}

    @classmethod
    def of_content(cls, content: dict[str, Any]) -> TokenStream:
        vocabulary = Vocabulary.from_content(content["vocabulary"])
        return cls(content["train"], content["test"], vocabulary, content["floor"], content["digest"])

    def check(self) -> None:
        for part in (self.to_train, self.test):
            if len(part) and not 0 <= int(part.min()) <= int(part.max()) < self.outputs:
                raise ValueError("its tokens are not those of its vocabulary")
        if digest_of_tokens(self.to_train, self.test, self.vocabulary, self.floor) != self.digest:
            raise ValueError("its digest is that of another text")


def stream_of(train: Tensor, test: Tensor, vocabulary: Vocabulary, floor: float | None = None) -> TokenStream:
    """Make a data set of tokens, int32 [tokens] each."""
    return TokenStream(train, test, vocabulary, floor, digest_of_tokens(train, test, vocabulary, floor))


def digest_of_tokens(train: Tensor, test: Tensor, vocabulary: Vocabulary, floor: float | None) -> str:
    """The digest of all that a data set of tokens holds."""
    digest = hashlib.blake2b(repr((vocabulary.content(), floor)).encode(), digest_size=16)
    for tokens in (train, test):
        digest.update(repr(tuple(tokens.shape)).encode())
        digest.update(tokens.numpy().data)
    return digest.hexdigest()
