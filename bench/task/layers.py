"""What networks are made of: parts of residual and transformer blocks, and layers with their initialisation.

None writes to its input, which may be a leaf that requires a gradient or a message still being sent; inside, ReLU and
residual sums work in place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Branch(nn.Module):
    """Begins a residual block with a parameter-free shortcut (He et al. 2016, option A).

    [batch, inputs, height, width] to features [batch, outputs, height / stride, width / stride], and the shortcut,
    which is the input subsampled to the same size.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, 3, stride)
        self.stride = stride

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # A window of one pixel subsamples, into a tensor that is dense and can be sent.
        return self.conv(images), images if self.stride == 1 else F.avg_pool2d(images, 1, self.stride)


class Beside(nn.Module):
    """Passes the features through a layer in the middle of a block, and hands on the shortcut beside them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        features, shortcut = pair
        return self.layer(features), shortcut


class Sum(nn.Module):
    """Ends such a block: sums features [batch, channels, height, width] and their shortcut, padded with zeros."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        features, shortcut = pair
        features = self.norm(features)
        added = features.shape[1] - shortcut.shape[1]
        if added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, added // 2, added - added // 2))
        return F.relu(features.add_(shortcut), inplace=True)


class PreActivation(nn.Module):
    """Begins a block that has norm and ReLU before each convolution (Zagoruyko and Komodakis 2016).

    [batch, channels, height, width] to features of that shape, and the shortcut, which is the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.active = norm_and_relu(channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.active(images), images


class Projection(nn.Module):
    """Applies the first convolution of such a block whose shape changes, with that of its shortcut, 1 x 1.

    [batch, inputs, height, width] to features and shortcut, both [batch, outputs, height / stride, width / stride].
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, 3, stride)
        self.shortcut = convolution(inputs, outputs, 1, stride)

    def forward(self, active: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(active), self.shortcut(active)


class PreActivationSum(nn.Module):
    """Ends such a block: sums features and their shortcut, both [batch, channels, height, width]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = convolution(channels, channels, 3)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        features, shortcut = pair
        result: Tensor = self.conv(features)
        return result.add_(shortcut)


class PatchEmbedding(nn.Module):
    """Turns images [batch, channels, height, width] into tokens [batch, patches, dim], at positions that are
    learned."""

    def __init__(self, channels: int, patch: int, patches: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, dim, patch, patch, bias=False)
        self.position = nn.Parameter(torch.empty(1, patches, dim))
        nn.init.trunc_normal_(self.project.weight, std=(channels * patch * patch) ** -0.5)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.project(images)
        # Contiguous here, so that every later sum of tokens is, and can be sent as it lies.
        return patches.flatten(2).transpose(1, 2).contiguous() + self.position


class Attention(nn.Module):
    """The first half of a transformer block: self-attention after a layer norm (Dosovitskiy et al. 2021)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query_key_value = linear(dim, 3 * dim)
        self.project = linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, patches, dim = tokens.shape
        projected = self.query_key_value(self.norm(tokens)).view(batch, patches, 3, self.heads, dim // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, patches, dim)
        result: Tensor = tokens + self.project(attended)
        return result


class FeedForward(nn.Module):
    """The second half of a transformer block: two linear layers after a layer norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(linear(dim, 4 * dim), nn.GELU(), linear(4 * dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = tokens + self.mlp(self.norm(tokens))
        return result


class TokenHead(nn.Module):
    """Turns tokens [batch, patches, dim] into scores [batch, classes], by their mean."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear = linear(dim, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.linear(self.norm(tokens).mean(1))
        return scores


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias, for the norm beside it has one; initialised after He et al. 2015."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def norm_and_relu(channels: int) -> nn.Sequential:
    """Batch norm, then ReLU in place, of images [batch, channels, height, width]: the norm alone makes a tensor
    more."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def linear(inputs: int, outputs: int, gain: float = 1) -> nn.Linear:
    """A linear layer, weights of variance gain / inputs to keep the scale (2 where a ReLU follows: He et al. 2015)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=(gain / inputs) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


def convolution_norm_and_relu(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution of 3 x 3 with the norm and the ReLU behind it."""
    return nn.Sequential(convolution(inputs, outputs, 3), *norm_and_relu(outputs))


def pooled_head(channels: int, classes: int) -> nn.Sequential:
    """From features [batch, channels, height, width], averaged over the pixels, to scores [batch, classes]."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(channels, classes))
