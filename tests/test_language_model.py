"""A language model in both engines, in the baselines and by hand: the same to the bit, or to rounding."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from bench.config import RunConfig, parse
from bench.engine.numerics import Numerics
from bench.keys import ConfigError
from bench.task.build import build
from tests import tiny
from tests.both import assert_close, assert_same, both, distributed, oracle
from tests.designs import Case, covering, every_case, in_full
from tests.pool import Pool
from tests.test_every_choice import ROUNDING, counts
from tests.test_optimizers import VALUES
from tests.test_text import GPT, LANGUAGE

UPDATES = 13
TWO_LAYERS = {**GPT, "layers": 2}
MODELS = [
    TWO_LAYERS,
    {**TWO_LAYERS, "positions": "learned", "norm": "rms"},
    {**TWO_LAYERS, "dropout": 0.25},
]
CUTS: dict[int, list[int]] = {1: [], 2: [3], 3: [2, 4], 4: [1, 2, 5]}
"""Cuts of six entries: embedding, attention and MLP of two layers, head."""
CHOICES: dict[str, list[Any]] = {
    # First what costs least, which is taken where it makes no difference.
    "stages": [2, 3, 1, 4],
    "replicas": [1, 2],
    "staleness": [0, 1, 2],
    "weights": ["stashed", "latest", "recomputed"],
    "optimizer": [VALUES[name] for name in ("sgd", "adamw", "nadamw", "lion", "muon", "soap")],
    "model": MODELS,
    "precision": ["float64", "float32", "bfloat16"],
}
GRIDS = list(product(CHOICES["stages"], CHOICES["replicas"]))


def run_of(case: Case) -> RunConfig:
    """Ten updates and then three, with a flush between, of the same 4 windows a tick whatever the grid."""
    stages, replicas = case.get("stages", 1), case.get("replicas", 1)
    changes = {"stages": stages, "replicas": replicas, "partition": CUTS[stages], "batch_size": 4 // replicas}
    values = {"model": TWO_LAYERS, "data": {**LANGUAGE, "length": 340}, "max_steps": UPDATES, "epochs": 2}
    return tiny.config(**{**values, **changes, **case})


def possible(case: Case) -> bool:
    return counts(case, run_of)


def check(pool: Pool, runs: list[RunConfig]) -> None:
    for run, (ran, expected) in zip(runs, both(pool, runs), strict=True):
        assert ran.epochs[-1]["step"] == expected.epochs[-1]["step"] == UPDATES
        assert_same(ran.state, expected.state, str(run.resolved()))
        for name in ("loss/train", "loss/test", "excess/test", "bits_per_character/test"):
            assert ran.metrics[name] == pytest.approx(expected.metrics[name], rel=ROUNDING[run.precision])


@pytest.fixture(scope="module")
def design() -> list[Case]:
    return covering(CHOICES, possible)


# --------------------------------------------------------------------------------------------------- the two engines
@pytest.mark.parametrize("grid", [*GRIDS[:-1], *in_full((GRIDS[-1],))], ids=str)
def test_both_engines_train_it_alike_pair_by_pair(pool: Pool, design: list[Case], grid: tuple[int, int]) -> None:
    """Any two of grid, staleness, weights, optimizer, model and precision meet."""
    cases = [case for case in design if (case["stages"], case["replicas"]) == grid]
    assert cases
    check(pool, [run_of(case) for case in cases])


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_both_engines_train_it_alike_in_full(pool: Pool, grid: tuple[int, int]) -> None:
    """Every optimizer by every staleness and mode, exact in float64."""
    narrowed = {**CHOICES, "model": MODELS[:1], "precision": ["float64"]}
    cases = [case for case in every_case(narrowed, possible) if (case["stages"], case["replicas"]) == grid]
    check(pool, [run_of(case) for case in cases])


# ------------------------------------------------------------------------------------------------------------ by hand
def plainly(run: RunConfig) -> nn.Sequential:
    """The unsplit network after the run's updates, by torch's SGD and a loop that anybody would write."""
    dataset, numerics = tiny.dataset_of(run), Numerics.of(run, torch.device("cpu"))
    torch.manual_seed(run.seed)
    network = numerics.place(build(run.model, dataset))
    keys = {key: value for key, value in VALUES["sgd"].items() if key not in ("name", "decayed")}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0, **keys)
    shards = [
        tiny.batches_of(dataset, seed=run.seed, batch_size=run.batch_size, replica=replica, replicas=run.replicas)
        for replica in range(run.replicas)
    ]
    for step in range(UPDATES):
        place = divmod(step, shards[0].batches)
        optimizer.zero_grad()
        inputs, targets = (torch.cat([part(*place) for part in parts]) for parts in _parts(shards))
        torch.autograd.backward(nn.functional.cross_entropy(network(inputs).flatten(0, 1), targets.flatten()))
        for group in optimizer.param_groups:
            group["lr"] = run.lr.rate(step, UPDATES, shards[0].batches)
        optimizer.step()
    return network


def arrays(network: nn.Sequential) -> dict[str, Any]:
    return {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}


def _parts(shards: list[Any]) -> list[list[Any]]:
    return [[shard.inputs for shard in shards], [shard.targets for shard in shards]]


@pytest.mark.parametrize("model", MODELS[:2], ids=["rotary", "learned"])
@pytest.mark.parametrize(("stages", "replicas"), [(1, 1), (3, 2)])
def test_without_delay_it_is_the_unsplit_network(stages: int, replicas: int, model: dict[str, Any]) -> None:
    run = run_of({"stages": stages, "replicas": replicas, "optimizer": VALUES["sgd"], "model": model})
    assert_close(oracle(run).state, arrays(plainly(run)))


def test_a_tied_weight_is_one(pool: Pool) -> None:
    """The embedding's gradient and the head's add up, in both engines and by hand; over two stages it is refused."""
    run = run_of({"optimizer": VALUES["sgd"], "model": {**TWO_LAYERS, "tied": True}, "replicas": 2})
    ((ran, expected),) = both(pool, [run])
    assert_same(ran.state, expected.state)
    assert_close(ran.state, arrays(plainly(run)))
    for method in ("decoupled", "1f1b"):
        with pytest.raises(ConfigError, match=r"^model=gpt tied=true needs stages=1, not stages=2: its embedding and"):
            run_of({"model": {**TWO_LAYERS, "tied": True}, "stages": 2, "method": method, "microbatches": 2})


# ------------------------------------------------------------------------------------------------------- the baselines
@pytest.mark.parametrize("replicas", [2, *in_full(1)])
def test_every_pipeline_makes_the_update_of_the_unsplit_network(pool: Pool, replicas: int) -> None:
    cuts = {"gpipe": [3], "1f1b": [3], "interleaved_1f1b": [1, 3, 5], "zero_bubble": [1, 3, 5]}
    common = {"stages": 2, "replicas": replicas, "microbatches": 2, "optimizer": VALUES["sgd"]}
    runs = [run_of({**common, "method": method, "partition": cut}) for method, cut in cuts.items()]
    expected = arrays(plainly(runs[0]))
    for ran in distributed(pool, runs):
        assert_close(ran.state, expected, 1e-11)


def test_data_parallelism_makes_it_too(pool: Pool) -> None:
    run = run_of({"replicas": 2, "method": "ddp", "optimizer": VALUES["sgd"]})
    assert_close(distributed(pool, [run])[0].state, arrays(plainly(run)))


# ------------------------------------------------------------------------------------------------------ what is refused
def test_a_model_takes_what_the_data_has() -> None:
    values = run_of({}).resolved()
    with pytest.raises(ConfigError) as error:
        parse({**values, "data": tiny.VALUES["data"]})
    assert str(error.value) == (
        "model=gpt takes tokens, and data=synthetic has images; allowed are data=text, markov with this model, or "
        "model=resnet, wide_resnet, vgg, mlp, vit, torchvision with this data"
    )
    with pytest.raises(ConfigError, match=r"^model=resnet takes images, and data=markov has tokens; allowed are "):
        parse({**values, "model": tiny.VALUES["model"]})


# ----------------------------------------------------------------------------------------------------------- precision
def test_losses_and_norms_are_of_float32_under_bfloat16() -> None:
    """The products alone are of bfloat16: what a norm takes and gives, the loss, and every gradient of a weight."""
    run = run_of({"precision": "bfloat16"})
    dataset, numerics = tiny.dataset_of(run), Numerics.of(run, torch.device("cpu"))
    network, batches = numerics.place(build(run.model, dataset)), tiny.batches_of(dataset, seed=0, batch_size=4)
    seen: dict[str, set[torch.dtype]] = {"norm": set(), "product": set()}
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(lambda _, x, y: seen["norm"].update([x[0].dtype, y.dtype]))
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, x, y: seen["product"].update([y.dtype]))  # noqa: ARG005
    loss = numerics.loss(numerics.apply(network, batches.inputs(0, 0)), batches.targets(0, 0))
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    assert seen == {"norm": {torch.float32}, "product": {torch.bfloat16}}
    assert {loss.dtype, *(gradient.dtype for gradient in gradients)} == {torch.float32}
