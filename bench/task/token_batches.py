"""Batches of a text: windows of tokens, drawn as the seed, the step and the replica say."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.task.batches import Batches, Judged, generator
from bench.task.contract import Split
from bench.task.dataset import Draw, batches_per_epoch


class JudgedTokens(Judged):
    """The batches of a split's windows, which lie side by side; tokens that fill none are left out."""

    def __init__(self, tokens: Tensor, context: int, batch_size: int, device: torch.device) -> None:
        self._tokens, self._context, self._batch_size, self._device = tokens, context, batch_size, device
        self._windows = windows_in(len(tokens), context)
        self.batches = -(-self._windows // batch_size)

    def inputs(self, index: int) -> Tensor:
        """Tokens, int64 [batch_size, context]."""
        return windows_at(self._tokens, self._starts(index), self._context).to(self._device)

    def targets(self, index: int) -> Tensor:
        """The token behind each of these, int64 [batch_size, context]."""
        return windows_at(self._tokens, self._starts(index) + 1, self._context).to(self._device)

    def valid(self, index: int) -> int:
        return min(self._batch_size, self._windows - index * self._batch_size)

    def _starts(self, index: int) -> Tensor:
        first = index * self._batch_size
        windows = torch.arange(first, first + self._batch_size).clamp_(max=self._windows - 1)
        return windows * self._context


class TokenBatches(Batches):
    """One replica's batches of a text. Each window begins anywhere in the text, all places being as likely.

    An epoch has as many batches as windows side by side would fill.

    Args:
        train: the tokens to train on, int32.
        splits: those to be judged by.
        context: tokens of a window.
    """

    def __init__(
        self, train: Tensor, splits: Mapping[Split, Tensor], context: int, draw: Draw, device: torch.device
    ) -> None:
        self._tokens, self._context, self._draw, self._device = train, context, draw, device
        self.batch_size = draw.batch_size
        self.batches = batches_per_epoch(windows_in(len(train), context), draw.batch_size, draw.replicas)
        self.judged: dict[Split, Judged] = {
            split: JudgedTokens(part, context, draw.batch_size, device) for split, part in splits.items()
        }

    def inputs(self, epoch: int, index: int) -> Tensor:
        """Tokens, int64 [batch_size, context]."""
        return windows_at(self._tokens, self._starts(epoch, index), self._context).to(self._device)

    def targets(self, epoch: int, index: int) -> Tensor:
        """The token behind each of these, int64 [batch_size, context]."""
        return windows_at(self._tokens, self._starts(epoch, index) + 1, self._context).to(self._device)

    def _starts(self, epoch: int, index: int) -> Tensor:
        step = epoch * self.batches + index
        keyed = generator("windows", self._draw.seed, step, self._draw.replica)
        return torch.randint(len(self._tokens) - self._context, (self.batch_size,), generator=keyed)


def windows_in(tokens: int, context: int) -> int:
    """How many windows of so many tokens, each with one more behind it to foretell, lie side by side in a text."""
    return (tokens - 1) // context


def windows_at(tokens: Tensor, starts: Tensor, context: int) -> Tensor:
    """Take windows out of a text.

    Args:
        tokens: int32 [tokens].
        starts: int64 [windows].

    Returns:
        int64 [windows, context].
    """
    places = starts[:, None] + torch.arange(context)
    return tokens[places].long()
