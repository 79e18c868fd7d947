"""What every optimizer is, written twice: by parameter for the oracle, and on one flat vector for the workers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bench.choice import Choice, Number
from bench.rule.optimizer.layout import FlatLayout, FlatPlace

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

TRIED = FlatLayout((FlatPlace(0, (2, 2), (2, 1), hidden=True), FlatPlace(4, (2,), (1,))))
"""What a choice is tried out on: a matrix and a bias."""


class Flat:
    """An optimizer whose state stays while its weights move from buffer to buffer: one kernel for all parameters."""

    states: float
    """Numbers that it keeps for each weight from its first update on."""
    begun: float = 0
    """Those of them that there is memory for before the first update."""
    scratch: float
    """Numbers that a step makes for each weight, for as long as it runs."""

    @property
    def velocity(self) -> Tensor | None:
        """The change [parameters] that every update repeats a part of; None before the first one, or for ever."""
        return None

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        """Update ``weights`` [parameters] in place by ``gradient`` [parameters]."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return all that its further steps depend on, of plain values and tensors."""
        raise NotImplementedError

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`, before the first step."""
        raise NotImplementedError


class Optimizer(Choice):
    """How a gradient becomes a change of the weights."""

    group: ClassVar[str] = "optimizer"

    @property
    def has_velocity(self) -> bool:
        """Whether the weights move on along a velocity that is known before the next gradient is."""
        return False

    def largest_step(self, delay: int) -> float | None:  # noqa: ARG002
        """Return the largest rate times curvature at which its update is stable on a quadratic, with gradients that are
        ``delay`` updates old; None where that is not known."""
        return None

    def outside(self, run: Any) -> str | None:  # noqa: ARG002
        return "is not plain SGD"

    def search(self, number: Number) -> dict[str, Any]:  # noqa: ARG002
        """Return the values of those of its keys that a study's trial tries."""
        return {}

    def by_parameter(self, parameters: Sequence[nn.Parameter], layout: FlatLayout) -> torch.optim.Optimizer:
        """Return torch's optimizer of a stage's parameters; its learning rate is set before every step.

        Args:
            layout: what else there is to know of them, in their order.
        """
        raise NotImplementedError

    def flat(self, like: Tensor, layout: FlatLayout) -> Flat:  # noqa: ARG002
        """Return the same arithmetic on one vector of weights; without another, that of the class by element.

        Args:
            like: a vector [parameters] of the weights' type, on their device.
            layout: where the parameters lie in it.
        """
        return ByElement(self, like)

    def try_out(self, run: Any) -> None:  # noqa: ARG002
        import torch

        weights = torch.zeros(TRIED.size)
        self.flat(weights, TRIED).step(weights, torch.ones(TRIED.size), 0.1)
        self.by_parameter([torch.nn.Parameter(view) for view in TRIED.views(weights)], TRIED).step()
        self._try_state()

    def _try_state(self) -> None:
        """Check that its steps go on from its state as they would without it.

        Raises:
            ValueError: they do not.
        """
        import torch

        weights, gradients = (
            torch.ones(6),
            torch.tensor(
                [[0.5, -1.0, 2.0, 0.1, 1.0, 0.2], [1.0, 0.25, -0.5, 0.3, -1.0, 0.7], [-0.5, 1.0, 0.75, 0.2, 0.5, -0.1]]
            ),
        )
        flat, again = self.flat(weights, TRIED), self.flat(weights, TRIED)
        for gradient in gradients[:2]:
            flat.step(weights, gradient.clone(), 0.1)
        kept, other = io.BytesIO(), weights.clone()
        torch.save(flat.state(), kept)
        again.load(torch.load(io.BytesIO(kept.getvalue()), weights_only=True))
        for one, its in ((flat, weights), (again, other)):
            one.step(its, gradients[2].clone(), 0.1)
        if not torch.equal(weights, other):
            raise ValueError(
                "goes on otherwise behind a checkpoint: its state() must hold all that its steps depend on"
            )


class ByElement(Flat):
    """A class of torch's on a single parameter that is all weights: right where the arithmetic is by element."""

    scratch = 2

    def __init__(self, optimizer: Optimizer, like: Tensor) -> None:
        import torch

        # As large as the weights at once, for classes that make their state of it before the first step.
        self._weights = torch.nn.Parameter(torch.zeros_like(like))
        self._optimizer = optimizer.by_parameter([self._weights], FlatLayout.of_one(self._weights))
        probe = torch.nn.Parameter(torch.ones(3, dtype=like.dtype))
        probe.grad, tried = torch.ones_like(probe), optimizer.by_parameter([probe], FlatLayout.of_one(probe))
        tried.step()
        self.states = sum(getattr(value, "shape", None) == probe.shape for value in tried.state[probe].values())

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        set_rate(self._optimizer, rate)
        self._weights.data, self._weights.grad = weights, gradient
        self._optimizer.step()
        self._weights.grad = None

    def state(self) -> dict[str, Any]:
        return self._optimizer.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Have the next step take this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
