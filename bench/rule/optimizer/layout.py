"""Where the parameters of one stage lie in one vector, and what an optimizer may want to know of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn

END = "is_end"
"""The attribute of a layer that is the first or the last one of a network that has weights, and so takes data or tells
what it made of them."""


class FlatPlace(NamedTuple):
    """One parameter's place in the vector."""

    start: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    hidden: bool = False
    """Whether it is a matrix between the first and the last layer of the network, wherever that is cut."""

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.shape)

    @property
    def has_columns(self) -> bool:
        """Whether it has more than one dimension: a matrix, or the kernels of a convolution; no bias, and no scale."""
        return len(self.shape) > 1


class FlatLayout(NamedTuple):
    """The parameters of one stage, in the order in which they lie in the vector."""

    places: tuple[FlatPlace, ...]
    delay: int = 0
    """How many updates old the stage's gradients are in a full pipeline."""

    @classmethod
    def of(cls, module: nn.Module, delay: int = 0) -> FlatLayout:
        """Lay out the parameters of a module, one after the other."""
        ends = {
            id(parameter)
            for layer in module.modules()
            if vars(layer).get(END, False)
            for parameter in layer.parameters()
        }
        places: list[FlatPlace] = []
        for parameter in module.parameters():
            start = places[-1].stop if places else 0
            hidden = parameter.ndim == 2 and id(parameter) not in ends
            places.append(FlatPlace(start, tuple(parameter.shape), parameter.stride(), hidden))
        return cls(tuple(places), delay)

    @classmethod
    def of_one(cls, parameter: Tensor) -> FlatLayout:
        """Lay out a single parameter."""
        return cls((FlatPlace(0, tuple(parameter.shape), parameter.stride()),))

    @property
    def size(self) -> int:
        """The number of weights."""
        return self.places[-1].stop if self.places else 0

    def views(self, vector: Tensor) -> list[Tensor]:
        """The vector, seen as the parameters."""
        return [view_of(vector, place) for place in self.places]

    def spans(self, wanted: Callable[[FlatPlace], bool]) -> list[slice]:
        """Where the wanted parameters lie; neighbours are one span."""
        found: list[slice] = []
        for place in filter(wanted, self.places):
            if found and found[-1].stop == place.start:
                found[-1] = slice(found[-1].start, place.stop)
            else:
                found.append(slice(place.start, place.stop))
        return found


def view_of(vector: Tensor, place: FlatPlace) -> Tensor:
    """The vector, seen as one of its parameters."""
    return vector.as_strided(place.shape, place.stride, vector.storage_offset() + place.start)


def copy_of(vector: Tensor, place: FlatPlace) -> Tensor:
    """A copy of one of the vector's parameters, which lies in memory as one that is by itself."""
    import torch

    return view_of(vector, place).clone(memory_format=torch.contiguous_format)


def mark_ends(layers: list[nn.Module]) -> None:
    """Mark the first and the last of a network's layers that have weights."""
    weighty = [layer for layer in layers if next(layer.parameters(), None) is not None]
    for layer in {*weighty[:1], *weighty[-1:]}:
        vars(layer)[END] = True
