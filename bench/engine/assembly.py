"""From a configuration to this process's part in it: build the network, cut it, place the piece."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.config import RunConfig
from bench.engine.meter import Meter
from bench.engine.method.agent import Agent, Cut, piece
from bench.engine.numerics import Numerics
from bench.engine.profile import Layer, profile
from bench.engine.transport.message import Message
from bench.engine.worker import Worker
from bench.engine.world import World
from bench.plan.footprint import Footprint, LayerBytes
from bench.plan.partition import bounds, cut
from bench.rule.method.contract import engine_class
from bench.task.batches import Batches
from bench.task.build import build
from bench.task.dataset import Dataset, Draw, Placed


class Plan(NamedTuple):
    """Where the network is cut, and what crosses the cuts."""

    cuts: list[int]
    costs: list[float]
    """Each layer's cost: seconds, operations, or 0 where the cuts were given."""
    messages: list[Message]
    """The message out of each layer."""
    layers: list[LayerBytes]
    """What each layer takes of memory."""

    def record(self, config: RunConfig, unit: str | None) -> list[dict[str, Any]]:
        """The record's ``partition``: layers, cost and outgoing message of each piece of the network."""
        pieces = bounds(self.cuts, len(self.costs))
        return [
            {
                "stage": config.method.holder(config.stages, piece),
                "first_layer": first,
                "last_layer": last - 1,
                "cost": sum(self.costs[first:last]) if unit else None,
                "cost_unit": unit,
                "message_bytes": self.messages[last - 1].bytes if last < len(self.costs) else 0,
            }
            for piece, (first, last) in enumerate(pieces)
        ]


class Assembled(NamedTuple):
    """A process's part in a run."""

    method: Worker
    batches: list[Batches]
    """The batches of every replica."""
    partition: list[dict[str, Any]]
    """The stages and their layers, as the record has them."""
    footprint: Footprint | None
    """What the part takes of memory; None where that is not predicted."""


def build_worker(config: RunConfig, dataset: Dataset, world: World, meter: Meter) -> Assembled:
    """Build this process's part in a run.

    All ranks build the whole network from one seed, so that the weights do not depend on the cut.
    """
    numerics = Numerics.of(config, world.device)
    batches = [batches_of(config, dataset, replica, numerics) for replica in range(config.replicas)]
    torch.manual_seed(config.seed)
    network = build(config.model, dataset)
    unit = {"measured": "seconds", "counted": "operations"}.get(_how(config))
    plan: Plan = world.share(plan_of(config, network, batches[0], numerics) if world.rank == 0 else None)
    spans = bounds(plan.cuts, len(network))
    if config.engine == "reference":
        stages = [piece(network, first, last) for first, last in spans]
        parts = [[numerics.place(copy.deepcopy(stage)) for stage in stages] for _ in range(config.replicas)]
        oracle = engine_class(config.method.oracle)
        return Assembled(oracle(config, numerics, parts, batches, meter), batches, plan.record(config, unit), None)
    mine = batches[world.replica]
    messages = [Message.like(_passing(config, mine)), *(plan.messages[last - 1] for _, last in spans)]
    share = Cut(network, spans, messages, plan.layers)
    worker: type[Agent] = engine_class(config.method.worker)
    agent = worker.of(config, world, numerics, share, mine, meter)
    footprint = agent.footprint(share) if world.device.type == "cpu" else None
    return Assembled(agent, batches, plan.record(config, unit), footprint)


def cut_as(config: RunConfig, partition: Sequence[Mapping[str, Any]]) -> RunConfig:
    """The run with the cuts that a ``partition`` of a record has."""
    return replace(config, partition=[piece["first_layer"] for piece in partition[1:]])


def batches_of(config: RunConfig, dataset: Dataset, replica: int, numerics: Numerics) -> Batches:
    """The replica's batches; only real photographs are augmented."""
    draw = Draw(config.seed, config.batch_size, replica, config.replicas)
    placed = Placed(numerics.device, numerics.dtype, config.channels_last)
    return dataset.batches(draw, placed, augment=config.data.augments)


def network_of(config: RunConfig, dataset: Dataset, numerics: Numerics) -> nn.Sequential:
    """The whole network, placed, with the weights that the seed draws."""
    torch.manual_seed(config.seed)
    return numerics.place(build(config.model, dataset))


def layers_of(config: RunConfig, dataset: Dataset, how: str) -> list[Layer]:
    """The layers of the whole network, with what each costs: ``measured`` seconds, or ``counted`` operations."""
    torch.set_num_threads(1)
    numerics = Numerics.of(config, torch.device(config.device))
    batches = batches_of(config, dataset, 0, numerics)
    return profile(network_of(config, dataset, numerics), batches.inputs(0, 0), batches.targets(0, 0), numerics, how)


def plan_of(config: RunConfig, network: nn.Sequential, batches: Batches, numerics: Numerics) -> Plan:
    """Walk through the network once at rank 0 and cut it there; the others take its word."""
    inputs = _passing(config, batches)
    targets = batches.targets(0, 0)[: len(inputs)]
    layers = profile(numerics.place(copy.deepcopy(network)), inputs, targets, numerics, _how(config))
    costs = [layer.cost for layer in layers]
    cuts = cut(costs, config.pieces) if isinstance(config.partition, str) else config.partition
    return Plan(cuts, costs, [layer.output for layer in layers], [layer.held for layer in layers])


def _passing(config: RunConfig, batches: Batches) -> Tensor:
    """The inputs that pass through the network at once."""
    return batches.inputs(0, 0)[: config.batch_size // config.microbatches]


def _how(config: RunConfig) -> str:
    """Where a layer's cost comes from: ``measured``, ``counted``, or neither for one stage or given cuts."""
    return config.partition if isinstance(config.partition, str) and config.stages > 1 else "given"
