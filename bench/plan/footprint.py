"""How many bytes an agent's process holds at most, from what its layers keep for their backward passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

PASSING = 4
"""Tensors of a layer's largest size while its backward runs: the gradients of an operation's output and of its input,
that of another path around it, and the copy that a convolution makes of one of them in its own layout."""
HOLES = 0.35
"""Bytes of holes for each byte that comes and goes: a heap seldom gives an aligned tensor a hole of exactly its size.
Measured with glibc 2.36 on ResNet-20: 0.1 after ten updates with batches in flight, 0.3 to 0.5 after thirty."""


class LayerBytes(NamedTuple):
    """Bytes that one layer takes with one batch."""

    parameters: int = 0
    saved: int = 0
    """What stays from its forward to its backward: its output, and what autograd saves but weights and its input."""
    largest: int = 0
    """The largest of these tensors, or of its input."""


@dataclass(frozen=True)
class Footprint:
    """What one agent's part in training adds to its process. All sizes are bytes."""

    layers: Sequence[LayerBytes]
    """The layers of the agent's stage, in order."""
    input: int
    """A batch's inputs, or its activations out of the stage before; 0 where these stay in a slot."""
    incoming: int
    """The gradient of a batch that the next stage sends; 0 in the last stage, and where it stays in a slot."""
    slots: int
    """The channels to the neighbours."""
    versions: int
    """The number of weight versions that are kept."""
    states: float
    """Numbers that optimizer and averaging keep for each weight, the gradient apart."""
    scratch: float
    """Copies of all weights that are made in passing, by an update and for an evaluation."""
    begun: int
    """Bytes of versions, gradient and states that are there before training begins."""
    in_flight: int
    """Batches between their forward and their backward in a tick, with the one whose backward runs:
    ``Clock.in_flight``."""
    recomputed: bool
    """Whether a batch keeps its input alone, and is passed forward again before its backward."""

    @property
    def standing(self) -> int:
        """What stays all the time: versions, gradient and states of the weights."""
        return round((self.versions + 1 + self.states) * self._parameters)

    @property
    def batch(self) -> int:
        """What one batch leaves behind between its forward and its backward."""
        return self.input + (0 if self.recomputed else self._saved)

    @property
    def passing(self) -> int:
        """The most that comes and goes: batches in flight, what a backward needs meanwhile, and copies of the weights.

        With F batches in flight, the backward of layer j finds the gradients of the weights of the layers from j on,
        and the later layers' saved tensors gone, so that the worst layer counts::

            F * batch + incoming + PASSING * largest[j] + sum(parameters[j:]) - sum(saved[j + 1:])

        With recomputation there is also what all layers save of one batch. Copies of all weights in one piece are made
        when the gradients in pieces are gone, but find no place among the holes that these leave, and so add up.
        """
        held = self.in_flight * self.batch + (self._saved if self.recomputed else 0) + self.incoming
        most = 0
        for layer in reversed(self.layers):
            held += layer.parameters
            most = max(most, held + PASSING * layer.largest)
            held -= layer.saved
        return most + round(self.scratch * self._parameters)

    def peak(self, base: int) -> int:
        """The most resident bytes: ``base + standing + slots + (1 + HOLES) * passing``.

        Args:
            base: bytes of the process without its part in training.
        """
        return base + self.standing + self.slots + round((1 + HOLES) * self.passing)

    @property
    def _parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def _saved(self) -> int:
        return sum(layer.saved for layer in self.layers)
