"""Activations and gradients between neighbouring stages.

A channel carries one kind of message in one direction, in order. Receives are posted ahead, so that the message is
already there when it is asked for; sends are not waited for, only kept alive until they have left.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor

from bench.engine.world import World, peers_expected


@dataclass(frozen=True)
class Message:
    """The layout of every message of a channel: any dense tensor, sent as its storage lies."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def like(cls, tensor: Tensor) -> Message:
        return cls(tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * torch.Size(self.shape).numel()

    def empty(self, device: torch.device, pinned: bool = False) -> Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=device, pin_memory=pinned)

    def pack(self, tensor: Tensor) -> Tensor:
        """The tensor itself where its layout is right, else a copy of it that is."""
        if tensor.stride() == self.stride and tensor.dtype == self.dtype:
            return tensor
        return self.empty(tensor.device).copy_(tensor)


@dataclass(frozen=True)
class Route:
    """One direction of one stage boundary."""

    peer: int
    """Rank at the other end."""
    tag: int
    """Tells the two directions apart under gloo."""
    group: dist.ProcessGroup | None
    """Tells them apart under NCCL, which knows no tags and runs a communicator's operations in order."""

    def tagged(self, more: int) -> Route:
        """The same way for another kind of message."""
        return replace(self, tag=self.tag + more)

    @classmethod
    def activations(cls, world: World, source: int, peer: int) -> Route:
        """Of the activations that leave rank ``source``, seen from the end that talks to ``peer``."""
        return cls(peer, 0, world.forward_lines.get(source))

    @classmethod
    def gradients(cls, world: World, source: int, peer: int) -> Route:
        """Of the gradients that leave rank ``source``, seen from the end that talks to ``peer``."""
        return cls(peer, 1, world.backward_lines.get(source))


def flat(tensor: Tensor) -> Tensor:
    """A dense tensor's storage as a vector: gloo wants its messages contiguous."""
    return tensor.as_strided((tensor.numel(),), (1,))


class Sender:
    """The sending end. ``depth`` messages may be under way before :meth:`send` waits for the oldest."""

    def __init__(self, world: World, route: Route, message: Message, depth: int) -> None:
        self._world, self._route, self._message, self._depth = world, route, message, depth
        self._underway: deque[tuple[dist.Work, Tensor]] = deque()
        self.bytes = 0
        """Of memory that it has for itself: it sends what its user keeps."""

    def open(self, count: int) -> None:
        """So many messages will be sent until the next flush point: nothing has to be made ready."""

    def send(self, tensor: Tensor) -> None:
        """Start a message; the tensor must not be written to before it has left."""
        tensor = self._message.pack(tensor.detach())
        if self._world.staged:
            host = self._message.empty(torch.device("cpu"), pinned=True)
            host.copy_(tensor, non_blocking=True)
            torch.cuda.current_stream(self._world.device).synchronize()
            tensor = host
        if len(self._underway) >= self._depth:
            self._finish_oldest()
        with peers_expected():
            work = dist.isend(flat(tensor), self._route.peer, self._route.group, self._route.tag)
        assert work is not None
        self._underway.append((work, tensor))

    def flush(self) -> None:
        """Wait until everything has left."""
        while self._underway:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        with peers_expected():
            self._underway.popleft()[0].wait()


class Receiver:
    """The receiving end. Up to ``depth`` receives are posted ahead of the one that is asked for."""

    def __init__(self, world: World, route: Route, message: Message, depth: int) -> None:
        self._world, self._route, self._message, self._depth = world, route, message, depth
        self._posted: deque[tuple[dist.Work, Tensor]] = deque()
        self._unposted = 0
        self.bytes = depth * message.bytes
        """Of memory that receives are posted into."""

    def open(self, count: int) -> None:
        """Expect so many messages until the next flush point."""
        assert not self._posted, "the messages before this flush point were not all received"
        self._unposted = count
        for _ in range(min(self._depth, count)):
            self._post()

    def receive(self) -> Tensor:
        """The next message, a tensor of its own; blocks until it is there."""
        work, tensor = self._posted.popleft()
        with peers_expected():
            work.wait()
        if self._unposted:
            self._post()
        return tensor.to(self._world.device, non_blocking=True) if self._world.staged else tensor

    def _post(self) -> None:
        staged = self._world.staged
        tensor = self._message.empty(torch.device("cpu") if staged else self._world.device, pinned=staged)
        with peers_expected():
            work = dist.irecv(flat(tensor), self._route.peer, self._route.group, self._route.tag)
        assert work is not None
        self._posted.append((work, tensor))
        self._unposted -= 1
