"""The seconds of agents that cut each batch into microbatches, and update when all have passed: pipelines with a flush.

The orders are those of ``torch.distributed.pipelining``: GPipe (Huang et al. 2019, arXiv 1811.06965), 1F1B (Narayanan
et al. 2019, PipeDream, arXiv 1806.03377), interleaved 1F1B (Narayanan et al. 2021, arXiv 2104.04473), and zero bubble
in its form ZB1P (Qi et al. 2024, arXiv 2401.10241). Two microbatches on two agents by 1F1B::

    agent 0  F0 F1 .  B0 .  B1
    agent 1  .  F0 B0 F1 B1 .
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from bench.plan.costs import LOCKS, Array, Noise, Setup, Times

WEIGHT_SHARE = 0.5
"""Of a backward: the gradients of the weights. Those of the input are as many products, where weights share none."""


class Pass(NamedTuple):
    """Of one microbatch through one stage."""

    kind: Literal["forward", "backward", "weights"]
    """``backward`` leaves the weights' gradients out where ``weights`` follows (zero bubble)."""
    stage: int
    microbatch: int


def orders(setup: Setup) -> list[list[Pass]]:
    """What each agent of a replica does for one update.

    Raises:
        ValueError: the method cannot cut a batch into so many microbatches.
    """
    agents, count = setup.agents, setup.microbatches
    if setup.method == "gpipe":
        kinds: tuple[Literal["forward", "backward"], ...] = ("forward", "backward")
        return [[Pass(kind, agent, number) for kind in kinds for number in range(count)] for agent in range(agents)]
    rounds = max(1, count // agents)
    if setup.method != "1f1b" and count % rounds:
        raise ValueError(
            f"microbatches={count} must be a multiple of {rounds}, their number of rounds over {agents} agents"
        )
    return [_alternating(setup, agent, count // rounds) for agent in range(agents)]


def _alternating(setup: Setup, agent: int, together: int) -> list[Pass]:
    """Forwards until the first gradient can be there, then forwards and backwards in turns, then backwards.

    Args:
        together: microbatches that go through a chunk before the agent turns to its next one.
    """
    chunks, behind = setup.chunks, setup.agents - 1 - agent
    together = setup.microbatches if chunks == 1 else together
    total = chunks * setup.microbatches
    hop = 2 if setup.method == "interleaved_1f1b" else 1
    ahead = min((chunks - 1) * together + hop * behind, total)
    forwards, backwards, seen = [], [], [0] * chunks
    for number in range(total):
        chunk = number // together % chunks
        last = chunks - 1 - chunk
        microbatch, seen[chunk] = seen[chunk], seen[chunk] + 1
        forwards.append(Pass("forward", chunk * setup.agents + agent, microbatch))
        backwards.append(Pass("backward", last * setup.agents + agent, microbatch))
    order = forwards[:ahead]
    for number, backward in enumerate(backwards):
        order += [*forwards[ahead + number : ahead + number + 1], backward]
        if setup.method == "zero_bubble" and number >= agent:
            order.append(backwards[number - agent]._replace(kind="weights"))
    if setup.method == "zero_bubble":
        order += [backward._replace(kind="weights") for backward in backwards[max(0, total - agent) :]]
    return order


class Level(NamedTuple):
    """Passes of different agents that wait for none of one another; arrays [passes]."""

    agents: np.ndarray
    stages: np.ndarray
    kinds: np.ndarray
    """0 forward, 1 backward, 2 gradients of the weights."""
    sources: np.ndarray
    """The pass whose message is waited for, by number; -1: none."""
    numbers: np.ndarray
    """Its own."""
    sends: np.ndarray
    """Whether its message goes to another agent."""
    takes: np.ndarray
    """Whether the message that it waits for comes from another agent."""


KINDS = ("forward", "backward", "weights")


def levels(setup: Setup, ordered: Sequence[Sequence[Pass]]) -> list[Level]:
    """The passes of an update such that all that one waits for is in a level before its own."""
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
    several = setup.agents > 1
    ends = {"forward": len(setup.stages) - 1, "backward": 0}
    return Level(
        np.array([agent for agent, _ in passes]),
        np.array([item.stage for _, item in passes]),
        np.array([KINDS.index(item.kind) for _, item in passes]),
        np.array([-1 if source is None else number[source] for source in sources]),
        np.array([number[item] for _, item in passes]),
        np.array([several and ends.get(item.kind, item.stage) != item.stage for _, item in passes]),
        np.array([several and source is not None for source in sources]),
    )


def _source(setup: Setup, item: Pass) -> Pass | None:
    """The pass, in another stage, that a pass has to wait for."""
    if item.kind == "forward" and item.stage:
        return item._replace(stage=item.stage - 1)
    if item.kind == "backward" and item.stage < len(setup.stages) - 1:
        return item._replace(stage=item.stage + 1)
    return None


def walk(setup: Setup, batches: int) -> Times:
    """From a start to a flush, with so many batches."""
    return _Walk(setup).run(batches)


class _Walk:
    """Level by level; arrays of one level [passes, S]."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._noise = setup, Noise(setup)
        ordered = orders(setup)
        self._levels = levels(setup, ordered)
        stages, replicas = len(setup.stages), setup.replicas
        # One more for what is not waited for.
        self._arrived = np.full((sum(map(len, ordered)) + 1, replicas), -np.inf)
        self._left = np.zeros((2, stages, replicas))
        self._free = np.zeros((setup.agents, replicas))
        self._locks = np.zeros((len(LOCKS), setup.agents, replicas))
        self._times = Times.nothing(setup.agents, replicas)
        backward = setup.table("backward")
        share = WEIGHT_SHARE if setup.method == "zero_bubble" else 0.0
        self._seconds = np.stack([setup.table("forward"), (1 - share) * backward, share * backward])
        sizes = setup.table("message_bytes") / setup.link.bandwidth
        self._transfer = np.stack([sizes, np.roll(sizes, 1, axis=0)])
        self._data, self._send, self._receive = (setup.table(name) for name in ("data", "send", "receive"))
        self._data[1:] = 0.0

    def run(self, batches: int) -> Times:
        for _ in range(batches):
            noise = self._noise.draw()
            for level in self._levels:
                self._pass(level, noise)
            self._update(noise)
        # What an agent sent last has left before its clock stops.
        wall, left = self._free.copy(), self._left.max(axis=0)
        for chunk in range(self._setup.chunks):
            wall = np.maximum(wall, left[chunk * self._setup.agents : (chunk + 1) * self._setup.agents])
        times = self._times
        times.busy[:] += wall - self._free
        return Times(batches, wall, times.compute, dict(zip(LOCKS, self._locks, strict=True)), times.busy)

    def _pass(self, level: Level, noise: Array) -> None:
        agents, stages = level.agents, level.stages
        data = self._data[stages] * (level.kinds == 0)[:, None]
        begin = self._free[agents] + data
        ready = np.maximum(begin, self._arrived[level.sources])
        ready += self._receive[stages] * level.takes[:, None]
        work = self._seconds[level.kinds, stages] * noise[agents]
        sent = (ready + work) + self._send[stages] * level.sends[:, None]
        self._locks[np.minimum(level.kinds, 1), agents] += ready - begin
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
        """When all microbatches are through: average the chunks' gradients in turn, then step."""
        setup, times = self._setup, self._times
        chunks = (setup.chunks, setup.agents, setup.replicas)
        work = setup.table("update").reshape(chunks).sum(0) * noise
        if setup.replicas > 1:
            size = setup.table("parameter_bytes").reshape(chunks).sum(0)[:, :1]
            seconds = np.array([[setup.peers.allreduce(float(own), setup.replicas)] for (own,) in size])
            handling = setup.table("averaging").reshape(chunks).sum(0)
            averaged = self._free.max(axis=1, keepdims=True) + seconds
            self._locks[2] += averaged - self._free
            times.busy[:] += handling
            self._free = averaged + handling
        times.compute[:] += work
        self._free = self._free + work
