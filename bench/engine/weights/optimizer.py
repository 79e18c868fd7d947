"""torch's optimizers, by parameter for the oracle, and on one flat vector for the workers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from bench.rule.optimizer.adamw import AdamW
from bench.rule.optimizer.choices import Optimizer
from bench.rule.optimizer.sgd import SGD


def build(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Make the configured optimizer; its learning rate is set at every step."""
    match optimizer:
        case SGD(momentum=momentum, weight_decay=weight_decay, nesterov=nesterov):
            return torch.optim.SGD(
                parameters, lr=0.0, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, foreach=False
            )
        case AdamW(betas=(beta1, beta2), eps=eps, weight_decay=weight_decay):
            return torch.optim.AdamW(
                parameters, lr=0.0, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, foreach=False
            )
    raise AssertionError(optimizer)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


class FlatOptimizer:
    """An optimizer whose state stays while its weights move from buffer to buffer: one kernel for all parameters.

    torch's own step as a function, the same arithmetic for each weight as the class has. The class keeps its weights in
    one place, and imports torch's compiler for seconds.
    """

    def __init__(self, optimizer: Optimizer, like: Tensor) -> None:
        self._optimizer = optimizer
        self._momentum: list[Tensor | None] = [None]
        self._moments = [torch.zeros_like(like) for _ in range(2 if isinstance(optimizer, AdamW) else 0)]
        self._steps = torch.tensor(0.0)

    @property
    def states(self) -> int:
        """Numbers that the optimizer keeps for each weight from its first update on."""
        match self._optimizer:
            case SGD(momentum=momentum):
                return 1 if momentum else 0
            case AdamW():
                return 2

    @property
    def begun(self) -> int:
        """How many of these numbers have memory before the first update."""
        return len(self._moments)

    @property
    def scratch(self) -> int:
        """Numbers that torch's step makes for each weight, for as long as it runs: the gradient with its decay and with
        Nesterov's look ahead, or AdamW's denominator and what that is made of."""
        match self._optimizer:
            case SGD(weight_decay=weight_decay, nesterov=nesterov):
                return (1 if weight_decay else 0) + (1 if nesterov else 0)
            case AdamW():
                return 2

    @property
    def velocity(self) -> Tensor | None:
        """SGD's momentum [parameters]; None before the first update."""
        return self._momentum[0]

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        """Update ``weights`` [parameters] in place by ``gradient`` [parameters]."""
        match self._optimizer:
            case SGD(momentum=momentum, weight_decay=weight_decay, nesterov=nesterov):
                sgd(
                    [weights],
                    [gradient],
                    self._momentum,
                    foreach=False,
                    fused=False,
                    weight_decay=weight_decay,
                    momentum=momentum,
                    lr=rate,
                    dampening=0.0,
                    nesterov=nesterov,
                    maximize=False,
                )
            case AdamW(betas=(beta1, beta2), eps=eps, weight_decay=weight_decay):
                first, second = self._moments
                adamw(
                    [weights],
                    [gradient],
                    [first],
                    [second],
                    [],
                    [self._steps],
                    foreach=False,
                    fused=False,
                    amsgrad=False,
                    beta1=beta1,
                    beta2=beta2,
                    lr=rate,
                    weight_decay=weight_decay,
                    eps=eps,
                    maximize=False,
                )
