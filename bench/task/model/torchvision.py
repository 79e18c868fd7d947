"""``model=torchvision``: torchvision's classifiers, taken apart into layers in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from bench.keys import Text
from bench.task.dataset import Shape
from bench.task.model.contract import Model

if TYPE_CHECKING:
    from torch import nn

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


@dataclass(frozen=True)
class Torchvision(Model):
    """Any torchvision classifier that is sequential at the top (alexnet, vgg11_bn, resnet18, mobilenet_v2, ...).

    The initialisation is torchvision's own; dropout and stochastic depth draw from torch's generator.
    """

    name: ClassVar[str] = "torchvision"
    place: ClassVar[int] = 6
    architecture: Text
    """The name that torchvision gives the network."""

    def entries(self, image_shape: Shape, classes: int) -> list[nn.Module]:
        import torch
        import torchvision.models as zoo  # 2.8 s, for this model alone
        from torch import nn

        if self.architecture not in zoo.list_models(module=zoo):
            raise ValueError(f"architecture={self.architecture!r}: torchvision has no such classifier")
        tops = [top for prefixes, top in TORCHVISION_TOPS.items() if self.architecture.startswith(prefixes)]
        if not tops:
            families = ", ".join(sorted(prefix for prefixes in TORCHVISION_TOPS for prefix in prefixes))
            raise ValueError(
                f"architecture={self.architecture!r}: is not sequential at the top; allowed are {families}"
            )
        channels, height, width = image_shape
        if channels != 3:
            raise ValueError(f"architecture={self.architecture!r}: takes images of 3 channels; the data has {channels}")
        network = zoo.get_model(self.architecture, weights=None, num_classes=classes)
        functions = {"average": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "relu": nn.ReLU(inplace=True)}
        entries = _entries(getattr(network, name, None) or functions[name] for name in tops[0])
        try:
            with torch.no_grad():
                nn.Sequential(*entries).eval()(torch.zeros(1, *image_shape))
        except RuntimeError:
            message = f"architecture={self.architecture!r}: cannot take images of {height} x {width} pixels"
            raise ValueError(f"{message}; it needs larger ones") from None
        return [entry.train() for entry in entries]


def _entries(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Group modules so that each entry opens with a convolution, a linear layer or a block.

    Norms, activations (in place in torchvision) and pools thus share the entry whose output they work on.
    """
    from torch import nn

    groups: list[list[nn.Module]] = []
    for module in chain.from_iterable(map(_unnested, modules)):
        opens = isinstance(module, nn.Conv2d | nn.Linear) or any(True for _ in module.children())
        if opens or not groups:
            groups.append([])
        groups[-1].append(module)
    return [nn.Sequential(*group) for group in groups]


def _unnested(module: nn.Module) -> Iterator[nn.Module]:
    from torch import nn

    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for child in module:
            yield from _unnested(child)
    else:
        yield module
