"""What a decoder is made of: a transformer that guesses each next token from those before it (GPT-2, Radford et al.
2019), with each norm before what it feeds.

The linear layers and the head have no biases; the layer norms have theirs. All matrices, the embedding and the learned
positions begin as GPT-2's: normal with a standard deviation of ``SPREAD``, which is divided by the root of the number
of residual branches, two a layer, in the matrices that end a branch. All is drawn from torch's default generator.

None writes to its input, which may be a leaf that requires a gradient or a message still being sent; and none has a
buffer, as those are taken for statistics, and averaged. Tokens in their features [batch, context, width] keep the type
of the weights under autocast too: a branch may be narrower, but a sum takes the wider type of the two.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SPREAD = 0.02
"""The standard deviation of weights before the first update, whatever their number."""
EPSILON = 1e-5
"""What a norm adds to the variance, or to the mean square: torch's default of the one, and given to the other, whose
own would follow from the type of its input."""
BASE = 10_000.0
"""The positions in which the slowest pair of a very large head turns by a radian (Su et al. 2021, section 3.2.2)."""

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layer": lambda width: nn.LayerNorm(width, EPSILON),
    "rms": lambda width: nn.RMSNorm(width, EPSILON),
}
"""The norms over the features of a token: Ba et al. 2016, and Zhang and Sennrich 2019, which takes no mean and has no
bias."""


class TokenEmbedding(nn.Module):
    """Turns tokens, int64 [batch, context] below ``vocabulary``, into features [batch, context, width].

    Args:
        positions: learned ones that are added, for a context of at most so many tokens; 0 for none.
        dropout: share of the features that are zero in training.
    """

    def __init__(self, vocabulary: int, positions: int, width: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(vocabulary, width))
        nn.init.normal_(self.token, std=SPREAD)
        self.position = nn.Parameter(torch.empty(positions, width)) if positions else None
        if self.position is not None:
            nn.init.normal_(self.position, std=SPREAD)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        features = F.embedding(tokens, self.token)
        if self.position is not None:
            features = features + self.position[: tokens.shape[1]]
        result: Tensor = self.dropout(features)
        return result


class CausalAttention(nn.Module):
    """The first half of a layer: each token's features, and what they gather from those up to their own.

    Args:
        norm: a name in ``NORMS``.
        rotary: whether queries and keys are turned by their positions (Su et al. 2021).
        dropout: share of the attention, and of the branch, that is zero in training.
        branches: residual branches of the network.
    """

    def __init__(self, width: int, heads: int, norm: str, rotary: bool, dropout: float, branches: int) -> None:
        super().__init__()
        self.heads, self.rotary = heads, rotary
        self.norm = NORMS[norm](width)
        self.query_key_value = matrix(width, 3 * width)
        self.project = matrix(width, width, branches)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        batch, context, width = features.shape
        projected = self.query_key_value(self.norm(features)).view(batch, context, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        if self.rotary:
            query, key = turned(query, key)
        dropped = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropped, is_causal=True)
        result: Tensor = features + self.dropout(self.project(attended.transpose(1, 2).reshape(batch, context, width)))
        return result


class PositionWise(nn.Module):
    """The second half of a layer: each token's features, and two matrices of them with a GELU between (Hendrycks and
    Gimpel 2016, by the error function).

    Args:
        norm: a name in ``NORMS``.
        dropout: share of the branch that is zero in training.
        branches: residual branches of the network.
    """

    def __init__(self, width: int, hidden: int, norm: str, dropout: float, branches: int) -> None:
        super().__init__()
        self.norm = NORMS[norm](width)
        self.mlp = nn.Sequential(matrix(width, hidden), nn.GELU(), matrix(hidden, width, branches))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = features + self.dropout(self.mlp(self.norm(features)))
        return result


class NextTokenHead(nn.Module):
    """Turns features [batch, context, width] into scores [batch, context, vocabulary] of the token after each.

    Args:
        norm: a name in ``NORMS``.
        tied: the weight [vocabulary, width] of the embedding, which is then this one's too (Press and Wolf 2017); None
            for a weight of its own.
    """

    def __init__(self, width: int, vocabulary: int, norm: str, tied: nn.Parameter | None) -> None:
        super().__init__()
        self.norm = NORMS[norm](width)
        self.weight = matrix(width, vocabulary).weight if tied is None else tied

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(self.norm(features), self.weight)


def matrix(inputs: int, outputs: int, branches: int = 1) -> nn.Linear:
    """A linear layer without bias; one that ends one of several residual branches begins smaller by their root."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=SPREAD * branches**-0.5)
    return layer


def turned(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Turn each pair of neighbours in queries and keys [batch, heads, context, size] by its position's angle, so that
    their products depend on how far apart they are (Su et al. 2021, equation 15).

    The angle of pair i at position m is m BASE^(-2i / size), counted in float32 at least: bfloat16 has no 257.
    """
    context, size = query.shape[-2:]
    exact = torch.promote_types(query.dtype, torch.float32)
    pairs = torch.arange(0, size, 2, dtype=exact, device=query.device)
    angles = torch.arange(context, dtype=exact, device=query.device)[:, None] * BASE ** (-pairs / size)
    cosine, sine = angles.cos().to(query.dtype), angles.sin().to(query.dtype)
    return _turn(query, cosine, sine), _turn(key, cosine, sine)


def _turn(rows: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = rows.reshape(*rows.shape[:-1], -1, 2).unbind(-1)
    return torch.stack((first * cosine - second * sine, first * sine + second * cosine), -1).flatten(-2)
