"""The messages between stages: what each consists of, in which layout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.task.tensors import Tensors, every, together


@dataclass(frozen=True)
class Layout:
    """The layout of any dense tensor, which is sent as its storage lies."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

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
class Message:
    """What every message of a channel is: a tensor, or several where the cut goes through a residual block."""

    layouts: tuple[Layout, ...]

    @classmethod
    def like(cls, tensors: Tensors) -> Message:
        return cls(tuple(Layout(tuple(part.shape), tuple(part.stride()), part.dtype) for part in every(tensors)))

    @property
    def bytes(self) -> int:
        return sum(layout.bytes for layout in self.layouts)

    def empty(self, device: torch.device) -> Tensors:
        return together([layout.empty(device) for layout in self.layouts])


def flat(tensor: Tensor) -> Tensor:
    """A dense tensor's storage as a vector: gloo wants its messages contiguous."""
    return tensor.as_strided((tensor.numel(),), (1,))
