"""Whether one process can hold what a run asks for, found out before any of it is allocated.

The bounds are what no run stays below; its peak (:mod:`bench.plan.footprint`) is higher.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.choice import telling
from bench.config import RunConfig
from bench.keys import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from bench.task.dataset import Dataset

BYTES = {"float32": 4, "float64": 8, "bfloat16": 2}
"""Bytes of a number that a layer hands on, by precision."""
VECTOR_BYTES = 8
"""Bytes of a weight in a vector that the smoothness is estimated with."""
LAYER_BYTES = 4096
"""Bytes that a layer's objects take at least, without its weights; 8,000 were measured."""
TOO_LARGE = 2**63
"""Bytes of a size that torch cannot count any more."""


def outline(config: RunConfig, dataset: Dataset) -> list[nn.Module]:
    """The network's layers without their weights, when there is memory for these, and for a batch on its way.

    Raises:
        ConfigError: a key asks for more than there is, or the model cannot take the data.
    """
    from bench.task.memory import require

    keys = _keys(config)
    count = max(getattr(config.model, key, 1) for key in ("depth", "layers"))
    require(keys, LAYER_BYTES * count, f"a network of {count} layers")
    try:
        layers = list(_within_memory(config, dataset, keys))
    except (RuntimeError, TypeError) as error:
        if "overflow" in str(error).lower():
            require(keys, TOO_LARGE, "the network")
        raise
    batch = config.batch_size // config.microbatches
    with telling(type(config.model)):
        numbers = _handed_on(layers, dataset)
    needed = batch * numbers * BYTES[config.precision] // config.stages
    require({**keys, "batch_size": config.batch_size}, needed, f"a stage's part of a batch of {batch} samples")
    return layers


def _within_memory(config: RunConfig, dataset: Dataset, keys: Mapping[str, object]) -> Iterator[nn.Module]:
    """Yield the layers as long as there is memory for their weights.

    Raises:
        ConfigError: there is not.
    """
    from bench.engine.measure.curvature import VECTORS
    from bench.task.build import own_parameters
    from bench.task.memory import require

    weights = 0
    for layer, own in own_parameters(_without_weights(config, dataset)):
        weights += sum(parameter.numel() for parameter in own)
        what = f"{weights:,} weights or more, with the {VECTORS} vectors that the smoothness is estimated with,"
        require(keys, VECTOR_BYTES * VECTORS * weights, what)
        yield layer


def _keys(config: RunConfig) -> dict[str, object]:
    """The keys that a network's size follows from, with their values."""
    return {**{f"model.{key}": value for key, value in vars(config.model).items()}, **config.data.sizes()}


def _without_weights(config: RunConfig, dataset: Dataset) -> Iterator[nn.Module]:
    import torch

    from bench.task.build import build, entries

    made = 0
    try:
        with torch.device("meta"):
            for layer in entries(config.model, dataset):
                yield layer
                made += 1
    except (NotImplementedError, ConfigError):  # a RegNet computes its widths with tensors; so may a user's own
        yield from list(build(config.model, dataset).to("meta"))[made:]


def _handed_on(layers: Sequence[nn.Module], dataset: Dataset) -> int:
    """Count the numbers that the layers take and give for one sample."""
    import torch

    from bench.task.tensors import every, together

    given = every(dataset.example(1, torch.device("meta")))
    count = given[0].numel()
    for layer in layers:
        taken, given = given, every(layer.eval()(together(given)))
        count += sum(part.numel() for part in given if not any(part is old for old in taken))
    return count
