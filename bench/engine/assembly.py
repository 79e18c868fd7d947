"""From a configuration to this process's part in it: build the network, cut it, place the piece."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import nn

from bench.config import CIFAR, ImageFolder, RunConfig
from bench.engine.channels import Message
from bench.engine.meter import Meter
from bench.engine.method import Method
from bench.engine.numerics import Numerics
from bench.engine.profile import profile
from bench.engine.reference import Reference
from bench.engine.stage import Stage
from bench.engine.world import World
from bench.plan.partition import bounds, cut
from bench.task.data import Batches, Dataset
from bench.task.models import build


class Plan(NamedTuple):
    """Where the network is cut, and what crosses the cuts."""

    cuts: list[int]
    costs: list[float]
    """Of each layer: seconds, operations, or 0 where the cuts were given."""
    messages: list[Message]
    """Out of each layer."""

    def record(self, unit: str | None) -> list[dict[str, Any]]:
        """The record's ``partition``: layers, cost and outgoing message of each stage."""
        return [
            {
                "stage": stage,
                "first_layer": first,
                "last_layer": last - 1,
                "cost": sum(self.costs[first:last]) if unit else None,
                "cost_unit": unit,
                "message_bytes": self.messages[last - 1].bytes if last < len(self.costs) else 0,
            }
            for stage, (first, last) in enumerate(bounds(self.cuts, len(self.costs)))
        ]


def assemble(
    config: RunConfig, dataset: Dataset, world: World, meter: Meter
) -> tuple[Method, list[Batches], list[dict[str, Any]]]:
    """Build this process's method, every replica's batches, and the record of the partition.

    All ranks build the whole network from one seed, so that the weights do not depend on the cut.
    """
    numerics = Numerics.of(config, world.device)
    batches = [batches_of(config, dataset, replica, numerics) for replica in range(config.replicas)]
    torch.manual_seed(config.seed)
    network = build(config.model, dataset.image_shape, dataset.classes)
    unit = {"measured": "seconds", "counted": "operations"}.get(_how(config))
    plan: Plan = world.share(_plan(config, network, batches[0], numerics) if world.rank == 0 else None)
    stages = [_slice(network, first, last) for first, last in bounds(plan.cuts, len(network))]
    if config.engine == "reference":
        parts = [[numerics.place(copy.deepcopy(stage)) for stage in stages] for _ in range(config.replicas)]
        return Reference(config, numerics, parts, batches, meter), batches, plan.record(unit)
    ends = [None, *(plan.messages[first - 1] for first in plan.cuts), None]
    boundaries = (ends[world.stage], ends[world.stage + 1])
    module = numerics.place(stages[world.stage])
    worker = Stage(config, world, numerics, module, boundaries, batches[world.replica], meter)
    return worker, batches, plan.record(unit)


def batches_of(config: RunConfig, dataset: Dataset, replica: int, numerics: Numerics) -> Batches:
    """The replica's batches; only real photographs are augmented."""
    augment = isinstance(config.data, CIFAR | ImageFolder) and config.data.augment
    return Batches(
        dataset,
        seed=config.seed,
        batch_size=config.batch_size,
        replica=replica,
        replicas=config.replicas,
        augment=augment,
        dtype=numerics.dtype,
        channels_last=config.channels_last,
        device=numerics.device,
    )


def _plan(config: RunConfig, network: nn.Sequential, batches: Batches, numerics: Numerics) -> Plan:
    """Rank 0 walks through the network once and cuts it; the others take its word."""
    layers = profile(numerics.place(copy.deepcopy(network)), batches.inputs(0, 0), numerics, _how(config))
    costs = [layer.cost for layer in layers]
    cuts = cut(costs, config.stages) if isinstance(config.partition, str) else config.partition
    return Plan(cuts, costs, [layer.output for layer in layers])


def _how(config: RunConfig) -> str:
    """Where a layer's cost comes from; one stage needs none."""
    return config.partition if isinstance(config.partition, str) and config.stages > 1 else "given"


def _slice(network: nn.Sequential, first: int, last: int) -> nn.Sequential:
    """Layers ``first .. last - 1`` under the names that they have in the network."""
    return nn.Sequential(OrderedDict((str(number), network[number]) for number in range(first, last)))
