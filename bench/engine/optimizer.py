"""torch's optimizers on one flat parameter: the same arithmetic for each weight, one kernel for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench import config


def build(optimizer: config.Optimizer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The configured optimizer; its learning rate is set at every step."""
    match optimizer:
        case config.SGD(momentum=momentum, weight_decay=weight_decay, nesterov=nesterov):
            return torch.optim.SGD(
                parameters, lr=0.0, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, foreach=False
            )
        case config.AdamW(betas=(beta1, beta2), eps=eps, weight_decay=weight_decay):
            return torch.optim.AdamW(
                parameters, lr=0.0, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, foreach=False
            )
    raise AssertionError(optimizer)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


class FlatOptimizer:
    """An optimizer whose state stays while its weights move from buffer to buffer."""

    def __init__(self, optimizer: config.Optimizer, like: Tensor) -> None:
        self._parameter = nn.Parameter(like.data)
        self._optimizer = build(optimizer, [self._parameter])

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        """Update ``weights`` [parameters] in place by ``gradient`` [parameters]."""
        self._parameter.data = weights
        self._parameter.grad = gradient
        set_rate(self._optimizer, rate)
        self._optimizer.step()
