"""The processes of a run: which agent this one is, on which device, and whom it can talk to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup, Store, rendezvous

from bench.config import RunConfig
from bench.engine.meeting import meet
from bench.engine.seat import Seat
from bench.plan.grid import Grid

TIMEOUT = timedelta(minutes=10)


class PeerLost(RuntimeError):
    """A message did not come because the process that should have sent it is gone: never the first failure."""


@dataclass(frozen=True)
class World:
    """One agent's place among the others. Alone (``grid.size == 1``) it has no groups at all."""

    grid: Grid
    rank: int
    device: torch.device
    backend: str
    """The back end that moves tensors: ``gloo`` or ``nccl``."""
    control: ProcessGroup | None = None
    """The gloo group of all ranks: barriers, plans and figures, outside the clock."""
    peers: ProcessGroup | None = None
    """The group of the replicas of this agent's stage."""
    line: ProcessGroup | None = None
    """The gloo group of the stages of this agent's replica, outside of the channels between neighbours: for torch's
    pipelining, and for what all stages must know of a gradient."""
    forward_lines: Mapping[int, ProcessGroup | None] = field(default_factory=dict)
    """The NCCL group that carries activations out of a rank, by that rank; gloo tells messages apart by tags."""
    backward_lines: Mapping[int, ProcessGroup | None] = field(default_factory=dict)
    """The NCCL group that carries gradients out of a rank, by that rank."""

    @property
    def stage(self) -> int:
        return self.grid.stage(self.rank)

    @property
    def replica(self) -> int:
        return self.grid.replica(self.rank)

    @property
    def staged(self) -> bool:
        """Whether messages go through pinned host memory: ranks that share a GPU cannot use NCCL."""
        return self.device.type == "cuda" and self.backend == "gloo"

    def barrier(self) -> None:
        if self.control is not None:
            with peers_expected():
                dist.barrier(self.control)

    def gather(self, value: Any) -> list[Any]:
        """Gather every rank's value, in rank order, at every rank; outside the clock."""
        if self.control is None:
            return [value]
        values: list[Any] = [None] * self.grid.size
        with peers_expected():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def collect(self, parts: dict[str, Any]) -> dict[str, Any]:
        """Gather all ranks' entries at rank 0; elsewhere return the rank's own."""
        if self.control is None:
            return parts
        everything: list[Any] | None = [None] * self.grid.size if self.rank == 0 else None
        with peers_expected():
            dist.gather_object(parts, everything, dst=0, group=self.control)
        return {name: value for part in everything or [parts] for name, value in part.items()}

    def share(self, value: Any) -> Any:
        """Hand rank 0's value to every rank."""
        if self.control is None:
            return value
        box = [value]
        with peers_expected():
            dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]


@contextmanager
def joined(config: RunConfig, seat: Seat, store: Store | None = None) -> Iterator[World]:
    """Enter the run's process group, and leave it in the end.

    Args:
        store: where the ranks find each other; None: where torchrun's variables say.

    Raises:
        ValueError: there are more processes than agents, or fewer.
    """
    grid = Grid(config.stages, config.replicas) if config.engine == "distributed" else Grid(1, 1)
    rank, size = seat.rank, seat.size
    if size != grid.size:
        raise ValueError(f"stages={grid.stages} replicas={grid.replicas} need {grid.size} processes, not {size}")
    device, backend = place(config, seat.local_rank, seat.local_size)
    if size == 1:
        yield World(grid, 0, device, backend)
        return
    store = store or meet(next(rendezvous("env://", timeout=TIMEOUT))[0], rank, size, TIMEOUT)
    dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=size)
    try:
        control = dist.group.WORLD if backend == "gloo" else _group(list(range(size)), "gloo")
        groups = [_group(grid.peers(stage)) for stage in range(grid.stages)] if grid.replicas > 1 else []
        peers = groups[grid.stage(rank)] if groups else None
        pipelines = [_group(grid.line(replica), "gloo") for replica in range(grid.replicas) if grid.stages > 1]
        line = pipelines[grid.replica(rank)] if pipelines else None
        forward_lines, backward_lines = _lines(grid) if backend == "nccl" else ({}, {})
        yield World(grid, rank, device, backend, control, peers, line, forward_lines, backward_lines)
    finally:
        dist.destroy_process_group()


def _group(ranks: list[int], backend: str | None = None) -> ProcessGroup | None:
    """Make a group of some ranks, None in the others; every rank must ask for every group, in one order."""
    group = dist.new_group(ranks, timeout=TIMEOUT, backend=backend)
    return group if isinstance(group, ProcessGroup) else None


def _lines(grid: Grid) -> tuple[dict[int, ProcessGroup | None], dict[int, ProcessGroup | None]]:
    """Make a group for each direction of each stage boundary."""
    forward: dict[int, ProcessGroup | None] = {}
    backward: dict[int, ProcessGroup | None] = {}
    for rank in range(grid.size):
        following = grid.next(rank)
        if following is not None:
            forward[rank] = _group([rank, following])
            backward[following] = _group([rank, following])
    return forward, backward


def place(config: RunConfig, local_rank: int, local_size: int) -> tuple[torch.device, str]:
    """Choose a rank's device and backend: ranks take a machine's GPUs in turn, NCCL where none has to share."""
    if config.device == "cpu":
        return torch.device("cpu"), "gloo"
    gpus = torch.cuda.device_count()
    device = torch.device("cuda", local_rank % gpus)
    torch.cuda.set_device(device)
    alone = local_size <= gpus
    return device, config.backend if config.backend != "auto" else ("nccl" if alone else "gloo")


@contextmanager
def peers_expected() -> Iterator[None]:
    """Turn the back end's error about a connection that closed into :class:`PeerLost`."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(f"a peer is gone: {str(error).splitlines()[0]}") from error
