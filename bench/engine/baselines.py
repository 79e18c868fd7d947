"""What delayed gradients are compared with: torch's own data and pipeline parallelism, which know no staleness.

A tick is one update, so an epoch has as many ticks as batches. Weights, optimizer, averaging, channels and evaluation
are those of the decoupled worker; the order of the work is torch's.

The baselines compute the update of the unsplit network, whose gradient is that of the mean loss of the whole batch.
Batch norm takes its statistics from what passes it at once, though: a replica's batch with ``ddp``, as with the
decoupled worker, but a microbatch in a pipeline, whose running statistics also move once a microbatch. There the update
equals that of the unsplit network only without batch norm, or with one microbatch; and dropout draws other masks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from bench.config import RunConfig
from bench.engine.meter import Meter
from bench.engine.method.ddp import DataParallel
from bench.engine.method.pipelined import Pipelined
from bench.engine.numerics import Numerics
from bench.engine.transport.message import Message
from bench.engine.worker import Method
from bench.engine.world import World
from bench.plan.forecast.placement import held
from bench.task.batches import Batches


def baseline(
    config: RunConfig,
    world: World,
    numerics: Numerics,
    network: nn.Sequential,
    spans: Sequence[tuple[int, int]],
    messages: Sequence[Message],
    batches: Batches,
    meter: Meter,
) -> Method:
    """Make this process's part in a method other than ``decoupled``.

    Args:
        network: uncut.
        spans: (first layer, last layer + 1) of every piece of it.
        messages: into and out of every piece in turn, one more than there are pieces; of one microbatch.
        batches: this replica's.
    """
    if config.method == "ddp":
        return DataParallel(config, world, numerics, numerics.place(network), batches, meter)
    pieces = held(config.method, config.stages, len(spans), world.stage)
    layers = [(str(number), network[number]) for piece in pieces for number in range(*spans[piece])]
    module = numerics.place(nn.Sequential(OrderedDict(layers)))
    return Pipelined(config, world, numerics, module, spans, messages, batches, meter)
