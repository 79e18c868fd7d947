"""Channels through memory that two processes of one machine share.

A message by TCP, on loopback too, is copied by the kernel on the cores that compute. Here its sender copies it into a
slot, and its receiver computes with it where it lies and then gives the slot back. A bell rings for either.
"""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch

from bench.engine.transport.bell import Listener, Ringer
from bench.engine.transport.channels import Receiver, Route, Sender
from bench.engine.transport.message import Message
from bench.engine.world import World
from bench.system.leftovers import NAME, SHARED, Mark
from bench.system.process import boot
from bench.task.tensors import Tensors, every, together

FOLDER = SHARED


class Ring:
    """Slots for the messages of one channel, mapped by both of its ends."""

    def __init__(self, path: Path, message: Message, slots: int) -> None:
        *starts, size = accumulate((_aligned(layout.bytes) for layout in message.layouts), initial=0)
        memory = torch.from_file(str(path), shared=True, size=size * slots, dtype=torch.uint8)
        self._slots = [
            [
                memory[slot * size + start :][: layout.bytes].view(layout.dtype).as_strided(layout.shape, layout.stride)
                for start, layout in zip(starts, message.layouts, strict=True)
            ]
            for slot in range(slots)
        ]

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, number: int, tensors: Tensors) -> None:
        """Copy a message into its slot."""
        for part, tensor in zip(self._slots[number % len(self)], every(tensors), strict=True):
            part.copy_(tensor.detach())

    def look(self, number: int) -> Tensors:
        """The message that lies in its slot."""
        return together([part.detach() for part in self._slots[number % len(self)]])


def _aligned(size: int) -> int:
    """Bytes from one tensor of a slot to the next, in lines of the cache."""
    return (size + 63) // 64 * 64


class SharedSender:
    """The sending end of a channel; it waits where every slot holds a message that was not given back yet."""

    def __init__(self, message: Message, slots: int, path: Path) -> None:
        self._ring = Ring(path, message, slots)
        self.bytes = slots * message.bytes
        """Bytes of the channel's slots, which count in the processes of both ends."""
        sent, returned = pipes(path)
        self._sent_bell, self._returned_bell = Ringer(sent), Listener(returned)
        self._sent = self._returned = 0

    def open(self, count: int) -> None:
        """Get ready to send so many messages until the next flush point: nothing has to be done."""

    def send(self, tensors: Tensors) -> None:
        """Hand over a message; its tensors are free afterwards."""
        if self._sent - self._returned == len(self._ring):
            self._take_back()
        self._ring.put(self._sent, tensors)
        self._sent_bell.ring()
        self._sent += 1

    def flush(self) -> None:
        """Wait until every message was given back."""
        while self._returned < self._sent:
            self._take_back()

    def _take_back(self) -> None:
        self._returned_bell.wait()
        self._returned += 1


class SharedReceiver:
    """The receiving end of a channel."""

    def __init__(self, message: Message, slots: int, path: Path) -> None:
        self._ring = Ring(path, message, slots)
        self.bytes = slots * message.bytes
        """Bytes of the channel's slots."""
        self.message_bytes = 0
        """Bytes of a message's own memory: none, as it stays in its slot."""
        sent, returned = pipes(path)
        self._sent_bell, self._returned_bell = Listener(sent), Ringer(returned)
        self._received = 0

    def open(self, count: int) -> None:
        """Get ready for so many messages until the next flush point: nothing has to be done."""

    def receive(self) -> Tensors:
        """Wait for the next message and return it; it may be used until it is given back."""
        self._sent_bell.wait()
        self._received += 1
        return self._ring.look(self._received - 1)

    def release(self, count: int = 1) -> None:
        """Give back so many of the oldest messages that were received."""
        self._returned_bell.ring(count)


def pipes(path: Path) -> tuple[Path, Path]:
    """The paths of a channel's two bells: there is a message; a slot is free again."""
    return path.with_name(f"{path.name}-sent"), path.with_name(f"{path.name}-returned")


class Exchange:
    """Makes an agent's channels: through memory to a neighbour on the same machine, else through the process group.

    Every rank makes one, in the same place of its program.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._hosts: list[Host] = world.gather(host(world))
        self._folder = FOLDER / f"{NAME}-{world.share(os.urandom(8).hex())}"
        self._paths: list[Path] = []
        self._claim: Mark | None = None
        if world.control is not None and self._hosts[world.rank].free:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._claim = Mark(self._folder)

    def sender(self, route: Route, message: Message, depth: int, held: int = 0) -> Sender | SharedSender:
        """Make a sending end; ``depth`` messages may be under way while the receiver still holds ``held`` more."""
        path = self._path(self._world.rank, route, message, depth + held)
        return Sender(self._world, route, message, depth) if path is None else SharedSender(message, depth + held, path)

    def receiver(self, route: Route, message: Message, depth: int, held: int = 0) -> Receiver | SharedReceiver:
        """Make the receiving end, with the same numbers."""
        path = self._path(route.peer, route, message, depth + held)
        return (
            Receiver(self._world, route, message, depth)
            if path is None
            else SharedReceiver(message, depth + held, path)
        )

    def close(self) -> None:
        """Unlink what both ends have mapped by now: nothing is left behind however the run ends."""
        self._world.barrier()
        for path in self._paths:
            for name in (path, *pipes(path)):
                name.unlink(missing_ok=True)
        if self._claim is not None:
            self._claim.release()

    def _path(self, source: int, route: Route, message: Message, slots: int) -> Path | None:
        """The path of the channel out of rank ``source``, the same at both ends; None where they cannot share
        memory."""
        if self._world.control is None:
            return None
        ends = [self._hosts[self._world.rank], self._hosts[route.peer]]
        # All channels of a machine draw on the same memory.
        needed = 4 * slots * message.bytes * self._world.grid.size
        if ends[0].name != ends[1].name or min(end.free for end in ends) < needed:
            return None
        path = self._folder / f"{source}-{route.tag}"
        self._paths.append(path)
        return path


class Host(NamedTuple):
    """A running system, as one of its processes sees it."""

    name: str
    free: int
    """Bytes of shared memory."""


def host(world: World) -> Host:
    """Find out where this process runs. Containers of one machine have its boot, but not the same shared memory."""
    started = boot()
    if not started or not FOLDER.is_dir() or world.device.type != "cpu":
        return Host(f"{os.uname().nodename} {world.rank}", 0)
    free = os.statvfs(FOLDER)
    return Host(f"{started} {os.uname().nodename} {FOLDER.stat().st_dev}", free.f_bavail * free.f_frsize)
