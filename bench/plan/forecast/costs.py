"""What a prediction of throughput starts from, and what it ends with: costs of stages and links, seconds of agents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.plan.forecast.orders import Pass
from bench.plan.sections import LOCKS

Array = NDArray[np.float64]
Seconds = float | Sequence[float] | Array
"""Seconds that are those of every replica alike, or one number for each replica."""


@dataclass(frozen=True)
class Link:
    """What carries a message from one agent to another, each direction by itself."""

    bandwidth: float = math.inf
    """Bytes that pass in a second."""
    latency: float = 0.0
    """Seconds on the way, whatever the message's size."""
    shared: bool = False
    """The agents share memory: a message occupies its slot until it is taken. Over a network it does until it left."""

    def transfer(self, size: float) -> float:
        """Seconds for which a message of so many bytes occupies the link."""
        return size / self.bandwidth

    def allreduce(self, size: float, replicas: int) -> float:
        """Seconds of a ring all-reduce of so many bytes (Patarasu and Yuan 2009).

        2 (S - 1) steps, each of which hands a share of 1 / S on to the next replica.
        """
        return 2 * (replicas - 1) * (self.latency + self.transfer(size / replicas))


@dataclass(frozen=True)
class Pace:
    """Seconds that a message takes on its way, or keeps a core busy: that hands it over, takes it, or averages it."""

    message: float = 0.0
    """Seconds for a message, whatever its size."""
    byte: float = 0.0
    """Seconds for each of its bytes beside that."""

    def seconds(self, size: float) -> float:
        """Seconds for a message of so many bytes."""
        return self.message + self.byte * size


FREE = Pace()


@dataclass(frozen=True)
class StageCost:
    """What one stage costs. Seconds of passes are those of a batch, or of a microbatch where the method has them.

    ``data``, ``send``, ``receive`` and ``averaging`` keep the agent's own core busy. As the engine's meter has it, time
    to receive counts as locked, and that for the other three neither as locked nor as computing.
    """

    forward: Seconds
    backward: Seconds
    """Seconds of the backward pass; with ``zero_bubble`` to the gradients of the input alone."""
    update: Seconds = 0.0
    """Seconds of the optimizer's step."""
    weights: Seconds = 0.0
    """Seconds of the pass to the gradients of the weights, which ``zero_bubble`` puts off."""
    message_bytes: float = 0.0
    """Bytes of the activation that the stage hands on, and of the gradient that comes back for it."""
    parameter_bytes: float = 0.0
    """Bytes of the parameters, which the stage's replicas average."""
    data: Seconds = 0.0
    """Seconds to prepare a batch's inputs, before the first forward."""
    send: Seconds = 0.0
    """Seconds to hand over one message."""
    receive: Seconds = 0.0
    """Seconds to take one message."""
    averaging: Seconds = 0.0
    """Seconds to start an averaging, and to use its result."""
    buckets: tuple[tuple[float, float], ...] = ()
    """The buckets of gradients of ``ddp``, in order: (share of the backward after which it is ready, bytes)."""


def _between(one: StageCost, other: StageCost, share: float) -> StageCost:
    seconds: dict[str, Any] = {
        name: (1 - share) * np.asarray(getattr(one, name), float) + share * np.asarray(getattr(other, name), float)
        for name in ("forward", "backward", "update", "weights", "data", "send", "receive", "averaging")
    }
    return replace(one, **seconds)


class Passing(Protocol):
    """What a walk asks of a method; those of the suite are in ``bench/rule/method``."""

    name: ClassVar[str]
    pieces: ClassVar[int]
    """Stages of the network that each agent holds."""
    microbatched: ClassVar[bool]
    """Whether microbatches pass through the stages before an update, and not a batch a tick."""
    whole: ClassVar[bool]
    """Whether every agent holds the whole network."""

    def holder(self, stages: int, piece: int) -> int:
        """The agent, of so many, that holds a stage of the network."""

    def orders(self, stages: int, microbatches: int) -> list[list[Pass]]:
        """The order of each agent's passes for one update."""


@dataclass(frozen=True)
class Setup:
    """K x S agents and how they train.

    Raises:
        ValueError: it makes no sense: the message names the key, its value, and what is allowed.
    """

    method: Passing
    stages: Sequence[StageCost]
    """The costs of the network's stages in order: K, times :attr:`chunks`."""
    replicas: int = 1
    staleness: int = 0
    """c: ticks of delay per stage boundary, of methods that know any."""
    microbatches: int = 1
    """M: parts of a batch, of the pipelines with a flush at every update."""
    a_pass: float = 0.0
    """Seconds that the schedule itself keeps an agent's core busy before each pass of a microbatch."""
    link: Link = Link()
    """The link between neighbouring stages."""
    peers: Link = Link()
    """The link between replicas."""
    jitter: float = 0.0
    """Standard deviation of an agent's computing time in a tick, over its mean."""
    seed: int = 0
    """The seed that the jitter is drawn from."""
    together: bool = False
    """Whether the stages of a replica update by a batch together, as those do that clip the network's gradient."""

    def __post_init__(self) -> None:
        for name in ("replicas", "microbatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not self.stages or len(self.stages) % self.chunks:
            raise ValueError(
                f"stages: {len(self.stages)} must be a multiple of {self.chunks}, and at least 1, for "
                f"method={self.method.name!r}"
            )
        if self.method.whole and len(self.stages) > 1:
            raise ValueError(f"method={self.method.name!r} needs one stage, not {len(self.stages)}")
        if not (math.isfinite(self.jitter) and self.jitter >= 0):
            raise ValueError(f"jitter={self.jitter} must be finite and at least 0")

    @property
    def chunks(self) -> int:
        """The number of stages that each agent holds."""
        return self.method.pieces

    @property
    def agents(self) -> int:
        """K: the number of agents of a replica."""
        return len(self.stages) // self.chunks

    def towards(self, other: Setup, share: float) -> Setup:
        """Go so far towards another setup's seconds of stages and jitter: 0 is this one's, 1 the other's."""
        pairs = zip(self.stages, other.stages, strict=True)
        jitter = (1 - share) * self.jitter + share * other.jitter
        return replace(self, stages=[_between(own, others, share) for own, others in pairs], jitter=jitter)

    def holder(self, stage: int) -> int:
        """The agent that holds a stage."""
        return self.method.holder(self.agents, stage)

    def table(self, name: str) -> Array:
        """Put a field of every stage's costs into a table [stages, replicas]."""
        rows = [np.broadcast_to(np.asarray(getattr(stage, name), float), self.replicas) for stage in self.stages]
        return np.stack(rows)


class Noise:
    """Draws factors on the agents' computing times, one for each tick: log-normal, of mean 1."""

    def __init__(self, setup: Setup) -> None:
        self._shape = (setup.agents, setup.replicas)
        self._random = np.random.default_rng(setup.seed)
        self._width = math.sqrt(math.log1p(setup.jitter**2))
        self._still = np.ones(self._shape)

    def draw(self) -> Array:
        """Draw the next tick's factors [K, S]."""
        if not self._width:
            return self._still
        factors: Array = np.exp(self._width * self._random.standard_normal(self._shape) - self._width**2 / 2)
        return factors


@dataclass(frozen=True)
class Times:
    """Seconds of every agent [K, S] from a start to a flush; computing, locked and busy ones add up to the wall's."""

    updates: int
    wall: Array
    compute: Array
    locks: Mapping[str, Array]
    """Those blocked, by what for: ``forward``, ``backward``, ``update``, and locks that no forecast knows, at 0."""
    busy: Array
    """Seconds that are neither: data, sending (also waiting for a slot), averaging."""

    @classmethod
    def nothing(cls, agents: int, replicas: int) -> Times:
        wall, compute, busy, *locks = (np.zeros((agents, replicas)) for _ in range(3 + len(LOCKS)))
        return cls(0, wall, compute, dict(zip(LOCKS, locks, strict=True)), busy)

    @property
    def seconds(self) -> float:
        """Seconds until the last agent is done."""
        return float(self.wall.max())

    @property
    def efficiency(self) -> float:
        """The busiest agent's computing time over the wall time."""
        return float(self.compute.max()) / self.seconds

    def locking(self, lock: str) -> float:
        """The mean over the agents of a lock's share of their wall time."""
        return float((self.locks[lock] / self.wall).mean())

    def units_per_second(self, units: int) -> float:
        """Units per second, with so many units an update, of all replicas together."""
        return self.updates * units / self.seconds

    def plus(self, other: Times, times: int = 1) -> Times:
        """Add so many stretches of other times behind these."""
        return Times(
            self.updates + times * other.updates,
            self.wall + times * other.wall,
            self.compute + times * other.compute,
            {lock: seconds + times * other.locks[lock] for lock, seconds in self.locks.items()},
            self.busy + times * other.busy,
        )
