"""How fast a way of training will be, from what its stages and links cost: images per second, efficiency, and locks.

The walk follows the engine (``engine/stage.py``, ``engine/channels.py``, ``engine/averaging.py``): who computes what in
which order, what is waited for, and how many messages may be under way. Agents have a core each, and a link each: those
that share cores, or a wire, are slower than this says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.plan import microbatches, ticks
from bench.plan.costs import Setup, Times


def predict(setup: Setup, stretches: Sequence[int]) -> Times:
    """The seconds of all agents in a run.

    Args:
        stretches: updates from each start of the clock to the flush that stops it; at least one in each.

    Raises:
        ValueError: the method cannot cut a batch into so many microbatches.
    """
    walk = ticks.walk if setup.method in ("decoupled", "ddp") else microbatches.walk
    total = Times.nothing(setup.agents, setup.replicas)
    # Stretches of one length are taken to last equally long: the seeds of their jitter are one and the same.
    for batches, times in Counter(stretches).items():
        total = total.plus(walk(setup, batches), times)
    return total


def stretches(steps: int, per_epoch: int) -> list[int]:
    """Updates of each epoch of a run of so many updates; the last may be cut short."""
    whole, rest = divmod(steps, per_epoch)
    return [per_epoch] * whole + [rest] * (rest > 0)
