"""The seconds of agents that cut each batch into microbatches, and update when all have passed: pipelines with a flush.

An agent goes through its order, which the method says; whatever it waits for is the greater of two times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.plan.forecast.costs import Array, Noise, Setup, Times
from bench.plan.forecast.orders import KINDS, Pass


class Level(NamedTuple):
    """Passes of different agents that wait for none of one another; arrays [passes]."""

    agents: np.ndarray
    stages: np.ndarray
    kinds: np.ndarray
    """The kind of each pass: 0 forward, 1 backward, 2 gradients of the weights."""
    sources: np.ndarray
    """The number of the pass whose message each waits for; -1: none."""
    numbers: np.ndarray
    """The number of each pass itself."""
    sends: np.ndarray
    """Whether each pass's message goes to another agent."""
    takes: np.ndarray
    """Whether the message that each pass waits for comes from another agent."""
    begins: np.ndarray
    """Whether the batch's inputs have to be prepared before each pass."""


def levels(setup: Setup, ordered: Sequence[Sequence[Pass]]) -> list[Level]:
    """Sort the passes of an update into levels, such that all that one waits for is in a level before its own."""
    number = {item: index for index, item in enumerate(item for order in ordered for item in order)}
    depth: dict[Pass, int] = {}
    following = [0] * len(ordered)
    grouped: list[list[tuple[int, Pass]]] = []
    while any(following[agent] < len(order) for agent, order in enumerate(ordered)):
        grouped.append([])
        for agent, order in enumerate(ordered):
            if following[agent] == len(order):
                continue
            item = order[following[agent]]
            source = _source(setup, item)
            if source is None or depth.get(source, len(grouped)) < len(grouped):
                grouped[-1].append((agent, item))
        assert grouped[-1], "every agent waits for another one"
        for agent, item in grouped[-1]:
            depth[item] = len(grouped) - 1
            following[agent] += 1
    return [_level(setup, level, number) for level in grouped]


def _level(setup: Setup, passes: Sequence[tuple[int, Pass]], number: Mapping[Pass, int]) -> Level:
    sources = [_source(setup, item) for _, item in passes]
    sends = [_follower(setup, item) for _, item in passes]

    def elsewhere(agent: int, other: Pass | None) -> bool:
        return other is not None and setup.holder(other.stage) != agent

    return Level(
        np.array([agent for agent, _ in passes]),
        np.array([item.stage for _, item in passes]),
        np.array([KINDS.index(item.kind) for _, item in passes]),
        np.array([-1 if source is None else number[source] for source in sources]),
        np.array([number[item] for _, item in passes]),
        np.array([elsewhere(agent, follower) for (agent, _), follower in zip(passes, sends, strict=True)]),
        np.array([elsewhere(agent, source) for (agent, _), source in zip(passes, sources, strict=True)]),
        np.array([item == Pass("forward", 0, 0) for _, item in passes]),
    )


def _source(setup: Setup, item: Pass) -> Pass | None:
    """The pass, in another stage, that a pass has to wait for."""
    return _beside(setup, item, {"forward": -1, "backward": 1})


def _follower(setup: Setup, item: Pass) -> Pass | None:
    """The pass, in another stage, that waits for a pass."""
    return _beside(setup, item, {"forward": 1, "backward": -1})


def _beside(setup: Setup, item: Pass, steps: Mapping[str, int]) -> Pass | None:
    if item.kind not in steps:
        return None
    stage = item.stage + steps[item.kind]
    return item._replace(stage=stage) if 0 <= stage < len(setup.stages) else None


def walk(setup: Setup, batches: int) -> Times:
    """The seconds of all agents from a start to a flush, with so many batches."""
    return _Walk(setup).run(batches)


class _Walk:
    """Walks the passes level by level; arrays of one level [passes, S]."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._noise = setup, Noise(setup)
        ordered = setup.method.orders(setup.agents, setup.microbatches)
        self._levels = levels(setup, ordered)
        stages, replicas = len(setup.stages), setup.replicas
        # One more for what is not waited for.
        self._arrived = np.full((sum(map(len, ordered)) + 1, replicas), -np.inf)
        self._left = np.zeros((2, stages, replicas))
        self._free = np.zeros((setup.agents, replicas))
        self._waits = np.zeros((2, setup.agents, replicas))
        self._times = Times.nothing(setup.agents, replicas)
        self._seconds = np.stack([setup.table(kind) for kind in KINDS])
        sizes = setup.table("message_bytes") / setup.link.bandwidth
        self._transfer = np.stack([sizes, np.roll(sizes, 1, axis=0)])
        self._data, self._send, self._receive = (setup.table(name) for name in ("data", "send", "receive"))
        self._agents = np.array([setup.holder(stage) for stage in range(stages)])

    def run(self, batches: int) -> Times:
        for _ in range(batches):
            noise = self._noise.draw()
            for level in self._levels:
                self._pass(level, noise)
            self._update(noise)
        # What an agent sent last has left before its clock stops.
        wall = self._free.copy()
        np.maximum.at(wall, self._agents, self._left.max(axis=0))
        times = self._times
        times.busy[:] += wall - self._free
        forward, backward = self._waits
        locks = {**times.locks, "forward": forward, "backward": backward}
        return Times(batches, wall, times.compute, locks, times.busy)

    def _pass(self, level: Level, noise: Array) -> None:
        agents, stages = level.agents, level.stages
        data = self._data[stages] * level.begins[:, None] + self._setup.a_pass
        begin = self._free[agents] + data
        ready = np.maximum(begin, self._arrived[level.sources])
        ready += self._receive[stages] * level.takes[:, None]
        work = self._seconds[level.kinds, stages] * noise[agents]
        sent = (ready + work) + self._send[stages] * level.sends[:, None]
        self._waits[np.minimum(level.kinds, 1), agents] += ready - begin
        self._times.compute[agents] += work
        self._times.busy[agents] += data + (sent - (ready + work))
        self._free[agents] = sent
        self._arrived[level.numbers] = sent
        going = np.flatnonzero(level.sends)
        if going.size:
            # A link carries one message after the other.
            way = level.kinds[going], stages[going]
            left = np.maximum(sent[going], self._left[way]) + self._transfer[way]
            self._left[way] = left
            self._arrived[level.numbers[going]] = left + self._setup.link.latency

    def _update(self, noise: Array) -> None:
        """Update the weights when all microbatches are through: average the chunks' gradients in turn, then step."""
        setup, times = self._setup, self._times
        work = self._of_agents("update") * noise
        if setup.replicas > 1:
            size = self._of_agents("parameter_bytes")[:, :1]
            seconds = np.array([[setup.peers.allreduce(float(own), setup.replicas)] for (own,) in size])
            handling = self._of_agents("averaging")
            averaged = self._free.max(axis=1, keepdims=True) + seconds
            times.locks["update"][:] += averaged - self._free
            times.busy[:] += handling
            self._free = averaged + handling
        times.compute[:] += work
        self._free = self._free + work

    def _of_agents(self, name: str) -> Array:
        """Sum a field of costs over the stages that each agent holds [K, S]."""
        total = np.zeros_like(self._free)
        np.add.at(total, self._agents, self._setup.table(name))
        return total
