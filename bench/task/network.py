"""Networks as a flat ``nn.Sequential``, one entry per layer between which a network may be cut; none knows of stages.

An entry takes what the one before it gives: one tensor, or inside a residual block two, the block's features and its
shortcut. Such a block has an entry for each convolution and each norm, so that it may be cut between any two of them,
and stages come out even. An entry never writes to its input, which may be a leaf that requires a gradient or a message
still being sent; inside an entry, ReLU and residual sums work in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from bench.choice import ConfigError
from bench.task.choices import Model
from bench.task.layers import (
    Attention,
    Beside,
    Branch,
    FeedForward,
    PatchEmbedding,
    PreActivation,
    PreActivationSum,
    Projection,
    Sum,
    TokenHead,
    convolution,
    linear,
    norm_and_relu,
)
from bench.task.model.mlp import MLP
from bench.task.model.resnet import ResNet
from bench.task.model.torchvision import Torchvision
from bench.task.model.vgg import VGG
from bench.task.model.vit import ViT
from bench.task.model.wide_resnet import WideResNet
from bench.task.zoo import torchvision_entries

VGG_GROUPS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
VGG_WIDTHS = (64, 128, 256, 512, 512)


def build(model: Model, image_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Build the network that ``model`` names, initialised from torch's default generator.

    Args:
        image_shape: channels, height, width; the network maps [batch, channels, height, width] to [batch, classes].

    Raises:
        ConfigError: the model cannot take such images, or is no torchvision classifier that is sequential at the top.
    """
    return nn.Sequential(*entries(model, image_shape, classes))


def entries(model: Model, image_shape: tuple[int, int, int], classes: int) -> Iterable[nn.Module]:
    """Make the network's layers, as :func:`build` takes them; each is made when it is asked for."""
    match model:
        case ResNet():
            return _resnet(model, image_shape[0], classes)
        case WideResNet():
            return _wide_resnet(model, image_shape[0], classes)
        case VGG():
            return _vgg(model, image_shape, classes)
        case MLP():
            return _mlp(model, image_shape, classes)
        case ViT():
            return _vit(model, image_shape, classes)
        case Torchvision():
            return torchvision_entries(model.architecture, image_shape, classes)


def _resnet(model: ResNet, channels: int, classes: int) -> Iterator[nn.Module]:
    inputs = model.width
    yield _convolution_entry(channels, inputs)
    for outputs in (model.width, 2 * model.width, 4 * model.width):
        for _ in range((model.depth - 2) // 6):
            # The width doubles exactly where the side halves.
            yield Branch(inputs, outputs, stride=2 if outputs > inputs else 1)
            yield Beside(norm_and_relu(outputs))
            yield Beside(convolution(outputs, outputs, 3))
            yield Sum(outputs)
            inputs = outputs
    yield nn.Sequential(*_head(inputs, classes))


def _wide_resnet(model: WideResNet, channels: int, classes: int) -> Iterator[nn.Module]:
    inputs = 16
    yield convolution(channels, inputs, 3)
    for group, width in enumerate((16, 32, 64)):
        for block in range((model.depth - 4) // 6):
            outputs, stride = width * model.widen, 2 if group and not block else 1
            if stride > 1 or inputs != outputs:
                yield norm_and_relu(inputs)
                yield Projection(inputs, outputs, stride)
            else:
                yield PreActivation(inputs)
                yield Beside(convolution(inputs, outputs, 3))
            yield Beside(norm_and_relu(outputs))
            yield PreActivationSum(outputs)
            inputs = outputs
    yield nn.Sequential(*norm_and_relu(inputs), *_head(inputs, classes))


def _vgg(model: VGG, image_shape: tuple[int, int, int], classes: int) -> Iterator[nn.Module]:
    inputs, side = image_shape[0], min(image_shape[1:])
    for convolutions, outputs in zip(VGG_GROUPS[model.depth], VGG_WIDTHS, strict=True):
        for number in range(convolutions):
            entry = _convolution_entry(inputs, outputs)
            if number == convolutions - 1 and side > 1:
                entry.append(nn.MaxPool2d(2))
                side //= 2
            yield entry
            inputs = outputs
    yield nn.Sequential(*_head(inputs, classes))


def _mlp(model: MLP, image_shape: tuple[int, int, int], classes: int) -> Iterator[nn.Module]:
    channels, height, width = image_shape
    yield nn.Sequential(nn.Flatten(), linear(channels * height * width, model.hidden, 2), nn.ReLU(inplace=True))
    for _ in range(model.layers - 1):
        yield nn.Sequential(linear(model.hidden, model.hidden, 2), nn.ReLU(inplace=True))
    yield linear(model.hidden, classes)


def _vit(model: ViT, image_shape: tuple[int, int, int], classes: int) -> Iterator[nn.Module]:
    channels, height, width = image_shape
    for side in (height, width):
        if side % model.patch:
            raise ConfigError(f"model.patch={model.patch}: must divide the image side {side}")
    yield PatchEmbedding(channels, model.patch, (height // model.patch) * (width // model.patch), model.dim)
    for _ in range(model.depth):
        yield Attention(model.dim, model.heads)
        yield FeedForward(model.dim)
    yield TokenHead(model.dim, classes)


def _convolution_entry(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs, 3), *norm_and_relu(outputs))


def _head(channels: int, classes: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(channels, classes)
