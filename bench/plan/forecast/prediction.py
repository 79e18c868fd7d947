"""How fast a way of training will be, from what its stages and links cost: units per second, efficiency, and locks.

The walk follows the engine (``engine/method``, ``engine/transport/channels.py``, ``engine/weights/averaging.py``): who
computes what in which order, what is waited for, and how many messages may be under way. Agents have a core each, and a
link each: those that share a core, or a wire, are slower than this says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from bench.plan.forecast import microbatches, ticks
from bench.plan.forecast.costs import Setup, Times

CLOSE, MOST_WALKS = 0.005, 8
"""The change of a share below which a fixed point is found, and the number of walks after which it is given up: a
percent of what agents cost one another is little."""


def predict(setup: Setup, stretches: Sequence[int]) -> Times:
    """The seconds of all agents in a run.

    Args:
        stretches: updates from each start of the clock to the flush that stops it; at least one in each.

    Raises:
        ValueError: the method cannot cut a batch into so many microbatches.
    """
    walk = microbatches.walk if setup.method.microbatched else ticks.walk
    total = Times.nothing(setup.agents, setup.replicas)
    # Stretches of one length are taken to last equally long: the seeds of their jitter are one and the same.
    for batches, times in Counter(stretches).items():
        total = total.plus(walk(setup, batches), times)
    return total


def predict_sharing(alone: Setup, together: Setup, stretches: Sequence[int]) -> Times:
    """The seconds of agents that slow one another down where they are at work at the same time.

    Cores share memory and caches. Whatever an agent does takes as long as in ``alone`` or in ``together``, or between
    the two, by the share of it that it does while the others work; and how large that is, is a walk's result. The
    share's fixed point is looked for, from 1.

    Raises:
        ValueError: the method cannot cut a batch into so many microbatches.
    """
    share, times = 1.0, predict(together, stretches)
    for _ in range(MOST_WALKS):
        found = overlap(times)
        if abs(found - share) < CLOSE:
            break
        share, times = found, predict(alone.towards(together, found), stretches)
    return times


def overlap(times: Times) -> float:
    """The share of the agents' work during which the others work too, taken that one of them works or all do.

    With n at work on average of N: all work for a share (n - 1) / (N - 1) of the time, and do N / n times that of the
    work. Two agents that never wait for a message on its way satisfy the assumption.
    """
    agents = times.wall.size
    if agents == 1:
        return 0.0
    work = times.wall - np.sum([*times.locks.values()], axis=0)
    working = float(work.sum()) / times.seconds
    return min(max((working - 1) / (agents - 1) * agents / working, 0.0), 1.0)
