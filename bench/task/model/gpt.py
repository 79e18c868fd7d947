"""``model=gpt``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.keys import Count, Fraction
from bench.task.dataset import Shape
from bench.task.model.contract import Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GPT(Model):
    """A decoder that guesses each next token (GPT-2, Radford et al. 2019), without biases in its linear layers."""

    name: ClassVar[str] = "gpt"
    place: ClassVar[int] = 7
    unit: ClassVar[str] = "token"
    layers: Count
    """Layers, each of an attention and an MLP, between which the network may be cut too."""
    width: Count
    """Features of a token."""
    heads: Count
    """Attention heads of a layer; they must divide ``width``."""
    context: Count
    """Tokens that it sees at once."""
    mlp_ratio: Count
    """Hidden units of an MLP, as a multiple of ``width``."""
    norm: Literal["layer", "rms"]
    """Layer norm (Ba et al. 2016), or by the root of the mean square alone (Zhang and Sennrich 2019)."""
    positions: Literal["learned", "rotary"]
    """Positions that are learned and added to the tokens, or by which queries and keys turn (Su et al. 2021)."""
    tied: bool
    """Whether the head's weight is the embedding's (Press and Wolf 2017)."""
    dropout: Fraction
    """Share of the embedding, the attention and each branch that is zero in training."""

    def __post_init__(self) -> None:
        size, rest = divmod(self.width, self.heads)
        if rest:
            raise ValueError(f"width={self.width}: must be a multiple of heads={self.heads}")
        if self.positions == "rotary" and size % 2:
            raise ValueError(
                f"width={self.width}: positions=rotary turns pairs, and heads={self.heads} makes an odd {size} a head"
            )

    @property
    def window(self) -> int:
        """The number of tokens that it sees at once."""
        return self.context

    def refuses(self, run: Any) -> str | None:
        if self.tied and run.pieces > 1:
            return (
                f"tied=true needs stages=1, not stages={run.stages}: its embedding and its head share a weight, whose "
                "gradient is the sum of both stages'"
            )
        return None

    def entries(self, shape: Shape, outputs: int) -> Iterator[nn.Module]:
        """Make an embedding, an attention and an MLP for each layer, and a head.

        They map tokens, int64 [batch, context], to scores [batch, context, outputs].

        Args:
            shape: ``(context,)``.
            outputs: the vocabulary's size.

        Raises:
            ValueError: the data has no rows of ``context`` tokens.
        """
        from bench.task.transformer import CausalAttention, NextTokenHead, PositionWise, TokenEmbedding

        if tuple(shape) != (self.context,):
            given = " x ".join(map(str, shape))
            raise ValueError(f"context={self.context}: takes rows of so many tokens; the data has {given}")
        branches = 2 * self.layers
        embedding = TokenEmbedding(
            outputs, self.context if self.positions == "learned" else 0, self.width, self.dropout
        )
        yield embedding
        for _ in range(self.layers):
            yield CausalAttention(self.width, self.heads, self.norm, self.positions == "rotary", self.dropout, branches)
            yield PositionWise(self.width, self.mlp_ratio * self.width, self.norm, self.dropout, branches)
        yield NextTokenHead(self.width, outputs, self.norm, embedding.token if self.tied else None)
