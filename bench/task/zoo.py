"""Torchvision's classifiers, taken apart into layers in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import nn

from bench.choice import ConfigError

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


def torchvision_entries(architecture: str, image_shape: tuple[int, int, int], classes: int) -> list[nn.Module]:
    """Take torchvision's own network apart, as initialised; dropout and stochastic depth draw from torch's
    generator."""
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
