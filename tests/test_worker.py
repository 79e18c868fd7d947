"""The worker's parts: weight versions, messages, profile, random numbers, and the staleness that it counts."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.engine.meter import Meter
from bench.engine.method.agent import Cut
from bench.engine.method.decoupled import Stage
from bench.engine.numerics import Numerics, seed_stage
from bench.engine.profile import profile
from bench.engine.transport.message import Layout, Message, flat
from bench.engine.weights.versions import Weights
from bench.engine.world import World
from bench.plan.clock import Clock
from bench.plan.footprint import LayerBytes
from bench.plan.grid import Grid
from bench.plan.partition import cut
from bench.task.classification import IMAGES
from bench.task.model.resnet import ResNet
from tests import tiny
from tests.both import Ran, both
from tests.designs import in_full
from tests.pool import Pool
from tests.test_equality import configured, plain_batches, small_network

CPU = torch.device("cpu")
NUMERICS = Numerics(CPU, torch.float64, autocast=False, channels_last=False, task=IMAGES)


# ------------------------------------------------------------------------------------------------------------- versions
def scale(weight: float) -> nn.Linear:
    """A module that multiplies by its one weight."""
    module = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(module.weight, weight)
    return module


def test_versions_take_turns_in_a_ring() -> None:
    weights = Weights(scale(0), 3)
    modules = []
    for version in range(7):
        assert weights.version == version
        assert weights.current.tolist() == [version]
        assert [parameter.item() for parameter in weights.module.parameters()] == [version]
        assert [parameter.item() for parameter in weights.parameters] == [version]
        modules.append(weights.module)
        weights.advance().add_(1)
    assert len({id(module) for module in modules}) == 3
    assert all(modules[version] is modules[version % 3] for version in range(7))


def test_a_version_stays_until_the_ring_comes_round() -> None:
    weights = Weights(scale(1), 3)
    first = weights.module
    for _ in range(2):
        weights.advance().add_(1)
        assert first(torch.ones(1, dtype=torch.float64)).item() == 1
    weights.advance().add_(1)
    assert first(torch.ones(1, dtype=torch.float64)).item() == 4


def test_gradients_are_collected_where_the_weights_are() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    weights = Weights(module, 2)
    gradients = [torch.full_like(parameter, number) for number, parameter in enumerate(module.parameters())]
    weights.collect(gradients)
    assert all(torch.equal(*pair) for pair in zip(weights.views(weights.gradient), gradients, strict=True))
    assert weights.gradient.tolist() == [0] * 6 + [1] * 3 + [2] * 3 + [3]


def backward_after(versions: int, updates: int) -> float:
    """The gradient of 1 * weight * weight by its input, where the weight was 3 and then doubled by every update."""
    weights = Weights(scale(3), versions)
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    y = weights.module(x)
    for _ in range(updates):
        weights.advance().mul_(2)
    return torch.autograd.grad(y, x)[0].item()


def test_a_graph_finds_the_version_that_it_was_built_at() -> None:
    assert [backward_after(4, updates) for updates in range(4)] == [3, 3, 3, 3]


def test_writing_over_a_version_that_a_graph_needs_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        backward_after(4, 4)


def test_one_version_is_updated_under_its_graphs() -> None:
    assert [backward_after(1, updates) for updates in range(4)] == [3, 6, 12, 24]


def test_versions_share_statistics_and_a_shadow_does_not() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    images = torch.randn(8, 2)
    weights = Weights(module, 2)
    one = weights.module
    weights.advance()
    other = weights.module
    assert other is not one
    pairs = list(zip(one.buffers(), other.buffers(), strict=True))
    assert pairs
    assert all(mine is theirs for mine, theirs in pairs)
    one(images)
    after_one = [buffer.clone() for buffer in other.buffers()]
    assert after_one[-1] == 1

    single = Weights(module, 1)
    shadow = single.shadow()
    before = [buffer.clone() for buffer in single.module.buffers()]
    shadow(images)
    assert all(torch.equal(*pair) for pair in zip(single.module.buffers(), before, strict=True))
    assert all(mine is theirs for mine, theirs in zip(shadow.parameters(), single.parameters, strict=True))


def test_versions_keep_channels_last_strides() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    expected = [(parameter.detach().clone(), parameter.stride()) for parameter in module.parameters()]
    assert expected[0][1] == (27, 1, 9, 3)
    weights = Weights(module, 3)
    for _ in range(3):
        for parameter, (values, stride) in zip(weights.parameters, expected, strict=True):
            assert parameter.stride() == stride
            assert torch.equal(parameter, values)
        weights.advance()


def stage_of(stages: int, staleness: int, stage: int, mode: str) -> Stage:
    """An agent that will not talk to anybody."""
    run = configured(stages, 1, staleness=staleness, weights=mode)
    end = Message.like(torch.empty(8, 1, dtype=torch.float64))
    boundaries = (end if stage > 0 else None, end if stage < stages - 1 else None)
    world = World(Grid(stages, 1), stage, CPU, "gloo")
    return Stage(run, world, NUMERICS, scale(1), boundaries, plain_batches(run), Meter(CPU))


@pytest.mark.parametrize("staleness", range(4))
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_stage_keeps_as_many_versions_as_the_clock_says(stages: int, staleness: int) -> None:
    for stage in range(stages):
        versions = Clock(stages, staleness, 10).versions(stage)
        assert len(stage_of(stages, staleness, stage, "stashed").weights._buffers) == versions
        for mode in ("latest", "recomputed"):
            assert len(stage_of(stages, staleness, stage, mode).weights._buffers) == 1


@pytest.mark.parametrize("mode", ["stashed", "latest", "recomputed"])
def test_a_stage_has_room_for_the_batches_that_there_are(mode: str) -> None:
    """Ten in a stretch, which is all that is ever in flight: from a lag of ten on, more staleness takes no more."""
    message = Message.like(torch.empty(8, 8, dtype=torch.float64))
    cut = Cut(nn.Sequential(scale(1), scale(1)), [(0, 1), (1, 2)], [message] * 3, [LayerBytes(8, 64, 64)] * 2)
    for stage in range(2):
        most, little = (stage_of(2, staleness, stage, mode).footprint(cut) for staleness in (100_000, 20))
        assert most == little
        assert most.in_flight == (1 if stage else 10)
        assert most.versions == (1 if stage or mode != "stashed" else 10)
        assert most.slots == 10 * 8 * 8


# ------------------------------------------------------------------------------------------------------------- messages
def test_a_message_packs_only_what_lies_otherwise() -> None:
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    (layout,) = Message.like(images).layouts
    assert layout.pack(images) is images
    for other in (images.contiguous(), images.double()):
        packed = layout.pack(other)
        assert (packed.shape, packed.stride(), packed.dtype) == (images.shape, images.stride(), images.dtype)
        assert torch.equal(packed, images)


def test_a_message_is_sent_as_its_storage_lies() -> None:
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    (layout,) = Message.like(images).layouts
    received = layout.empty(CPU)
    flat(received).copy_(flat(images))
    assert flat(images).is_contiguous()
    assert torch.equal(received, images)
    assert layout.bytes == flat(images).untyped_storage().nbytes() == 480


def test_a_message_of_a_cut_block_has_two_layouts() -> None:
    message = Message.like((torch.empty(2, 8, 4, 4), torch.empty(2, 4, 4, 4, dtype=torch.bfloat16)))
    assert message.layouts[1] == Layout((2, 4, 4, 4), (64, 16, 4, 1), torch.bfloat16)
    assert message.bytes == 4 * 2 * 8 * 16 + 2 * 2 * 4 * 16
    features, shortcut = message.empty(CPU)
    assert (features.shape, shortcut.dtype) == ((2, 8, 4, 4), torch.bfloat16)


# -------------------------------------------------------------------------------------------------------------- profile
def network() -> nn.Sequential:
    torch.manual_seed(0)
    run = configured(1, 1)
    return small_network(run.model, tiny.dataset_of(run)).double()


@pytest.mark.parametrize("how", ["given", "measured", "counted"])
def test_a_profile_says_what_every_layer_hands_on(how: str) -> None:
    uncut, x = network(), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    layers = profile(uncut, x, torch.zeros(4, dtype=torch.int64), NUMERICS, how)
    for name, tensor in network().state_dict().items():
        assert torch.equal(uncut.state_dict()[name], tensor), f"the walk left a trace in {name}"
    for layer, module in zip(layers, uncut, strict=True):
        x = module(x)
        assert layer.output == Message.like(x)
        assert (layer.cost == 0) == (how == "given")


def test_counted_operations_are_those_of_a_forward_and_a_backward() -> None:
    uncut = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 2)).double()
    first, second = profile(uncut, torch.randn(4, 5, dtype=torch.float64), torch.empty(0), NUMERICS, "counted")
    with FlopCounterMode(display=False) as counter:
        uncut(torch.randn(4, 5, dtype=torch.float64))
    assert counter.get_total_flops() == 2 * 4 * (5 * 7 + 7 * 2)
    assert first.cost == 2 * 2 * 4 * 5 * 7
    assert second.cost == 3 * 2 * 4 * 7 * 2


@pytest.mark.parametrize(("stages", "cuts"), [(2, [19]), (4, [9, 19, 29])])
def test_a_norm_without_operations_stays_with_its_convolution(stages: int, cuts: list[int]) -> None:
    """The committed accuracies are those of these cuts, from when a convolution and its norm were one entry."""
    network = tiny.network_of(ResNet(20, 16), (1, 8, 8), 10).double()
    layers = profile(network, torch.randn(2, 1, 8, 8, dtype=torch.float64), torch.empty(0), NUMERICS, "counted")
    assert cut([layer.cost for layer in layers], stages) == cuts


# ------------------------------------------------------------------------------------------------------- random numbers
def draw(*key: int) -> Tensor:
    seed_stage(*key)
    return torch.rand(4)


def test_random_numbers_are_keyed_by_what_is_computed() -> None:
    keys = [
        (seed, step, replica, stage) for seed in (0, 1) for step in (0, 1, 2) for replica in (0, 1) for stage in (0, 1)
    ]
    draws = {tuple(draw(*key).tolist()) for key in keys}
    assert len(draws) == len(keys)
    assert all(torch.equal(draw(*key), draw(*key)) for key in keys)


def test_any_seed_will_do() -> None:
    assert not torch.equal(draw(2**62, 10**9, 63, 7), draw(2**62 + 1, 10**9, 63, 7))


# ------------------------------------------------------------------------------------------------------------ staleness
def expected_histogram(clocks: list[Clock], stage: int) -> dict[str, int]:
    total = Counter[int]()
    for clock in clocks:
        total.update(clock.histogram(stage))
    return {str(updates): batches for updates, batches in sorted(total.items())}


def check_histograms(ran: Ran, staleness: int, stretches: list[int], replicas: int) -> None:
    clocks = [Clock(3, staleness, batches) for batches in stretches]
    assert sorted((agent["replica"], agent["stage"]) for agent in ran.agents) == [
        (replica, stage) for replica in range(replicas) for stage in range(3)
    ]
    for agent in ran.agents:
        assert agent["staleness"] == expected_histogram(clocks, agent["stage"])
    assert ran.metrics["staleness/max_updates"] == min(2 * staleness, max(stretches) - 1)


@pytest.mark.parametrize(
    ("replicas", "weights"),
    [
        (2, "stashed"),
        (1, "latest"),
        (1, "recomputed"),
        *in_full((1, "stashed"), (2, "latest"), (2, "recomputed")),
    ],
)
def test_measured_staleness_is_what_the_clock_says(pool: Pool, replicas: int, weights: str) -> None:
    """It is counted of every agent of both engines; the last stretch is shorter than the pipeline is long."""
    runs = [configured(3, replicas, staleness=c, weights=weights, max_steps=12) for c in range(4)]
    for run, answers in zip(runs, both(pool, runs, small_network), strict=True):
        for ran in answers:
            check_histograms(ran, run.staleness, [10, 2], replicas)
        ran, composite = answers
        versions = [run.staleness * (2 - agent["stage"]) + 1 if weights == "stashed" else 1 for agent in ran.agents]
        assert [agent["weight_versions"] for agent in ran.agents] == versions
        assert all(agent["weight_versions"] is None for agent in composite.agents)


# ----------------------------------------------------------------------------------------------------------- the clock
ON_THE_CLOCK = """
import sys
import bench.engine.method.decoupled
import torch

before = set(sys.modules)
x = torch.ones(2, requires_grad=True)
torch.autograd.grad(2 * x, x, torch.ones(2))
print(*sorted(set(sys.modules) - before))
"""


def test_nothing_is_left_to_import_when_the_clock_runs() -> None:
    """torch imported its symbolic shapes, a third of a second, in the first backward of every stage but the last."""
    done = subprocess.run([sys.executable, "-c", ON_THE_CLOCK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
