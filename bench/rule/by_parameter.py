"""Optimizers that torch has not, by parameter: what the oracle and the plain loops train with.

They are written from their papers, and apart from those on one vector that the workers train with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class NAdamByParameter(torch.optim.NAdam):
    """torch's NAdam, which goes on from its state as it would have gone on.

    torch (2.14) gives the product of its momenta the weights' type where a state is loaded, and so float64 to a product
    that was rounded to float32 so far.
    """

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(dict(state_dict))
        for state in self.state.values():
            state["mu_product"] = state["mu_product"].to(torch.get_default_dtype())


class LionByParameter(torch.optim.Optimizer):
    """Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2)."""

    def __init__(self, groups: Sequence[dict[str, Any]], betas: Sequence[float]) -> None:
        super().__init__(groups, {"lr": 0.0, "betas": tuple(betas)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Make one update."""
        for group in self.param_groups:
            leaning, staying = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros_like(parameter))
                direction = torch.sign(torch.lerp(mean, parameter.grad, 1 - leaning))
                if group["weight_decay"]:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(direction, alpha=-group["lr"])
                state["mean"] = torch.lerp(mean, parameter.grad, 1 - staying)


class Both(torch.optim.Optimizer):
    """Several optimizers of parameters of their own, as one."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._each = optimizers
        owned = [parameter for each in self._each for group in each.param_groups for parameter in group["params"]]
        super().__init__([{"params": owned}], {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Make one update, at the rate that this optimizer's own group has."""
        for each in self._each:
            for group in each.param_groups:
                group["lr"] = self.param_groups[0]["lr"]
            each.step()

    def state_dict(self) -> dict[str, Any]:
        return {"each": [each.state_dict() for each in self._each]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for each, state in zip(self._each, state_dict["each"], strict=True):
            each.load_state_dict(state)


class SOAPByParameter(torch.optim.Optimizer):
    """SOAP (Vyas et al. 2024, arXiv 2409.11321, algorithm 3); the first gradient makes the bases, and no step."""

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        betas: Sequence[float],
        basis_beta: float,
        eps: float,
        interval: int,
        largest: int,
    ) -> None:
        super().__init__(groups, {"lr": 0.0, "steps": 0})
        self._betas, self._basis_beta, self._eps = betas, basis_beta, eps
        self._interval, self._largest = interval, largest

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Make one update."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad.contiguous(), group)
            group["steps"] += 1

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        steps, rate, (beta1, beta2) = group["steps"], group["lr"], self._betas
        state = self.state[parameter] or self._begun(parameter)
        if steps:
            state["first"] = torch.lerp(state["first"], gradient, 1 - beta1)
            state["second"] = torch.lerp(state["second"], _rotated(gradient, state["bases"], 0) ** 2, 1 - beta2)
            step = _rotated(state["first"], state["bases"], 0) / (state["second"].sqrt() + self._eps)
            length = rate * (math.sqrt(1 - beta2**steps) / (1 - beta1**steps))
            parameter.add_(_rotated(step, state["bases"], 1), alpha=-length)
            if group["weight_decay"]:
                parameter.mul_(1 - rate * group["weight_decay"])
        for number, products in enumerate(state["products"]):
            if products is not None:
                rest = [other for other in range(gradient.dim()) if other != number]
                new = torch.lerp(products, torch.tensordot(gradient, gradient, (rest, rest)), 1 - self._basis_beta)
                state["products"][number] = new
        if not steps:
            state["bases"] = [None if products is None else _eigenvectors(products) for products in state["products"]]
        elif steps % self._interval == 0:
            self._refresh(state)

    def _begun(self, parameter: Tensor) -> dict[str, Any]:
        sizes = [size if parameter.dim() > 1 and size <= self._largest else 0 for size in parameter.shape]
        state: dict[str, Any] = self.state[parameter]
        state["first"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        state["second"] = torch.zeros_like(state["first"])
        state["products"] = [parameter.new_zeros(size, size) if size else None for size in sizes]
        return state

    def _refresh(self, state: dict[str, Any]) -> None:
        for number, (products, basis) in enumerate(zip(state["products"], state["bases"], strict=True)):
            if products is None:
                continue
            image = products @ basis
            order = torch.argsort((basis * image).sum(dim=0), descending=True)
            state["second"] = state["second"].index_select(number, order)
            orthogonal, _ = torch.linalg.qr(image[:, order].to(torch.float32))
            state["bases"][number] = orthogonal.to(products.dtype)


def _rotated(tensor: Tensor, bases: Sequence[Tensor | None], side: int) -> Tensor:
    """A tensor with each dimension in its basis (``side=0``), or back out of it (``side=1``)."""
    for basis in bases:
        if basis is None:
            tensor = tensor.permute(*range(1, tensor.dim()), 0)
        else:
            tensor = torch.tensordot(tensor, basis, ([0], [side]))
    return tensor


def _eigenvectors(products: Tensor) -> Tensor:
    """The eigenvectors [size, size] of a symmetric matrix, by column, those of the largest values first."""
    _, vectors = torch.linalg.eigh(
        products + 1e-30 * torch.eye(len(products), dtype=products.dtype, device=products.device)
    )
    return torch.flip(vectors, [1])
