"""What a configuration may be, what a wrong one is told, and which configurations are one run."""

from __future__ import annotations

from typing import Any

import pytest

from bench.choice import choices
from bench.config import WITHOUT_RESULT, canonical, hash_of, parse, parse_recorded
from bench.keys import ConfigError
from bench.rule.method.contract import Method
from bench.task.model.contract import Model
from tests.tiny import VALUES, config

SGD = VALUES["optimizer"]
ADAMW = {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.0}
SYNTHETIC = VALUES["data"]
CONSTANT = VALUES["lr"]
MULTISTEP = {**CONSTANT, "name": "multistep", "milestones": [1, 2], "factor": 0.1}
POLYNOMIAL = {**CONSTANT, "name": "polynomial", "t0": 10.0, "p": 0.75}
VIT = {"name": "vit", "patch": 4, "dim": 64, "depth": 1, "heads": 4}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"stages": 0}, "stages=0: must be greater than or equal to 1"),
    ({"stages": 1.5}, "stages=1.5: must be a valid integer"),
    ({"stages": "two"}, "stages='two': must be a valid integer"),
    ({"stages": True}, "stages=True: must be a valid integer"),
    ({"stages": None}, "stages=None: must be a valid integer"),
    ({"replicas": -1}, "replicas=-1: must be greater than or equal to 1"),
    ({"staleness": -1}, "staleness=-1: must be greater than or equal to 0"),
    ({"staleness": 2.0}, "staleness=2.0: must be a valid integer"),
    ({"epochs": 0}, "epochs=0: must be greater than or equal to 1"),
    ({"max_steps": 0}, "max_steps=0: must be greater than or equal to 1"),
    ({"batch_size": "8"}, "batch_size='8': must be a valid integer"),
    ({"seed": -1}, "seed=-1: must be greater than or equal to 0"),
    ({"seed": 2**63}, f"seed={2**63}: must be less than {2**63}"),
    (
        {"method": "magic"},
        "method.name='magic': allowed are " + ", ".join(map(repr, choices(Method))),
    ),
    ({"microbatches": 0}, "microbatches=0: must be greater than or equal to 1"),
    ({"method": "ddp", "stages": 2}, "method=ddp needs stages=1, not stages=2"),
    ({"method": "gpipe", "stages": 1}, "method=gpipe needs stages=2 or more, not stages=1"),
    (
        {"method": "gpipe", "stages": 2, "engine": "reference"},
        "engine=reference is no oracle of method=gpipe, which needs engine=distributed",
    ),
    (
        {"method": "ddp", "replicas": 2, "averaging": {"name": "gossip", "graph": "ring"}},
        "method=ddp needs averaging=allreduce, not averaging=gossip",
    ),
    (
        {"method": "gpipe", "stages": 2, "batch_size": 6, "microbatches": 4},
        "batch_size=6 must be a multiple of microbatches=4",
    ),
    (
        {"method": "1f1b", "stages": 4, "microbatches": 2},
        "microbatches=2: method=1f1b needs at least stages=4",
    ),
    (
        {"method": "interleaved_1f1b", "stages": 2, "batch_size": 10, "microbatches": 5},
        "microbatches=5: method=interleaved_1f1b with stages=2 needs a multiple of 2, its rounds",
    ),
    (
        {"method": "zero_bubble", "stages": 2, "partition": [4]},
        "partition=[4] has 1 cuts; method=zero_bubble stages=2 needs 3",
    ),
    (
        {"method": "zero_bubble", "stages": 2, "device": "cuda"},
        "method=zero_bubble needs backend=gloo, not backend=auto: NCCL would have to run the messages between four "
        "pieces of two ranks in one order",
    ),
    ({"weights": "old"}, "weights='old': must be 'stashed', 'latest' or 'recomputed'"),
    ({"engine": "mpi"}, "engine='mpi': must be 'distributed' or 'reference'"),
    ({"device": "tpu"}, "device='tpu': must be 'cpu' or 'cuda'"),
    ({"precision": "float16"}, "precision='float16': must be 'float32', 'float64' or 'bfloat16'"),
    ({"channels_last": 1}, "channels_last=1: must be a valid boolean"),
    ({"backend": "mpi"}, "backend='mpi': must be 'auto', 'gloo' or 'nccl'"),
    ({"backend": "nccl"}, "backend=nccl needs device=cuda, not device=cpu"),
    ({"partition": "even"}, "partition='even': must be 'measured', 'counted' or a list of layers, e.g. [4]"),
    ({"partition": 4}, "partition=4: must be 'measured', 'counted' or a list of layers, e.g. [4]"),
    ({"partition": [0]}, "partition=[0]: must be 'measured', 'counted' or a list of layers, e.g. [4]"),
    ({"partition": [1.5]}, "partition=[1.5]: must be 'measured', 'counted' or a list of layers, e.g. [4]"),
    ({"partition": [2, 4], "stages": 2}, "partition=[2, 4] has 2 cuts; stages=2 needs 1"),
    ({"partition": [4, 2], "stages": 3}, "partition=[4, 2] must increase"),
    ({"partition": [4, 4], "stages": 3}, "partition=[4, 4] must increase"),
    (
        {"weights": "latest", "precision": "bfloat16"},
        "weights=latest needs precision=float32 or float64: under bfloat16 autocast the backward pass keeps "
        "the weights that were cast for its forward pass",
    ),
    ({"model": {"name": "resnet", "depth": 9, "width": 4}}, "model.depth=9 must be 6n + 2: 8, 14, 20, 26, ..."),
    ({"model": {"name": "wide_resnet", "depth": 12, "widen": 1}}, "model.depth=12 must be 6n + 4: 10, 16, 22, 28, ..."),
    ({"model": {"name": "vgg", "depth": 12}}, "model.depth=12: must be 11, 13, 16 or 19"),
    (
        {"model": {"name": "vgg", "depth": 11, "width": 4}},
        "model.width=4: there is no such key; did you mean model.depth? allowed are depth",
    ),
    ({"model": {"name": "vgg"}}, "model.depth: a value is missing"),
    ({"model": {"name": "mlp", "hidden": 8, "layers": 0}}, "model.layers=0: must be greater than or equal to 1"),
    ({"model": {**VIT, "heads": 5}}, "model.dim=64 must be a multiple of heads=5"),
    (
        {"model": {"name": "nonet"}},
        f"model.name='nonet': allowed are {', '.join(map(repr, choices(Model)))}",
    ),
    ({"data": {"name": "cifar10", "folder": "", "augment": True}}, "data.folder='': must have at least 1 character"),
    ({"data": {**SYNTHETIC, "shape": [3, 8]}}, "data.shape=[3, 8]: must have at least 3 items, not 2"),
    ({"data": {**SYNTHETIC, "shape": [3, 8, 0]}}, "data.shape.2=0: must be greater than or equal to 1"),
    ({"data": {**SYNTHETIC, "classes": 1}}, "data.classes=1: must be greater than or equal to 2"),
    ({"optimizer": {**SGD, "momentum": 1.0}}, "optimizer.momentum=1.0: must be less than 1"),
    ({"optimizer": {**SGD, "momentum": -0.1}}, "optimizer.momentum=-0.1: must be greater than or equal to 0"),
    ({"optimizer": {**SGD, "weight_decay": -1}}, "optimizer.weight_decay=-1: must be greater than or equal to 0"),
    (
        {"optimizer": {**SGD, "momentum": 0.0, "nesterov": True}},
        "optimizer.nesterov=True needs momentum above 0, not momentum=0.0",
    ),
    ({"optimizer": {**ADAMW, "betas": [0.9]}}, "optimizer.betas=[0.9]: must have at least 2 items, not 1"),
    ({"optimizer": {**ADAMW, "eps": 0}}, "optimizer.eps=0: must be greater than 0"),
    ({"clip": {"name": "stage", "norm": 0}}, "clip.norm=0: must be greater than 0"),
    ({"clip": {"name": "network", "norm": -1.0}}, "clip.norm=-1.0: must be greater than 0"),
    ({"clip": {"name": "stage"}}, "clip.norm: a value is missing"),
    ({"clip": {"name": "value", "norm": 1.0}}, "clip.name='value': allowed are 'none', 'stage', 'network'"),
    ({"lr": {**CONSTANT, "gamma0": float("nan")}}, "lr.gamma0=nan: must be a finite number"),
    ({"lr": {**CONSTANT, "gamma0": float("inf")}}, "lr.gamma0=inf: must be a finite number"),
    ({"lr": {**CONSTANT, "gamma0": 0}}, "lr.gamma0=0: must be greater than 0"),
    ({"lr": {**CONSTANT, "gamma0": "fast"}}, "lr.gamma0='fast': must be a valid number"),
    ({"lr": {**MULTISTEP, "milestones": [5, 3]}}, "lr.milestones=[5, 3] must increase"),
    ({"lr": {**POLYNOMIAL, "p": 0.0}}, "lr.p=0.0: must be greater than 0"),
    ({"lr": {**POLYNOMIAL, "t0": -1.0}}, "lr.t0=-1.0: must be greater than 0"),
    ({"lr": {**POLYNOMIAL, "gamma0": -0.1}}, "lr.gamma0=-0.1: must be greater than 0"),
    ({"lr": {**CONSTANT, "staleness_power": -1.0}}, "lr.staleness_power=-1.0: must be greater than or equal to 0"),
    ({"lr": {**CONSTANT, "require_convergent": 1}}, "lr.require_convergent=1: must be a valid boolean"),
    ({"lr": {**MULTISTEP, "factor": 2}}, "lr.factor=2: must be less than or equal to 1"),
    (
        {"averaging": {"name": "gossip", "graph": "star"}},
        "averaging.graph='star': must be 'ring', 'exponential' or 'complete'",
    ),
    (
        {"stagse": 2},
        f"stagse=2: there is no such key; did you mean stages? allowed are {', '.join(sorted(VALUES))}",
    ),
    (
        {"stages": 0, "epochs": 0},
        "stages=0: must be greater than or equal to 1; epochs=0: must be greater than or equal to 1",
    ),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=lambda value: str(value)[:60])
def test_a_wrong_value_is_told_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    assert str(caught.value) == message


@pytest.mark.parametrize("key", VALUES)
def test_every_key_is_needed(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({name: value for name, value in VALUES.items() if name != key})
    assert str(caught.value) == f"{key}: a value is missing"


def test_many_faults_make_a_short_message() -> None:
    with pytest.raises(ConfigError) as caught:
        config(stages=0, replicas=0, epochs=0, batch_size=0)
    assert str(caught.value).split("; ") == [
        f"{key}=0: must be greater than or equal to 1" for key in ("stages", "replicas", "epochs")
    ]


@pytest.mark.parametrize("changes", [{}, {"stages": 3, "partition": [2, 4]}, {"optimizer": ADAMW}, {"seed": 2**63 - 1}])
def test_a_resolved_configuration_parses_to_itself(changes: dict[str, Any]) -> None:
    run = config(**changes)
    assert parse(run.resolved()) == run
    assert parse(run.resolved()).hash() == run.hash()


GOSSIP = {"name": "gossip", "graph": "ring"}
BASELINE: dict[str, Any] = {"method": "gpipe", "stages": 2, "microbatches": 2}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"stages": 1, "staleness": 0}, {"stages": 1, "staleness": 5}),
        ({"stages": 1, "weights": "stashed"}, {"stages": 1, "weights": "latest", "staleness": 2}),
        ({"stages": 1, "partition": "measured"}, {"stages": 1, "partition": []}),
        ({"stages": 2, "staleness": 0}, {"stages": 2, "staleness": 0, "weights": "recomputed"}),
        ({"replicas": 1}, {"replicas": 1, "averaging": GOSSIP}),
        ({}, {"microbatches": 3}),
        ({"method": "ddp", "replicas": 2}, {"method": "ddp", "replicas": 2, "staleness": 2, "microbatches": 3}),
        ({"clip": {"name": "stage", "norm": 1.0}}, {"clip": {"name": "network", "norm": 1.0}}),
        (
            BASELINE,
            {**BASELINE, "staleness": 2, "weights": "latest", "correction": {"name": "shrink", "beta": 0.5}},
        ),
    ],
)
def test_equivalent_configurations_are_one_run(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert config(**one).hash() == config(**other).hash()


def test_an_older_record_says_how_its_run_was_kept() -> None:
    """That decided nothing: it is the same run, and is read."""
    run = config(seed=3)
    kept = {
        "tracking": {"name": "none"},
        "launcher": {"name": "basic"},
        "runs_dir": "a",
        "force": True,
        "dry_run": False,
    }
    assert kept.keys() == {*WITHOUT_RESULT}
    assert hash_of({**run.resolved(), **kept}) == run.hash()
    assert parse_recorded({**run.resolved(), **kept}) == run


def test_what_decides_the_result_names_the_run() -> None:
    pipelined: dict[str, Any] = {"stages": 2, "replicas": 2, "staleness": 2}
    changes: list[dict[str, Any]] = [
        {},
        {"stages": 3},
        {"replicas": 3},
        {"staleness": 1},
        {"weights": "latest"},
        {"engine": "reference"},
        {"averaging": GOSSIP},
        {"partition": [3]},
        {"seed": 1},
        {"max_steps": 3},
        {"flush_every": 5},
        {"precision": "float32"},
        {"clip": {"name": "stage", "norm": 1.0}},
        {"clip": {"name": "network", "norm": 1.0}},
        {"clip": {"name": "network", "norm": 2.0}},
        {"lr": {**CONSTANT, "gamma0": 0.06}},
        {"data": {**SYNTHETIC, "classes": 4}},
    ]
    hashes = [config(**{**pipelined, **change}).hash() for change in changes]
    assert len(set(hashes)) == len(changes)
    assert all(len(name) == 12 and set(name) <= set("0123456789abcdef") for name in hashes)


def test_methods_and_their_microbatches_are_runs_of_their_own() -> None:
    baselines = ("gpipe", "1f1b", "interleaved_1f1b", "zero_bubble")
    changes: list[dict[str, Any]] = [
        {"stages": 2},
        {"replicas": 2},
        {"method": "ddp", "replicas": 2},
        *({"stages": 2, "method": method, "microbatches": count} for method in baselines for count in (2, 4)),
    ]
    assert len({config(**change).hash() for change in changes}) == len(changes)


def test_what_means_nothing_to_a_baseline_does_nothing() -> None:
    """Nobody behind the edge has to ask for the method: its staleness is 0, its backward's weights its forward's."""
    run = config(**{**BASELINE, "staleness": 2, "weights": "recomputed", "correction": {"name": "shrink", "beta": 0.5}})
    assert (run.staleness, run.weights, run.correction.name, run.microbatches) == (0, "stashed", "none", 2)
    assert config(microbatches=4).microbatches == config(method="ddp", replicas=2, microbatches=4).microbatches == 1


@pytest.mark.parametrize(("method", "pieces"), [("decoupled", 3), ("gpipe", 3), ("1f1b", 3), ("zero_bubble", 6)])
def test_a_loop_has_two_pieces_a_stage(method: str, pieces: int) -> None:
    run = config(method=method, stages=3, batch_size=6, microbatches=3, partition=list(range(1, pieces)))
    assert run.pieces == pieces


def test_agents_are_stages_times_replicas() -> None:
    assert config(stages=3, replicas=2).agents == 6


def test_a_record_of_an_older_version_is_read() -> None:
    """It had no baselines, corrections, clipping and shares of the rate for stale stages; its name is the same."""
    run = config(stages=2, staleness=2)
    old = run.resolved()
    del (
        old["clip"],
        old["correction"],
        old["microbatches"],
        old["lr"]["staleness_power"],
        old["lr"]["require_convergent"],
    )
    assert parse_recorded(old) == run
    assert parse_recorded(run.resolved()) == run
    assert canonical(old) == run.canonical()
    with pytest.raises(ConfigError, match="optimizer: a value is missing"):
        parse_recorded({key: value for key, value in old.items() if key != "optimizer"})
