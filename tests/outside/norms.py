from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.keys import Positive
from bench.rule.clip.contract import Clip


@dataclass(frozen=True)
class LargestNorm(Clip):
    """No parameter's gradient of the whole network is larger than this; all are scaled alike."""

    name: ClassVar[str] = "largest_norm"
    spans_stages: ClassVar[bool] = True
    most: Positive
    """The largest norm of a parameter's gradient."""

    def factor(self, norms: Tensor) -> Tensor:
        return torch.clamp(self.most / norms.max(), max=1.0)

    def by_parameter(self, parameters: Sequence[nn.Parameter]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        factor = torch.clamp(self.most / torch.stack([gradient.norm() for gradient in gradients]).max(), max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
