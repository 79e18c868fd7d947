"""Every network: the published size, flat, trainable entry by entry, and never writing to an entry's input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import Tensor, nn

from bench.choice import choices
from bench.keys import ConfigError
from bench.task.model.contract import Model
from bench.task.model.mlp import MLP
from bench.task.model.resnet import ResNet
from bench.task.model.torchvision import Torchvision
from bench.task.model.vgg import VGG
from bench.task.model.vit import ViT
from bench.task.model.wide_resnet import WideResNet
from bench.task.tensors import Tensors, every, together
from tests import tiny
from tests.designs import in_full

CIFAR_SHAPE = (3, 32, 32)
GROUPS = Path(__file__).parents[1] / "conf" / "model"

# Small enough to run in moments, each with every kind of entry: (model, image shape, entries).
SMALL: list[tuple[Model, tuple[int, int, int], int]] = [
    (ResNet(8, 4), (3, 9, 9), 14),
    (ResNet(14, 4), (1, 8, 8), 26),
    (WideResNet(10, 1), (3, 8, 8), 14),
    (VGG(11), (1, 8, 8), 9),
    (MLP(16, 3), (1, 8, 8), 4),
    (MLP(16, 1), (3, 4, 6), 2),
    (ViT(4, 16, 2, 4), (3, 8, 12), 6),
]
MODELS = [(model, shape) for model, shape, _ in SMALL]
TORCHVISION = ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5"]
TORCHVISION += ["regnet_y_400mf", "densenet121", "swin_t", "convnext_tiny", "efficientnet_b0"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def images(shape: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, *shape, dtype=dtype)


def assert_entries_are_pieces(network: nn.Sequential, batch: Tensor) -> Tensor:
    """Run entry by entry, each on a leaf as an agent does; the chained gradients must be those of the whole network."""
    whole_input = batch.clone().requires_grad_()
    whole: Tensor = network(whole_input)
    torch.autograd.backward((whole**2).sum())
    expected = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()

    leaves: list[tuple[Tensor, ...]] = []
    outputs: list[tuple[Tensor, ...]] = []
    message: tuple[Tensor, ...] = (batch,)
    for entry in network:
        leaf = tuple(part.detach().clone().requires_grad_() for part in message)
        before = [part.detach().clone() for part in leaf]
        output = every(entry(together(leaf)))
        for part, given in zip(message, before, strict=True):
            assert torch.equal(part.detach(), given), "an entry wrote to the message that it was given"
        for part, given in zip(leaf, before, strict=True):
            assert torch.equal(part.detach(), given), "an entry wrote to its input"
        leaves.append(leaf)
        outputs.append(output)
        message = output
    assert torch.equal(message[0], whole)
    gradients = torch.autograd.grad((outputs[-1][0] ** 2).sum(), outputs[-1], retain_graph=True)
    for leaf, output in zip(reversed(leaves), reversed(outputs), strict=True):
        torch.autograd.backward(output, gradients)
        gradients = tuple(part.grad for part in leaf if part.grad is not None)
        assert len(gradients) == len(leaf)
    assert whole_input.grad is not None
    torch.testing.assert_close(gradients[0], whole_input.grad)
    for (name, parameter), wanted in zip(network.named_parameters(), expected, strict=True):
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, wanted, msg=name)
    return whole


@pytest.mark.parametrize(("model", "shape", "entries"), SMALL)
@pytest.mark.parametrize("channels_last", [False, True])
def test_entries_compose_to_the_network(
    model: Model, shape: tuple[int, int, int], entries: int, channels_last: bool
) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = tiny.network_of(model, shape, 7).double().to(memory_format=layout)
    assert len(network) == entries
    batch = images(shape, torch.float64).to(memory_format=layout)
    assert assert_entries_are_pieces(network, batch).shape == (3, 7)


@pytest.mark.parametrize(("model", "shape"), MODELS)
def test_messages_are_dense(model: Model, shape: tuple[int, int, int]) -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        network = tiny.network_of(model, shape, 7).to(memory_format=layout)
        message: Tensors = images(shape).to(memory_format=layout)
        for entry in network:
            message = entry(message)
            for part in every(message):
                nhwc = part.dim() == 4 and part.is_contiguous(memory_format=torch.channels_last)
                assert nhwc or part.is_contiguous()


@pytest.mark.parametrize(("model", "shape"), MODELS)
def test_bfloat16_autocast_trains(model: Model, shape: tuple[int, int, int]) -> None:
    network = tiny.network_of(model, shape, 7).to(memory_format=torch.channels_last)
    batch = images(shape).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        scores = network(batch)
    torch.autograd.backward(scores.float().logsumexp(1).sum())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    network.eval()
    with torch.no_grad():
        exact = network(batch)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(batch)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1 * exact.abs().max().item())


@pytest.mark.parametrize(("model", "shape"), [*MODELS[1:3], *MODELS[4:5], *MODELS[6:]])
def test_initialisation_follows_the_seed(model: Model, shape: tuple[int, int, int]) -> None:
    def weights(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return list(tiny.network_of(model, shape, 7).parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(1), weights(2), strict=True))


@pytest.mark.parametrize(
    ("model", "expected", "entries"),
    [
        # He et al. 2016: 0.27 M and 0.85 M. With option B's 1 x 1 shortcuts ResNet-20 would have 272,474.
        (ResNet(20, 16), 269_722, 38),
        (ResNet(56, 16), 853_018, 110),
        # Zagoruyko and Komodakis 2016: 36.5 M and 2.7 M.
        (WideResNet(28, 10), 36_479_194, 50),
        (WideResNet(16, 4), 2_748_890, 26),
        # VGG's convolutions, the scale and shift of their norms, and one linear layer.
        (VGG(11), 9_217_728 + 2 * 2752 + 5130, 9),
        (VGG(16), 14_710_464 + 2 * 4224 + 5130, 14),
        (MLP(256, 4), 3072 * 256 + 256 + 3 * (256 * 256 + 256) + 2570, 5),
        (ViT(4, 64, 4, 4), 48 * 64 + 64 * 64 + 4 * (12 * 64 * 64 + 13 * 64) + 2 * 64 + 650, 10),
    ],
)
def test_published_sizes(model: Model, expected: int, entries: int) -> None:
    with torch.device("meta"):
        network = tiny.network_of(model, CIFAR_SHAPE, 10)
    assert parameters(network) == expected
    assert len(network) == entries
    assert network(torch.empty(2, *CIFAR_SHAPE, device="meta")).shape == (2, 10)


def test_initial_scale_is_customary() -> None:
    network = tiny.network_of(ResNet(20, 16), CIFAR_SHAPE, 10)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            fan_out = module.out_channels * 9
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()


def test_vgg_stops_pooling_at_one_pixel() -> None:
    def pools(side: int) -> int:
        with torch.device("meta"):
            modules = tiny.network_of(VGG(11), (3, side, side), 10).modules()
        return sum(isinstance(module, nn.MaxPool2d) for module in modules)

    assert [pools(side) for side in (1, 2, 3, 8, 16, 32, 64)] == [0, 1, 1, 3, 4, 5, 5]


def test_shortcut_subsamples_and_pads_with_zeros() -> None:
    network: Any = tiny.network_of(ResNet(8, 4), CIFAR_SHAPE, 10)
    branch, between, total = network[5], network[6:8], network[8]
    nn.init.zeros_(total.norm.weight)
    features = torch.rand(2, 4, 6, 6)
    assert torch.equal(branch(features)[1], features[:, :, ::2, ::2])
    result = total(between(branch(features)))
    assert torch.equal(result[:, 2:6], features[:, :, ::2, ::2])
    assert result[:, :2].eq(0).all()
    assert result[:, 6:].eq(0).all()


@pytest.mark.parametrize("shape", [(3, 32, 30), (3, 30, 32)])
def test_patch_must_divide_the_side(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=r"^model\.patch=4: must divide the image side 30$"):
        tiny.network_of(ViT(4, 16, 1, 2), shape, 10)


@pytest.mark.parametrize("architecture", [*TORCHVISION[:2], *in_full(*TORCHVISION[2:])])
def test_torchvision_is_the_same_flat(architecture: str) -> None:
    import torchvision

    shape = (3, 32, 32)
    torch.manual_seed(3)
    flat = tiny.network_of(Torchvision(architecture), shape, 7).eval()
    torch.manual_seed(3)
    original = torchvision.models.get_model(architecture, weights=None, num_classes=7).eval()
    batch = images(shape)
    with torch.no_grad():
        assert torch.equal(flat(batch), original(batch))
        message = batch
        for entry in flat:
            given = message.clone()
            result = entry(message)
            assert torch.equal(message, given), "an entry wrote to its input"
            message = result
    assert parameters(flat) == parameters(original)
    assert len(flat) >= 8
    assert flat.train()(batch).shape == (3, 7)


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small"])
def test_torchvision_entries_train_on_leaves(architecture: str) -> None:
    shape = (3, 16, 16)
    network = tiny.network_of(Torchvision(architecture), shape, 7).double()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert_entries_are_pieces(network, images(shape, torch.float64))


def test_large_torchvision_classifiers_are_flat() -> None:
    with torch.device("meta"):
        assert len(tiny.network_of(Torchvision("alexnet"), (3, 64, 64), 10)) == 8
        assert len(tiny.network_of(Torchvision("vgg11_bn"), (3, 32, 32), 10)) == 11


@pytest.mark.parametrize(
    ("architecture", "shape", "message"),
    [
        ("resnet19", CIFAR_SHAPE, "torchvision has no such classifier"),
        ("deeplabv3_resnet50", CIFAR_SHAPE, "torchvision has no such classifier"),
        ("vit_b_16", CIFAR_SHAPE, "is not sequential at the top; allowed are alexnet, convnext, "),
        ("googlenet", CIFAR_SHAPE, "is not sequential at the top"),
        ("resnet18", (1, 8, 8), "takes images of 3 channels; the data has 1"),
        ("alexnet", (3, 16, 16), "cannot take images of 16 x 16 pixels"),
    ],
)
def test_torchvision_refusals(architecture: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        tiny.network_of(Torchvision(architecture), shape, 10)
    assert str(error.value).startswith(f"model.architecture={architecture!r}: {message}")


def test_committed_groups_are_models() -> None:
    files = sorted(GROUPS.glob("*.yaml"))
    assert [file.stem for file in files] == sorted(choices(Model))
    for file in files:
        values = yaml.safe_load(file.read_text())
        values.pop("rates")
        values.pop("defaults", None)
        model: Model = TypeAdapter(Model).validate_json(json.dumps(values))
        assert model.name == file.stem
