"""The seconds of agents that train tick by tick (``decoupled``, and ``ddp`` at one stage): a recurrence of ready times.

In each tick an agent goes through the order of ``engine/method/decoupled.py``; whatever it waits for is the greater of
two times, and whatever it does adds to them (max-plus algebra; Baccelli et al. 1992, "Synchronization and Linearity").
A tick is a few array operations over all agents. Where a message is wanted in the tick in which it is sent (a hop of
0), stages depend on one another within the tick, in a row; that is a cumulative maximum.
"""

from __future__ import annotations

import numpy as np

from bench.plan.clock import SPARE, Clock
from bench.plan.forecast.costs import Array, Link, Noise, Setup, Times


def walk(setup: Setup, batches: int) -> Times:
    """The seconds of all agents from a start to a flush, with so many batches."""
    return _Walk(setup, batches).run()


class _Walk:
    def __init__(self, setup: Setup, batches: int) -> None:
        clock = Clock(setup.agents, setup.staleness, batches, setup.together)
        stages = range(clock.stages)
        self._clock, self._noise = clock, Noise(setup)
        self._free = np.zeros((setup.agents, setup.replicas))
        self._times = times = Times.nothing(setup.agents, setup.replicas)
        first = sum(not clock.forward_first(stage, setup.replicas) for stage in stages)
        self._late, self._early = (0, first), (first, clock.stages)
        self._forward = _Passes(
            setup,
            "forward",
            np.array([clock.first_forward(stage) for stage in stages]),
            clock,
            (self._free, times.locks["forward"], times.compute, times.busy),
        )
        backwards = (self._free, times.locks["backward"], times.compute, times.busy)
        self._backward = _Passes(
            setup,
            "backward",
            np.array([clock.first_backward(stage) for stage in stages])[::-1],
            clock,
            tuple(array[::-1] for array in backwards),
        )
        self._update = _Update(setup, self._free, times)

    def run(self) -> Times:
        stages = self._clock.stages
        for tick in self._clock.busy(*range(stages)):
            noise = self._noise.draw()
            self._forward.run(tick, self._early, noise)
            first, end = self._backward.run(tick, (0, stages), noise[::-1])
            updated = slice(stages - end, stages - first)
            self._update.begin(updated, noise)
            self._forward.run(tick, self._late, noise)
            self._update.finish(updated, noise)
        left = np.maximum(self._free, np.maximum(self._forward.flushed(), self._backward.flushed()[::-1]))
        times = self._times
        times.busy[:] += left - self._free
        return Times(self._clock.batches, left, times.compute, times.locks, times.busy)


class _Passes:
    """Walks all stages' forwards, or all backwards: rows in the direction in which the messages go.

    Args:
        starts: tick of each row's first batch; it does not decrease.
        accounts: when each agent is free, and its seconds of lock, computing and else, all [K, S], to be written.
    """

    def __init__(self, setup: Setup, kind: str, starts: np.ndarray, clock: Clock, accounts: tuple[Array, ...]) -> None:
        forward = kind == "forward"
        order = slice(None, None, 1 if forward else -1)
        self._starts, self._batches = starts, clock.batches
        self._hop = clock.forward_hop if forward else clock.backward_hop
        self._free, self._lock, self._compute, self._busy = accounts
        self._seconds, self._send, self._receive = (setup.table(name)[order] for name in (kind, "send", "receive"))
        self._data = setup.table("data") * (1.0 if forward else 0.0)
        rows, replicas = self._seconds.shape
        self._receive[0] = self._send[-1] = 0.0
        self._data[1:] = 0.0
        sizes = setup.table("message_bytes")[:-1][order]
        self._transfer = np.append(sizes / setup.link.bandwidth, np.zeros((1, replicas)), axis=0)
        self._link: Link = setup.link
        # The row behind the last one takes nothing; messages of tick t lie at t modulo the length, which is that of a
        # row's ticks where these are few.
        self._arrived = np.zeros((min(self._hop + 1, self._batches), rows + 1, replicas))
        self._arrived[:, 0] = -np.inf
        self._left = np.zeros((min(self._hop + SPARE, self._batches), rows, replicas))
        self._taken = np.full((SPARE + 1, rows + 1, replicas), -np.inf)

    def run(self, tick: int, rows: tuple[int, int], noise: Array) -> tuple[int, int]:
        """Run the passes of a tick in some rows; return those (first, last + 1) that had one."""
        first = max(rows[0], int(np.searchsorted(self._starts, tick - self._batches, "right")))
        end = min(rows[1], int(np.searchsorted(self._starts, tick, "right")))
        if first >= end:
            return first, first
        own = slice(first, end)
        work = self._seconds[own] * noise[own]
        begin = self._free[own] + self._data[own]
        slot, channel = self._gates(tick, own)
        if self._hop:
            arrived = self._arrived[(tick - self._hop) % len(self._arrived), own]
        else:
            arrived = self._sweep(begin, self._receive[own] + work, slot, channel, own)
        ready = np.maximum(begin, arrived) + self._receive[own]
        done = ready + work
        sent = np.maximum(done, slot) + self._send[own]
        self._lock[own] += ready - begin
        self._compute[own] += work
        self._busy[own] += sent - done + self._data[own]
        self._free[own] = sent
        self._taken[tick % (SPARE + 1), own] = ready
        left = np.maximum(sent, channel) + self._transfer[own]
        self._left[tick % len(self._left), own] = left
        self._arrived[tick % len(self._arrived), first + 1 : end + 1] = left + self._link.latency
        return first, end

    def flushed(self) -> Array:
        """The seconds after which nothing of a row's is under way any more."""
        if self._link.shared:
            taken: Array = self._taken[:, 1:].max(axis=0) + self._link.latency
            return taken
        latest: Array = self._left.max(axis=0)
        return latest

    def _gates(self, tick: int, own: slice) -> tuple[Array, Array]:
        """The times at which a message of this tick may be handed over, and at which the channel is free to carry it.

        One slot too few was there until the message a hop and ``SPARE`` before it was taken: two ticks ago, by the next
        row. Over a network the receives that are posted ahead are slots as well; sender and channel have as many each.
        """
        before = self._left[(tick - 1) % len(self._left), own]
        taken = self._taken[(tick - SPARE) % (SPARE + 1), own.start + 1 : own.stop + 1] + self._link.latency
        if self._link.shared:
            return taken, before
        return self._left[tick % len(self._left), own].copy(), np.maximum(before, taken)

    def _sweep(self, begin: Array, work: Array, slot: Array, channel: Array, own: slice) -> Array:
        """The times of arrival where all rows wait for the row before, in the same tick.

        With w_j from the arrival of a message in row j to the handing over of the next one, and c_j its time if none
        had to be waited for, ``sent_j = max(sent_(j-1) + w_j, c_j)``: a cumulative maximum of c_j less the sum of w.
        """
        send = self._send[own]
        travel = (self._transfer[own] + self._link.latency)[:-1]
        after = work + send
        alone = np.maximum(begin + after, slot + send)
        after[1:] += travel
        after[0] = 0.0
        alone[1:] = np.maximum(alone[1:], channel[:-1] + after[1:])
        total = np.cumsum(after, axis=0)
        sent = total + np.maximum.accumulate(alone - total, axis=0)
        arrived = np.full_like(begin, -np.inf)
        arrived[1:] = np.maximum(sent, channel)[:-1] + travel
        return arrived


class _Update:
    """Averages over the replicas, waits for the other stages where all update together, and makes the step."""

    def __init__(self, setup: Setup, free: Array, times: Times) -> None:
        self._free, self._times, self._alone = free, times, setup.replicas == 1
        self._together = setup.together and setup.agents > 1
        self._told = setup.link.allreduce(0.0, setup.agents)
        self._seconds, self._averaging = setup.table("update"), setup.table("averaging")
        self._backward = setup.table("backward")
        self._averaged = np.zeros((setup.agents, 1))
        # Only ddp has several buckets, at its one stage.
        buckets = [stage.buckets or ((1.0, stage.parameter_bytes),) for stage in setup.stages]
        self._buckets = [
            (
                np.array([[share] for share, _ in column]),
                np.array([[setup.peers.allreduce(size, setup.replicas)] for _, size in column]),
            )
            for column in zip(*buckets, strict=True)
        ]

    def begin(self, rows: slice, noise: Array) -> None:
        """Let the gradients travel as soon as the last replica has them."""
        if self._alone:
            return
        averaged = np.full_like(self._averaged[rows], -np.inf)
        for share, seconds in self._buckets:
            ready = self._free[rows] - (1 - share[rows]) * self._backward[rows] * noise[rows]
            averaged = np.maximum(ready.max(axis=1, keepdims=True), averaged) + seconds[rows]
        self._averaged[rows] = averaged

    def finish(self, rows: slice, noise: Array) -> None:
        free = self._free[rows]
        if not self._alone:
            waited = np.maximum(self._averaged[rows] - free, 0.0)
            self._times.locks["update"][rows] += waited
            self._times.busy[rows] += self._averaging[rows]
            free += waited + self._averaging[rows]
        if self._together and free.size:
            waited = free.max(axis=0) + self._told - free
            self._times.locks["update"][rows] += waited
            free += waited
        work = self._seconds[rows] * noise[rows]
        self._times.compute[rows] += work
        free += work
