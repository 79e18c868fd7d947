"""What every clip is: a factor on a gradient, written twice, after the replicas' averaging and before the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bench.choice import Choice

if TYPE_CHECKING:
    from torch import Tensor, nn


class Clip(Choice):
    """What is done about large gradients."""

    group: ClassVar[str] = "clip"
    acts: ClassVar[bool] = True
    """Whether it looks at gradients at all."""
    spans_stages: ClassVar[bool] = False
    """Whether its factor is made of the whole network's gradient of a batch, of which each stage has a part, so that no
    stage makes the batch's update before all have its gradient."""

    def factor(self, norms: Tensor) -> Tensor:
        """Return the number that a gradient is multiplied by, as a tensor without dimensions: for the workers.

        Args:
            norms: the norms [parameters] of the gradients of a stage's parameters, at least one, or of the network's.
        """
        raise NotImplementedError

    def by_parameter(self, parameters: Sequence[nn.Parameter]) -> None:
        """Do the same to the gradients of these parameters, in place: for the oracle."""
        raise NotImplementedError

    def outside(self, run: Any) -> str | None:  # noqa: ARG002
        return "scales every gradient by a factor that depends on it"

    def try_out(self, run: Any) -> None:  # noqa: ARG002
        import torch

        for size in (1e-3, 1.0, 1e3):
            gradients = [torch.tensor([[3.0, 0.0], [0.0, 4.0]]) * size, torch.tensor([-12.0, 0.0]) * size]
            parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            self.by_parameter(parameters)
            factor = self.factor(torch.stack([gradient.norm() for gradient in gradients]))
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if parameter.grad is None or not torch.allclose(parameter.grad, gradient * factor):
                    raise ValueError("its factor() and its by_parameter() must make the same of a gradient")
