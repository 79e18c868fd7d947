"""Each optimizer three times: on one vector, by parameter, and as a well-kept library's class, on the same weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import pytorch_optimizer
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed import Store

from bench.choice import choices, choose
from bench.config import RunConfig
from bench.engine.method.part import Part
from bench.engine.train import train
from bench.engine.weights.versions import Weights
from bench.rule.optimizer.contract import Optimizer, set_rate
from bench.rule.optimizer.layout import FlatLayout, FlatPlace, mark_ends
from bench.rule.optimizer.soap import SOAP
from tests import tiny
from tests.both import assert_close, assert_same, both, distributed, oracle
from tests.pool import Pool, joined
from tests.test_equality import arrays, configured, plain_batches, plain_network

UPDATES = 50
DECAY = 0.02
KEYS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": False},
    "adamw": {"betas": [0.9, 0.99], "eps": 1e-8},
    "nadamw": {"betas": [0.9, 0.99], "eps": 1e-8, "momentum_decay": 0.004},
    "lion": {"betas": [0.9, 0.99]},
    "muon": {"momentum": 0.9, "nesterov": True, "ns_steps": 5, "betas": [0.9, 0.99], "eps": 1e-8},
    "soap": {"betas": [0.9, 0.95], "basis_beta": 0.9, "eps": 1e-8, "refresh": 7, "refresh_power": 0.0, "largest": 20},
}
VALUES = {name: {"name": name, "weight_decay": DECAY, **keys} for name, keys in KEYS.items()}
"""Every optimizer, with weight decay."""


def optimizer(name: str, **changes: Any) -> Optimizer:
    return choose(Optimizer, {**VALUES[name], **changes})


def network() -> nn.Sequential:
    """A convolution, matrices of odd sizes, so that one begins anywhere in the vector, scales and biases; one of 24 is
    too large for a basis."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Flatten(),
        nn.Linear(24, 7),
        nn.LayerNorm(7),
        nn.Linear(7, 5, bias=False),
        nn.Linear(5, 3),
    ]
    mark_ends(layers)
    return nn.Sequential(*layers).double().to(memory_format=torch.channels_last)


def rates() -> list[float]:
    """Two updates of warm-up, then a line that ends above zero."""
    return [0.03 * min((step + 1) / 3, 1 - step / (UPDATES + 10)) for step in range(UPDATES)]


def gradients_of(module: nn.Module, step: int) -> list[Tensor]:
    """Gradients that are the same whoever asks: those of a loss have other last bits where weights lie elsewhere."""
    generator = torch.Generator().manual_seed(step)

    def drawn(parameter: Tensor) -> Tensor:
        return torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))

    with torch.no_grad():
        return [drawn(parameter).add_(parameter.sign()) for parameter in module.parameters()]


Step = Callable[[list[Tensor], float], None]


def trained(module: nn.Module, step: Step) -> list[Tensor]:
    """The weights after each update."""
    found = []
    for number, rate in enumerate(rates()):
        step(gradients_of(module, number), rate)
        found.append(torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))
    return found


def by_class(module: nn.Module, made: torch.optim.Optimizer) -> Step:
    def step(gradients: list[Tensor], rate: float) -> None:
        for parameter, gradient in zip(module.parameters(), gradients, strict=True):
            parameter.grad = gradient
        set_rate(made, rate)
        made.step()

    return step


def by_vector(module: nn.Module, choice: Optimizer, delay: int = 0) -> Step:
    layout = FlatLayout.of(module, delay)
    vector, gradient = torch.zeros(2, layout.size, dtype=torch.float64).unbind()
    for view, parameter in zip(layout.views(vector), module.parameters(), strict=True):
        view.copy_(parameter.detach())
        parameter.data = view
    flat = choice.flat(vector, layout)

    def step(gradients: list[Tensor], rate: float) -> None:
        for view, own in zip(layout.views(gradient), gradients, strict=True):
            view.copy_(own)
        flat.step(vector, gradient, rate)

    return step


def test_all_are_tried() -> None:
    assert set(KEYS) == set(choices(Optimizer))


@pytest.mark.parametrize("decayed", ["all", "matrices"])
@pytest.mark.parametrize("name", KEYS)
def test_a_vector_equals_the_parameters_bit_by_bit(name: str, decayed: str) -> None:
    choice, one, other = optimizer(name, decayed=decayed), network(), network()
    made = choice.by_parameter(list(one.parameters()), FlatLayout.of(one, 2))
    expected, found = trained(one, by_class(one, made)), trained(other, by_vector(other, choice, 2))
    assert [torch.equal(*pair) for pair in zip(expected, found, strict=True)] == [True] * UPDATES
    assert not torch.equal(found[0], found[-1])


def of_a_library(
    name: str, module: nn.Module, hidden: Sequence[nn.Parameter], decayed: str = "all"
) -> list[torch.optim.Optimizer]:
    """The classes of torch's or of pytorch_optimizer's that a script would take.

    Args:
        hidden: the matrices between the first and the last layer.
    """
    parameters = list(module.parameters())
    kept = [p for p in parameters if p.ndim < 2] if decayed == "matrices" else []
    shrunk = [p for p in parameters if not any(p is other for other in kept)]
    groups: list[dict[str, Any]] = [{"params": shrunk, "weight_decay": DECAY}, {"params": kept, "weight_decay": 0.0}]
    if name == "sgd":
        return [torch.optim.SGD(groups, lr=0.0, momentum=0.9)]
    if name == "adamw":
        return [torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99))]
    if name == "nadamw":
        return [torch.optim.NAdam(groups, lr=0.0, betas=(0.9, 0.99), decoupled_weight_decay=True)]
    if name == "lion":
        return [pytorch_optimizer.Lion(groups, lr=0.0, betas=(0.9, 0.99), weight_decouple=True)]
    if name == "soap":
        how: dict[str, Any] = {"betas": (0.9, 0.95), "shampoo_beta": 0.9, "precondition_frequency": 7}
        return [pytorch_optimizer.SOAP(groups, lr=0.0, **how, max_precondition_dim=20)]
    others = [{**group, "params": [p for p in group["params"] if all(p is not h for h in hidden)]} for group in groups]
    muon = torch.optim.Muon(list(hidden), lr=0.0, momentum=0.9, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.99))]


@pytest.mark.parametrize("decayed", ["all", "matrices"])
@pytest.mark.parametrize("name", KEYS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:pytorch_optimizer")
def test_a_vector_makes_the_updates_of_a_librarys_class(name: str, decayed: str) -> None:
    one, other = network(), network()
    parameters = list(one.parameters())
    made = of_a_library(name, one, [parameters[2], parameters[6]], decayed)
    steps = [by_class(one, each) for each in made]

    def all_steps(gradients: list[Tensor], rate: float) -> None:
        for step in steps:
            step(gradients, rate)

    expected = trained(one, all_steps)
    found = trained(other, by_vector(other, optimizer(name, decayed=decayed)))
    for update, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-14), f"update {update}"


@pytest.mark.parametrize("name", KEYS)
def test_which_weights_decay_makes_a_difference(name: str) -> None:
    one, other = network(), network()
    found = [
        trained(one, by_vector(one, optimizer(name, decayed="all")))[-1],
        trained(other, by_vector(other, optimizer(name, decayed="matrices")))[-1],
    ]
    assert not torch.equal(*found)


# --------------------------------------------------------------------------------------------------- through the engine
VIT = {"name": "vit", "patch": 4, "dim": 8, "depth": 2, "heads": 2}


def vit_run(name: str, stages: int, **changes: Any) -> RunConfig:
    """Fifty updates of a small transformer, along a cosine behind three updates of warm-up."""
    lr = {**tiny.VALUES["lr"], "name": "cosine", "gamma0": 0.01, "warmup_steps": 3}
    values: dict[str, Any] = {"model": VIT, "partition": {1: [], 2: [2], 3: [1, 4]}[stages], "epochs": 5, "lr": lr}
    return configured(stages, 1, **{**values, "optimizer": VALUES[name], **changes})


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:pytorch_optimizer")
def test_without_staleness_both_engines_make_the_updates_of_a_librarys_class(pool: Pool, name: str) -> None:
    """Those of the unsplit network, wherever it is cut."""
    plain = vit_run(name, 1, staleness=0)
    network, batches = plain_network(plain), plain_batches(plain)
    hidden = [parameter for layer in network[1:-1] for parameter in layer.parameters() if parameter.ndim == 2]
    made = of_a_library(name, network, hidden)
    for step in range(UPDATES):
        place = divmod(step, 10)
        loss = nn.functional.cross_entropy(network(batches.inputs(*place)), batches.targets(*place))
        network.zero_grad()
        torch.autograd.backward(loss)
        for each in made:
            set_rate(each, plain.lr.rate(step, UPDATES, 10))
            each.step()
    for stages in (1, 2, 3):
        run = vit_run(name, stages, staleness=0)
        assert_close(distributed(pool, [run])[0].state, arrays(network))
        assert_close(oracle(run).state, arrays(network))


@pytest.mark.parametrize("name", KEYS)
def test_both_engines_make_the_same_updates_of_stale_gradients(pool: Pool, name: str) -> None:
    ((ran, expected),) = both(pool, [vit_run(name, 3, staleness=2)])
    assert_same(ran.state, expected.state)
    assert ran.epochs[-1]["step"] == UPDATES


# --------------------------------------------------------------------------------------------------------------- layout
def test_a_layout_says_where_what_lies() -> None:
    layout = FlatLayout.of(network())
    assert [place.shape for place in layout.places] == [
        (3, 2, 3, 3),
        (3,),
        (7, 24),
        (7,),
        (7,),
        (7,),
        (5, 7),
        (3, 5),
        (3,),
    ]
    assert [place.start for place in layout.places] == [0, 54, 57, 225, 232, 239, 246, 281, 296]
    assert layout.size == 299
    assert [place.hidden for place in layout.places] == [False, False, True, False, False, False, True, False, False]
    assert layout.spans(lambda place: place.has_columns) == [slice(0, 54), slice(57, 225), slice(246, 296)]
    assert layout.places[0].stride == (18, 1, 6, 2)


def test_what_is_hidden_does_not_hang_on_the_cut() -> None:
    """The first layer of a stage is not that of the network."""
    run = tiny.config(model={"name": "mlp", "hidden": 6, "layers": 3})
    whole = tiny.network_of(run.model, (3, 8, 8), 3)
    hidden = [place.hidden for place in FlatLayout.of(whole).places]
    assert hidden == [False, False, True, False, True, False, False, False]
    for cut in range(1, len(whole)):
        parts = [place.hidden for part in (whole[:cut], whole[cut:]) for place in FlatLayout.of(part).places]
        assert parts == hidden


def test_a_vector_without_weights_has_a_layout() -> None:
    layout = FlatLayout.of(nn.Flatten())
    assert (layout.size, layout.views(torch.empty(0)), layout.spans(lambda _: True)) == (0, [], [])
    assert FlatPlace(3, (2, 2), (2, 1)).stop == 7


# ----------------------------------------------------------------------------------------------------------------- soap
@pytest.mark.parametrize(
    ("power", "delay", "interval"), [(0.0, 6, 10), (1.0, 0, 10), (1.0, 1, 5), (1.0, 2, 3), (1.0, 40, 1), (0.5, 3, 5)]
)
def test_a_stale_stage_refreshes_its_bases_more_often(power: float, delay: int, interval: int) -> None:
    choice = optimizer("soap", refresh=10, refresh_power=power)
    assert isinstance(choice, SOAP)
    assert choice.interval(delay) == interval


def test_how_often_makes_a_difference() -> None:
    found = []
    for delay in (0, 2):
        module = network()
        found.append(trained(module, by_vector(module, optimizer("soap", refresh_power=1.0), delay)))
    same = [torch.equal(*pair) for pair in zip(*found, strict=True)]
    # Seven updates apart, or two: from the first refreshing after two steps on.
    assert same.index(False) == 3


# ---------------------------------------------------------------------------------------------------------------- scale
@pytest.mark.parametrize("name", KEYS)
def test_a_wrong_scale_of_the_gradients_shows_in_the_gradients(name: str) -> None:
    """It hardly shows in the weights of most: what compares engines by weights alone would pass it over."""
    found = []
    for scale in (1.0, 2.0):
        module = network()
        step = by_vector(module, optimizer(name))
        found.append(trained(module, lambda gradients, rate: step([scale * each for each in gradients], rate)))  # noqa: B023
    distance = float((found[0][-1] - found[1][-1]).abs().max() / found[0][-1].abs().max())
    assert (distance > 0.05) == (name == "sgd")
    assert (distance > 0) == (name != "lion")


def gradients_of_workers(store: Store, run: RunConfig, scale: float) -> list[NDArray[Any]]:
    """The gradient [parameters] of each update of a stage's worker, wrong by a factor."""
    kept, collect = list[NDArray[Any]](), Weights.collect

    def collected(weights: Weights, gradients: Sequence[Tensor]) -> None:
        collect(weights, [scale * gradient for gradient in gradients])
        kept.append(weights.gradient.numpy().copy())

    with patch.object(Weights, "collect", collected), joined(run, store) as world:
        train(run, tiny.dataset_of(run), world, lambda _: None)
    return kept


def gradients_of_the_oracle(run: RunConfig) -> list[list[NDArray[Any]]]:
    """The gradient of each update of each stage."""
    kept, step = dict[str, list[NDArray[Any]]](), Part.step

    def stepped(part: Part, batch: int, rate: float) -> None:
        gradients = [parameter.grad for parameter in part.parameters.values()]
        whole = torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
        kept.setdefault(next(iter(part.parameters)), []).append(whole.numpy().copy())
        step(part, batch, rate)

    with patch.object(Part, "step", stepped):
        oracle(run)
    return [kept[first] for first in sorted(kept)]  # the last stage begins


@pytest.mark.parametrize("name", KEYS)
def test_the_engines_gradients_are_compared_too(pool: Pool, name: str) -> None:
    """A scale that is planted is seen, by its very factor, whatever the optimizer makes of it."""
    run = vit_run(name, 2, staleness=2, max_steps=4, epochs=1)
    expected = gradients_of_the_oracle(run)
    found = pool.run(gradients_of_workers, 2, run, 1.0)
    assert [len(stage) for stage in found] == [len(stage) for stage in expected] == [4, 4]
    for stage, its in zip(found, expected, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(stage, its, strict=True))
    planted = pool.run(gradients_of_workers, 2, run, 2.0)
    for stage, its in zip(planted, expected, strict=True):
        assert np.array_equal(stage[0], 2 * its[0])
        assert not np.array_equal(stage[0], its[0])


@pytest.mark.parametrize("name", KEYS)
def test_states_are_as_many_as_are_told(name: str) -> None:
    layout = FlatLayout.of(network())
    vector = torch.ones(layout.size, dtype=torch.float64)
    flat = optimizer(name).flat(vector, layout)
    for _ in range(2):
        flat.step(vector, torch.ones_like(vector), 0.01)
    numbers = sum(tensor.numel() for tensor in _tensors(flat.state()) if tensor.ndim)
    assert numbers == pytest.approx(flat.states * layout.size)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [tensor for part in parts for tensor in _tensors(part)]
