"""What passes from one layer of a network to the next: one tensor, or several of a residual block that is cut."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Tensors = Tensor | tuple[Tensor, ...]


def every(tensors: Tensors) -> tuple[Tensor, ...]:
    """The tensors as a tuple, also where there is one."""
    return tensors if isinstance(tensors, tuple) else (tensors,)


def together(tensors: Sequence[Tensor]) -> Tensors:
    """The inverse of :func:`every`: what a layer takes."""
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def detached(tensors: Tensors) -> Tensors:
    """The same values, without their graph."""
    return together([tensor.detach() for tensor in every(tensors)])
