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

from bench.engine.transport.message import Layout, Message, flat
from bench.engine.world import World, peers_expected
from bench.task.tensors import Tensors, every, together


@dataclass(frozen=True)
class Route:
    """One direction of one stage boundary."""

    peer: int
    """Rank at the other end."""
    tag: int
    """Tells the two directions apart under gloo."""
    group: dist.ProcessGroup | None
    """The group that tells them apart under NCCL, which knows no tags and runs a communicator's operations in order."""

    def tagged(self, more: int) -> Route:
        """The same way for another kind of message."""
        return replace(self, tag=self.tag + more)

    @classmethod
    def activations(cls, world: World, source: int, peer: int) -> Route:
        """The route of the activations that leave rank ``source``, seen from the end that talks to ``peer``."""
        return cls(peer, 0, world.forward_lines.get(source))

    @classmethod
    def gradients(cls, world: World, source: int, peer: int) -> Route:
        """The route of the gradients that leave rank ``source``, seen from the end that talks to ``peer``."""
        return cls(peer, 1, world.backward_lines.get(source))


class Sender:
    """The sending end of a channel. ``depth`` messages may be under way before :meth:`send` waits for the oldest."""

    def __init__(self, world: World, route: Route, message: Message, depth: int) -> None:
        self._world, self._route, self._message, self._depth = world, route, message, depth
        self._underway: deque[list[tuple[dist.Work, Tensor]]] = deque()
        self.bytes = 0
        """Bytes of memory that the sender has for itself: it sends what its user keeps."""

    def open(self, count: int) -> None:
        """Get ready to send so many messages until the next flush point: nothing has to be done."""

    def send(self, tensors: Tensors) -> None:
        """Start a message; its tensors must not be written to before it has left."""
        parts = [self._ready(*part) for part in zip(every(tensors), self._message.layouts, strict=True)]
        if self._world.staged:
            torch.cuda.current_stream(self._world.device).synchronize()
        if len(self._underway) >= self._depth:
            self._finish_oldest()
        self._underway.append([(self._start(part), part) for part in parts])

    def flush(self) -> None:
        """Wait until everything has left."""
        while self._underway:
            self._finish_oldest()

    def _ready(self, tensor: Tensor, layout: Layout) -> Tensor:
        tensor = layout.pack(tensor.detach())
        if not self._world.staged:
            return tensor
        return layout.empty(torch.device("cpu"), pinned=True).copy_(tensor, non_blocking=True)

    def _start(self, tensor: Tensor) -> dist.Work:
        with peers_expected():
            work = dist.isend(flat(tensor), self._route.peer, self._route.group, self._route.tag)
        assert work is not None
        return work

    def _finish_oldest(self) -> None:
        with peers_expected():
            for work, _ in self._underway.popleft():
                work.wait()


class Receiver:
    """The receiving end of a channel. Up to ``depth`` receives are posted ahead of the one that is asked for."""

    def __init__(self, world: World, route: Route, message: Message, depth: int) -> None:
        self._world, self._route, self._message, self._depth = world, route, message, depth
        self._posted: deque[list[tuple[dist.Work, Tensor]]] = deque()
        self._unposted = 0
        self.bytes = depth * message.bytes
        """Bytes of the memory that receives are posted into."""
        self.message_bytes = message.bytes
        """Bytes of a message's own memory, once it is received."""

    def open(self, count: int) -> None:
        """Expect so many messages until the next flush point."""
        assert not self._posted, "the messages before this flush point were not all received"
        self._unposted = count
        for _ in range(min(self._depth, count)):
            self._post()

    def receive(self) -> Tensors:
        """Wait for the next message, and return its tensors, which are its own."""
        posted = self._posted.popleft()
        with peers_expected():
            for work, _ in posted:
                work.wait()
        if self._unposted:
            self._post()
        return together([self._placed(tensor) for _, tensor in posted])

    def release(self, count: int = 1) -> None:
        """Give back so many of the oldest messages that were received: nothing to do, each has tensors of its own."""

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._world.device, non_blocking=True) if self._world.staged else tensor

    def _post(self) -> None:
        self._posted.append([self._start(layout) for layout in self._message.layouts])
        self._unposted -= 1

    def _start(self, layout: Layout) -> tuple[dist.Work, Tensor]:
        staged = self._world.staged
        tensor = layout.empty(torch.device("cpu") if staged else self._world.device, pinned=staged)
        with peers_expected():
            work = dist.irecv(flat(tensor), self._route.peer, self._route.group, self._route.tag)
        assert work is not None
        return work, tensor
