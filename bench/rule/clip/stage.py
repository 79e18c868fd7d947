"""``clip=stage``: each stage's gradient has a largest norm (Pascanu et al. 2013, arXiv 1211.5063), and no stage waits.

It is another update than that of ``clip=network``: the stages' parts of one gradient are scaled by different factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.keys import Positive
from bench.rule.clip.contract import Clip

if TYPE_CHECKING:
    from torch import Tensor, nn

EPSILON = 1e-6
"""What torch adds to a norm before it divides by it."""


@dataclass(frozen=True)
class StageClip(Clip):
    """Each stage scales its own gradient to a norm of at most ``norm``.

    The arithmetic is that of ``torch.nn.utils.clip_grad_norm_`` (torch 2.14, ``torch/nn/utils/clip_grad.py``,
    ``foreach=False``): the norm of the parameters' norms, and ``min(1, norm / (that + 1e-6))``, by which gradients are
    multiplied also where it is 1.
    """

    name: ClassVar[str] = "stage"
    place: ClassVar[int] = 2
    norm: Positive
    """The largest norm that a gradient keeps."""

    def factor(self, norms: Tensor) -> Tensor:
        import torch

        return torch.clamp(self.norm / (torch.linalg.vector_norm(norms) + EPSILON), max=1.0)

    def by_parameter(self, parameters: Sequence[nn.Parameter]) -> None:
        import torch

        torch.nn.utils.clip_grad_norm_(list(parameters), self.norm, foreach=False)
