"""What an agent holds: predicted bytes worked by hand, and against what real agents held."""

from __future__ import annotations

import gc
import mmap
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.distributed import Store

from bench.config import RunConfig
from bench.engine.numerics import Numerics
from bench.engine.profile import profile
from bench.engine.train import train
from bench.plan.clock import Clock
from bench.plan.footprint import HOLES, PASSING, Footprint, LayerBytes
from bench.system import resident
from bench.task.classification import IMAGES
from bench.task.model.gpt import GPT
from tests import tiny
from tests.designs import in_full
from tests.pool import Pool, joined
from tests.test_optimizers import VALUES
from tests.test_text import GPT as GPT_VALUES
from tests.test_text import LANGUAGE

CPU = torch.device("cpu")
NUMERICS = Numerics(CPU, torch.float32, autocast=False, channels_last=False, task=IMAGES)
MIB = 1 << 20

# ------------------------------------------------------------------------------------------------------- worked by hand
FIRST, SECOND = LayerBytes(parameters=10, saved=100, largest=50), LayerBytes(parameters=20, saved=60, largest=40)
AGENT = Footprint(
    [FIRST, SECOND],
    input=8,
    incoming=4,
    slots=7,
    versions=3,
    states=1,
    scratch=1,
    begun=0,
    in_flight=3,
    recomputed=False,
)


def test_what_stays_are_versions_gradient_and_states() -> None:
    """Three versions, the gradient and momentum, of 30 bytes each."""
    assert AGENT.standing == (3 + 1 + 1) * 30


def test_the_worst_moment_is_the_backward_of_the_last_layer() -> None:
    """Three batches of 8 + 160 and a gradient of 4: 508. Layer 1: 20 of gradients and 4 * 40; layer 0: 30 of gradients
    and 4 * 50, without the 60 that layer 1 had saved. 688 against 678, and 30 for a copy of the weights."""
    assert PASSING == 4
    assert AGENT.batch == 168
    assert AGENT.passing == 688 + 30


def test_the_worst_moment_is_the_backward_of_the_first_layer() -> None:
    """Layer 1 had saved but 20: a batch is 8 + 120, and 3 * 128 + 4 = 388. 388 + 20 + 160 against 388 + 230 - 20."""
    agent = replace(AGENT, layers=[FIRST, SECOND._replace(saved=20)])
    assert agent.passing == 598 + 30


def test_recomputation_keeps_inputs_alone() -> None:
    """Three inputs of 8, what one batch saves (160) and a gradient of 4: 188, and layer 1's 180."""
    agent = replace(AGENT, recomputed=True, versions=1)
    assert agent.batch == 8
    assert agent.passing == 188 + 180 + 30
    assert agent.standing == (1 + 1 + 1) * 30


def test_the_peak_adds_up() -> None:
    assert AGENT.peak(1000) == 1000 + 150 + 7 + round((1 + HOLES) * 718)


def test_an_agent_without_layers_that_learn_holds_its_messages() -> None:
    agent = replace(AGENT, layers=[LayerBytes(saved=8, largest=8)], in_flight=1)
    assert (agent.standing, agent.passing) == (0, 8 + 8 + 4 + 32)


@pytest.mark.parametrize(("staleness", "replicas", "expected"), [(0, 1, 1), (1, 2, 3), (2, 1, 5), (2, 2, 4)])
def test_batches_in_flight(staleness: int, replicas: int, expected: int) -> None:
    """The stage is the first of three. Where the backward comes first, the tick's forward is not in flight yet."""
    clock = Clock(3, staleness, 20)
    assert clock.in_flight(0, replicas) == expected
    for tick in range(8, 18):
        forward, backward = clock.forward(0, tick), clock.backward(0, tick)
        assert forward is not None
        assert backward is not None
        assert forward - backward + (1 if clock.forward_first(0, replicas) else 0) == expected


# ------------------------------------------------------------------------------------------------------ what is counted
def test_a_layer_holds_what_autograd_saves_and_its_output() -> None:
    """Images of 4 x 3 x 8 x 8. The first layer saves its convolution's output (the norm's input) and the norm's, which
    ReLU writes over, and 2 x 5 statistics; the second its own input, which is the first one's, and its output."""
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Flatten(), nn.Linear(320, 2)),
    )
    images = torch.randn(4, 3, 8, 8)
    first, second = (layer.held for layer in profile(network, images, torch.empty(0), NUMERICS, "given"))
    features = 4 * 4 * 5 * 64
    assert first.parameters == 4 * (5 * 3 * 9 + 2 * 5)
    assert first.largest == features
    assert 2 * features <= first.saved <= 2 * features + 100
    assert second == LayerBytes(4 * (320 * 2 + 2), 4 * 4 * 2, features)


def test_a_weight_of_two_layers_is_there_once() -> None:
    """A tied GPT: the embedding has the weight [5, 8], its head but a norm's gain and bias."""
    model = GPT(1, 8, 2, 6, 4, "layer", "rotary", True, 0.0)
    network = nn.Sequential(*model.entries((6,), 5))
    layers = profile(network, torch.zeros(2, 6, dtype=torch.int64), torch.empty(0), NUMERICS, "given")
    assert [layer.held.parameters // 4 for layer in layers] == [5 * 8, 4 * 8**2 + 16, 8 * 8**2 + 16, 16]
    assert sum(layer.held.parameters for layer in layers) == sum(p.nbytes for p in network.parameters())


class Noting(nn.Module):
    """Hands on what autograd saves, and notes it."""

    outputs: ClassVar[list[weakref.ref[Tensor]]] = []

    def forward(self, images: Tensor) -> Tensor:
        output = images.exp()
        self.outputs.append(weakref.ref(output))
        return output


def test_a_profile_leaves_nothing_behind() -> None:
    """A hook that keeps an output keeps its graph: a cycle, and the memory of the whole network."""
    network = nn.Sequential(nn.Linear(4, 4), Noting())
    gc.disable()
    try:
        profile(network, torch.randn(8, 4), torch.empty(0), NUMERICS, "given")
        assert [output() for output in Noting.outputs] == [None]
    finally:
        gc.enable()


@contextmanager
def resident_bytes(size: int) -> Iterator[None]:
    """Memory straight from the system, which malloc can neither keep nor have kept."""
    with mmap.mmap(-1, size) as memory:
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
        yield


def test_a_peak_can_be_forgotten() -> None:
    if not resident.MARKS.exists():
        pytest.skip("the system does not forget")
    with resident_bytes(64 * MIB):
        pass
    high = resident.peak_memory(CPU)
    resident.forget_peak(CPU)
    low = resident.peak_memory(CPU)
    assert low < high - 60 * MIB
    with resident_bytes(32 * MIB):
        pass
    assert resident.peak_memory(CPU) > low + 30 * MIB


def test_what_is_resident_is_told_where_the_system_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resident.resident()
    assert before is not None
    assert before.own > before.files > 0
    with resident_bytes(64 * MIB):
        after = resident.resident()
    assert after is not None
    assert after.own - before.own == pytest.approx(64 * MIB, abs=4 * MIB)
    monkeypatch.setattr(resident, "STATUS", resident.STATUS / "nowhere")
    assert resident.resident() is None
    assert resident.peak_memory(CPU) > 64 * MIB


# ---------------------------------------------------------------------------------------------------------- real agents
def _agents(store: Store, run: RunConfig) -> list[dict[str, Any]]:
    with joined(run, store) as world:
        return train(run, tiny.dataset_of(run), world, lambda _: None).agents


@pytest.fixture(scope="module")
def fresh() -> Iterator[Pool]:
    """Ranks that hold nothing of other tests, whose freed memory a process keeps."""
    pool = Pool(4)
    yield pool
    pool.close()


@pytest.mark.skipif(not resident.MARKS.exists(), reason="the system does not tell peaks")
@pytest.mark.parametrize("stages", [4, *in_full(2)])
def test_the_peak_is_as_predicted(fresh: Pool, stages: int) -> None:
    """Within 10% for every agent, of ResNet-20 on 32 x 32 pixels. A batch of 64 leaves 41 MiB in the first of four
    stages, and it has seven of them in flight. Holes in the heap take some steps to come."""
    run = tiny.config(
        stages=stages,
        staleness=2,
        precision="float32",
        channels_last=True,
        batch_size=64,
        epochs=1,
        max_steps=18,
        model={"name": "resnet", "depth": 20, "width": 16},
        data={
            "name": "synthetic",
            "shape": [3, 32, 32],
            "classes": 10,
            "train_size": 1152,
            "test_size": 128,
            "validation": 0.0,
        },
    )
    measured = _as_predicted(fresh, run)
    stash = measured[0] - measured[-1]
    assert stash > 0.3 * measured[-1], "what is predicted is lost in what a process holds anyway"


@pytest.mark.full
@pytest.mark.skipif(not resident.MARKS.exists(), reason="the system does not tell peaks")
@pytest.mark.parametrize("optimizer", VALUES)
def test_the_peak_of_a_language_model_is_as_predicted(optimizer: str) -> None:
    """Within 10% for every agent, by every optimizer; the first stage holds 130 MiB more than the last."""
    run = tiny.config(
        stages=2,
        staleness=2,
        precision="float32",
        batch_size=32,
        epochs=4,
        max_steps=30,
        model={**GPT_VALUES, "layers": 4, "width": 128, "heads": 4, "context": 64, "mlp_ratio": 4},
        data={**LANGUAGE, "symbols": 30, "length": 20000, "validation": 0.0},
        optimizer=VALUES[optimizer],
    )
    pool = Pool(2)
    measured = _as_predicted(pool, run)
    pool.close()
    assert measured[0] - measured[1] > 100 * MIB


def _as_predicted(pool: Pool, run: RunConfig) -> list[int]:
    """The bytes that a run's agents held at most, which are as predicted."""
    agents = pool.run(_agents, run.stages, run)[0]
    measured = [agent["peak_memory_bytes"] for agent in agents]
    predicted = [agent["predicted_peak_memory_bytes"] for agent in agents]
    assert predicted == pytest.approx(measured, rel=0.1)
    return measured


def test_what_is_not_predicted_is_none() -> None:
    reports = [tiny.alone(tiny.config(**way, max_steps=2)) for way in ({"engine": "reference"}, {"method": "ddp"})]
    agents = [report.agents[0] for report in reports]
    assert [agent["predicted_peak_memory_bytes"] for agent in agents] == [None, None]
    assert [agent["weight_versions"] for agent in agents] == [None, 1]
    assert all(agent["peak_memory_bytes"] > MIB for agent in agents)


def test_a_runs_weights_are_handed_on_one_by_one() -> None:
    """As views of one vector, each would take all of it along through a pipe or into a file."""
    for tensor in tiny.alone(tiny.config(max_steps=2)).state.values():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
