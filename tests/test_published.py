"""The published FDG code (Zhuang et al. 2021), its loop written out, beside the run that comes closest to it."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torch import Tensor, nn

from bench.config import RunConfig
from bench.task.batches import Batches
from bench.task.build import build
from tests import tiny
from tests.both import assert_close, oracle

BATCHES, RATE = 12, 0.05
PLAIN = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "nesterov": False}


class Module:
    """One of the K modules that the network is cut into."""

    def __init__(self, layers: nn.Module) -> None:
        self._layers, self._graphs = layers, deque[tuple[Tensor, Tensor, int]]()
        self._updates = 0
        self.ages: list[int] = []
        """The age of each batch's gradient: updates between its forward and its own update."""

    def forward(self, x: Tensor, target: Tensor | None) -> Tensor:
        """Pass a batch forward; return its output or, where there are targets, its loss."""
        x = x.detach().requires_grad_()
        output: Tensor = self._layers(x)
        output = output if target is None else nn.functional.cross_entropy(output, target)
        self._graphs.append((x, output, self._updates))
        return output

    def of_input(self) -> Tensor:
        """The gradient of the newest loss by the input."""
        x, loss, _ = self._graphs[-1]
        return torch.autograd.grad(loss, x, retain_graph=True)[0]

    def backward(self, gradient: Tensor | None) -> Tensor:
        """Pass the oldest batch backward at the weights of now, and update by it; return the gradient by the input."""
        x, output, seen = self._graphs.popleft()
        parameters = list(self._layers.parameters())
        *gradients, returned = torch.autograd.grad(output, [*parameters, x], gradient)
        for parameter, step in zip(parameters, gradients, strict=True):
            # As PyTorch 1.0 updated: a graph that holds the weight does not know.
            parameter.data.add_(step, alpha=-RATE)
        self.ages.append(self._updates - seen)
        self._updates += 1
        return returned


def train(modules: list[Module], batches: Batches) -> None:
    """Train: in a tick each module goes backward, updates, and then goes forward; what it sends arrives in the next
    tick.

    The last module sends its gradient in the tick of its forward, and makes its update in the next one.
    """
    last = len(modules) - 1
    activations: dict[tuple[int, int], Tensor] = {(0, batch): batches.inputs(0, batch) for batch in range(BATCHES)}
    gradients: dict[tuple[int, int], Tensor | None] = {}
    for tick in range(BATCHES + 2 * last + 1):
        for k, module in enumerate(modules):
            if (k, tick) in gradients:
                returned = module.backward(gradients[k, tick])
                if 0 < k < last:
                    gradients[k - 1, tick + 1] = returned
            if (k, tick) in activations:
                target = batches.targets(0, tick - k) if k == last else None
                output = module.forward(activations[k, tick], target)
                if k < last:
                    activations[k + 1, tick + 1] = output
                else:
                    gradients[k, tick + 1], gradients[k - 1, tick + 1] = None, module.of_input()


def configured(stages: int, staleness: int) -> RunConfig:
    return tiny.config(
        stages=stages,
        staleness=staleness,
        weights="latest",
        engine="reference",
        epochs=1,
        partition=list(range(1, stages)),
        model={"name": "mlp", "hidden": 8, "layers": 4},
        data={**tiny.VALUES["data"], "train_size": 4 * BATCHES},
        optimizer=PLAIN,
        lr={**tiny.VALUES["lr"], "gamma0": RATE, "warmup_steps": 0},
    )


def published(run: RunConfig) -> tuple[nn.Module, list[list[int]]]:
    """The network that the published loop trains, cut as a run's, and each module's ages."""
    torch.manual_seed(run.seed)
    dataset = tiny.dataset_of(run)
    network = build(run.model, dataset).double()
    spans = [slice(k, k + 1 if k < run.stages - 1 else None) for k in range(run.stages)]
    modules = [Module(network[span]) for span in spans]
    train(modules, tiny.batches_of(dataset, seed=run.seed, batch_size=run.batch_size, dtype=torch.float64))
    return network, [module.ages for module in modules]


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_its_gradients_are_an_odd_number_of_updates_old(stages: int) -> None:
    """The age is 2 (K-1-k) - 1 once the modules are full, and 0 in the last one: no multiple of K-1-k, but at K=2."""
    _, ages = published(configured(stages, 1))
    behind = [stages - 1 - k for k in range(stages)]
    assert [module[-1] for module in ages] == [max(2 * steps - 1, 0) for steps in behind]
    assert all(len(module) == BATCHES for module in ages)


def test_at_two_stages_it_is_staleness_1_at_the_latest_weights() -> None:
    run = configured(2, 1)
    network, _ = published(run)
    expected = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    assert_close(oracle(run).state, expected, 1e-14)
    for other in (configured(2, 2), configured(2, 0)):
        with pytest.raises(AssertionError):
            assert_close(oracle(other).state, expected, 1e-6)
