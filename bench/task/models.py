"""Networks as a flat ``nn.Sequential``, one entry per layer between which a network may be cut; none knows of stages.

An entry takes what the one before it gives: one tensor, or inside a residual block two, the block's features and its
shortcut. So a block may be cut in its middle, and stages come out more even. An entry never writes to its input, which
may be a leaf that requires a gradient or a message still being sent; inside an entry, ReLU and residual sums work in
place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import config
from bench.config import ConfigError

VGG_GROUPS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
VGG_WIDTHS = (64, 128, 256, 512, 512)

# What each torchvision family's forward does, in order: its children, and the functions that it calls between them.
CLASSIFIER = ("features", "avgpool", "flatten", "classifier")
TORCHVISION_TOPS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("alexnet", "vgg", "mobilenet_v3", "efficientnet"): CLASSIFIER,
    ("mobilenet_v2",): ("features", "average", "flatten", "classifier"),
    ("convnext",): ("features", "avgpool", "classifier"),
    ("squeezenet",): ("features", "classifier", "flatten"),
    ("densenet",): ("features", "relu", "average", "flatten", "classifier"),
    ("mnasnet",): ("layers", "average", "flatten", "classifier"),
    ("shufflenet",): ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5", "average", "flatten", "fc"),
    ("regnet",): ("stem", "trunk_output", "avgpool", "flatten", "fc"),
    ("swin",): ("features", "norm", "permute", "avgpool", "flatten", "head"),
    ("resnet", "resnext", "wide_resnet"): (
        *("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "flatten", "fc"),
    ),
}


def build(model: config.Model, image_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """The network that ``model`` names, initialised from torch's default generator.

    Args:
        image_shape: channels, height, width; the network maps [batch, channels, height, width] to [batch, classes].

    Raises:
        ConfigError: the model cannot take such images, or is no torchvision classifier that is sequential at the top.
    """
    entries: Iterable[nn.Module]
    match model:
        case config.ResNet():
            entries = _resnet(model, image_shape[0], classes)
        case config.WideResNet():
            entries = _wide_resnet(model, image_shape[0], classes)
        case config.VGG():
            entries = _vgg(model, image_shape, classes)
        case config.MLP():
            entries = _mlp(model, image_shape, classes)
        case config.ViT():
            entries = _vit(model, image_shape, classes)
        case config.Torchvision():
            entries = _torchvision(model.architecture, image_shape, classes)
    return nn.Sequential(*entries)


class Branch(nn.Module):
    """The first half of a residual block with a parameter-free shortcut (He et al. 2016, option A).

    [batch, inputs, height, width] to features [batch, outputs, height / stride, width / stride], and the shortcut,
    which is the input subsampled to the same size.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = _convolution(inputs, outputs, 3, stride)
        self.norm = nn.BatchNorm2d(outputs)
        self.stride = stride

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = F.relu(self.norm(self.conv(images)), inplace=True)
        # A window of one pixel subsamples, into a tensor that is dense and can be sent.
        return features, images if self.stride == 1 else F.avg_pool2d(images, 1, self.stride)


class Sum(nn.Module):
    """The second half: features [batch, channels, height, width] and their shortcut, padded with zeros, are summed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _convolution(channels, channels, 3)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, halves: tuple[Tensor, Tensor]) -> Tensor:
        features, shortcut = halves
        features = self.norm(self.conv(features))
        added = features.shape[1] - shortcut.shape[1]
        if added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, added // 2, added - added // 2))
        return F.relu(features.add_(shortcut), inplace=True)


class PreActivationBranch(nn.Module):
    """The first half of a block with norm and ReLU before each 3 x 3 convolution (Zagoruyko and Komodakis 2016).

    [batch, inputs, height, width] to features [batch, outputs, height / stride, width / stride], and the shortcut, a
    1 x 1 convolution where shapes change.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = _convolution(inputs, outputs, 3, stride)
        changes = stride > 1 or inputs != outputs
        self.shortcut = _convolution(inputs, outputs, 1, stride) if changes else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        active = F.relu(self.norm(images), inplace=True)
        return self.conv(active), images if self.shortcut is None else self.shortcut(active)


class PreActivationSum(nn.Module):
    """The second half: features and their shortcut, both [batch, channels, height, width], to their sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = _convolution(channels, channels, 3)

    def forward(self, halves: tuple[Tensor, Tensor]) -> Tensor:
        features, shortcut = halves
        result: Tensor = self.conv(F.relu(self.norm(features), inplace=True))
        return result.add_(shortcut)


class PatchEmbedding(nn.Module):
    """[batch, channels, height, width] to tokens [batch, patches, dim], with learned positions in place of a bias."""

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
        self.query_key_value = _linear(dim, 3 * dim)
        self.project = _linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, patches, dim = tokens.shape
        projected = self.query_key_value(self.norm(tokens)).view(batch, patches, 3, self.heads, dim // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, patches, dim)
        result: Tensor = tokens + self.project(attended)
        return result


class FeedForward(nn.Module):
    """The second half: two linear layers after a layer norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(_linear(dim, 4 * dim), nn.GELU(), _linear(4 * dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = tokens + self.mlp(self.norm(tokens))
        return result


class TokenHead(nn.Module):
    """Tokens [batch, patches, dim] to scores [batch, classes], of their mean."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear = _linear(dim, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.linear(self.norm(tokens).mean(1))
        return scores


def _resnet(model: config.ResNet, channels: int, classes: int) -> Iterator[nn.Module]:
    inputs = model.width
    yield _convolution_entry(channels, inputs)
    for outputs in (model.width, 2 * model.width, 4 * model.width):
        for _ in range((model.depth - 2) // 6):
            # The width doubles exactly where the side halves.
            yield Branch(inputs, outputs, stride=2 if outputs > inputs else 1)
            yield Sum(outputs)
            inputs = outputs
    yield nn.Sequential(*_head(inputs, classes))


def _wide_resnet(model: config.WideResNet, channels: int, classes: int) -> Iterator[nn.Module]:
    inputs = 16
    yield _convolution(channels, inputs, 3)
    for group, width in enumerate((16, 32, 64)):
        for block in range((model.depth - 4) // 6):
            outputs = width * model.widen
            yield PreActivationBranch(inputs, outputs, stride=2 if group and not block else 1)
            yield PreActivationSum(outputs)
            inputs = outputs
    yield nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), *_head(inputs, classes))


def _vgg(model: config.VGG, image_shape: tuple[int, int, int], classes: int) -> Iterator[nn.Module]:
    inputs, side = image_shape[0], min(image_shape[1:])
    for convolutions, outputs in zip(VGG_GROUPS[model.depth], VGG_WIDTHS, strict=True):
        for convolution in range(convolutions):
            entry = _convolution_entry(inputs, outputs)
            if convolution == convolutions - 1 and side > 1:
                entry.append(nn.MaxPool2d(2))
                side //= 2
            yield entry
            inputs = outputs
    yield nn.Sequential(*_head(inputs, classes))


def _mlp(model: config.MLP, image_shape: tuple[int, int, int], classes: int) -> Iterator[nn.Module]:
    channels, height, width = image_shape
    yield nn.Sequential(nn.Flatten(), _linear(channels * height * width, model.hidden, 2), nn.ReLU(inplace=True))
    for _ in range(model.layers - 1):
        yield nn.Sequential(_linear(model.hidden, model.hidden, 2), nn.ReLU(inplace=True))
    yield _linear(model.hidden, classes)


def _vit(model: config.ViT, image_shape: tuple[int, int, int], classes: int) -> Iterator[nn.Module]:
    channels, height, width = image_shape
    for side in (height, width):
        if side % model.patch:
            raise ConfigError(f"model.patch={model.patch}: must divide the image side {side}")
    yield PatchEmbedding(channels, model.patch, (height // model.patch) * (width // model.patch), model.dim)
    for _ in range(model.depth):
        yield Attention(model.dim, model.heads)
        yield FeedForward(model.dim)
    yield TokenHead(model.dim, classes)


def _torchvision(architecture: str, image_shape: tuple[int, int, int], classes: int) -> list[nn.Module]:
    """Torchvision's own network and initialisation; its dropout and stochastic depth draw from torch's generator."""
    import torchvision.models as zoo  # 2.8 s, for this model alone

    if architecture not in zoo.list_models(module=zoo):
        raise ConfigError(f"model.architecture={architecture!r}: torchvision has no such classifier")
    tops = [top for prefixes, top in TORCHVISION_TOPS.items() if architecture.startswith(prefixes)]
    if not tops:
        families = ", ".join(sorted(prefix for prefixes in TORCHVISION_TOPS for prefix in prefixes))
        raise ConfigError(f"model.architecture={architecture!r}: is not sequential at the top; allowed are {families}")
    channels, height, width = image_shape
    if channels != 3:
        raise ConfigError(f"model.architecture={architecture!r}: takes images of 3 channels; the data has {channels}")
    network = zoo.get_model(architecture, weights=None, num_classes=classes)
    functions = {"average": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "relu": nn.ReLU(inplace=True)}
    entries = _entries(getattr(network, name, None) or functions[name] for name in tops[0])
    try:
        with torch.no_grad():
            nn.Sequential(*entries).eval()(torch.zeros(1, *image_shape))
    except RuntimeError:
        message = f"model.architecture={architecture!r}: cannot take images of {height} x {width} pixels"
        raise ConfigError(f"{message}; it needs larger ones") from None
    return [entry.train() for entry in entries]


def _entries(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Group modules so that each entry opens with a convolution, a linear layer or a block.

    Norms, activations (in place in torchvision) and pools thus share the entry whose output they work on.
    """
    groups: list[list[nn.Module]] = []
    for module in chain.from_iterable(map(_unnested, modules)):
        opens = isinstance(module, nn.Conv2d | nn.Linear) or any(True for _ in module.children())
        if opens or not groups:
            groups.append([])
        groups[-1].append(module)
    return [nn.Sequential(*group) for group in groups]


def _unnested(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for child in module:
            yield from _unnested(child)
    else:
        yield module


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Without bias, for the norm beside it has one; initialised after He et al. 2015."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _convolution_entry(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_convolution(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _linear(inputs: int, outputs: int, gain: float = 1) -> nn.Linear:
    """Weights of variance gain / inputs, which keeps the scale (2 where a ReLU follows: He et al. 2015)."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=(gain / inputs) ** 0.5)
    nn.init.zeros_(linear.bias)
    return linear


def _head(channels: int, classes: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), _linear(channels, classes)
