"""A run small enough to be computed exactly, and ways to make it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn
from torch.distributed import Store

from bench.choice import choices
from bench.config import RunConfig, parse
from bench.engine.summary import Outcome
from bench.engine.train import train
from bench.engine.world import World
from bench.plan.grid import Grid
from bench.rule.method.contract import Method
from bench.task.batches import Batches
from bench.task.build import build
from bench.task.dataset import Dataset, Draw, Placed, Shape
from bench.task.model.contract import Model
from tests.pool import joined

VALUES: dict[str, Any] = {
    "stages": 1,
    "replicas": 1,
    "staleness": 0,
    "method": "decoupled",
    "microbatches": 1,
    "weights": "stashed",
    "engine": "distributed",
    "epochs": 2,
    "max_steps": None,
    "flush_every": None,
    "loss_limit": 100.0,
    "batch_size": 4,
    "seed": 0,
    "device": "cpu",
    "precision": "float64",
    "channels_last": False,
    "partition": "counted",
    "backend": "auto",
    "model": {"name": "resnet", "depth": 8, "width": 4},
    "data": {
        "name": "synthetic",
        "shape": [3, 8, 8],
        "classes": 3,
        "train_size": 96,
        "test_size": 10,
        "validation": 0.0,
    },
    "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01, "nesterov": False},
    "lr": {"name": "constant", "gamma0": 0.05, "warmup_steps": 3, "staleness_power": 0.0, "require_convergent": False},
    "averaging": {"name": "allreduce"},
    "correction": {"name": "none"},
    "clip": {"name": "none"},
}


def config(**changes: Any) -> RunConfig:
    return parse({**VALUES, **changes})


def method_of(name: str) -> Method:
    return choices(Method)[name]()


def dataset_of(run: RunConfig, prepared: Path | None = None) -> Dataset:
    return run.dataset(prepared)


def batches_of(
    dataset: Dataset,
    *,
    seed: int,
    batch_size: int,
    replica: int = 0,
    replicas: int = 1,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    augment: bool = False,
) -> Batches:
    """A replica's batches, on the CPU."""
    placed = Placed(torch.device("cpu"), dtype, channels_last)
    return dataset.batches(Draw(seed, batch_size, replica, replicas), placed, augment=augment)


def network_of(model: Model, shape: Shape, outputs: int) -> nn.Sequential:
    """A network for samples of a shape, of no certain data."""
    return build(model, cast(Dataset, SimpleNamespace(input_shape=shape, outputs=outputs)))


def distributed(store: Store, run: RunConfig) -> Outcome:
    """Train as a rank of a pool; return the outcome."""
    with joined(run, store) as world:
        return train(run, dataset_of(run), world, _ignore)


def _ignore(event: Mapping[str, Any]) -> None:
    """Drop an event: nobody looks."""


def alone(run: RunConfig) -> Outcome:
    """Train a run that needs no other process: the oracle's, or one agent's."""
    world = World(Grid(1, 1), 0, torch.device("cpu"), "gloo")
    return train(run, dataset_of(run), world, _ignore)
