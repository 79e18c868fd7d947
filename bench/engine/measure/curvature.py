"""How sharply a gradient can change: the largest curvature of the loss, where a run starts and along its way."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, replace_all_batch_norm_modules_, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.config import RunConfig
from bench.engine.assembly import batches_of
from bench.engine.numerics import Numerics
from bench.task.build import build
from bench.task.dataset import Dataset

Weights = dict[str, Tensor]

TOLERANCE = 1e-3
"""The relative tolerance of the residual; the error of the eigenvalue goes with its square."""
VECTORS = 10
"""Lanczos vectors, each as large as the network's weights."""

SAMPLES = 32
"""The most samples of an estimate, which has to be cheap beside the training."""


def curvatures(config: RunConfig, dataset: Dataset, batches: int) -> list[float]:
    """Find the largest absolute eigenvalue of the Hessian of the loss of each of so many batches, at the initial
    weights.

    In the precision of the weights. The loss's weight decay is left out; it adds its own factor to every eigenvalue.
    """
    # As in training; on a busy machine two threads wait for one another a hundred times as long.
    torch.set_num_threads(1)
    numerics = Numerics.of(config, torch.device("cpu"))
    torch.manual_seed(config.seed)
    network = _without_statistics(config, dataset, numerics)
    data = batches_of(config, dataset, 0, numerics)
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def of_batch(batch: int) -> float:
        x, targets = data.inputs(0, batch), data.targets(0, batch)
        return curvature(lambda own: numerics.loss(functional_call(network, own, (x,)), targets), weights)

    return [of_batch(batch) for batch in range(min(batches, data.batches))]


class CurvatureOnTheWay:
    """The curvature of the loss of a few training samples, the same whenever it is asked for; it draws no random
    number of the training's."""

    def __init__(self, config: RunConfig, dataset: Dataset, device: torch.device) -> None:
        # Second derivatives of convolutions are a quarter faster in the plain layout.
        config = replace(config, channels_last=False)
        self._numerics = Numerics.of(config, device)
        with torch.random.fork_rng(devices=[]):
            self._network = _without_statistics(config, dataset, self._numerics)
        data = batches_of(config, dataset, 0, self._numerics)
        self._inputs, self._targets = data.inputs(0, 0)[:SAMPLES], data.targets(0, 0)[:SAMPLES]

    def at(self, state: Mapping[str, Tensor]) -> float:
        """Find the largest absolute eigenvalue of its Hessian; NaN where it is not finite.

        Args:
            state: the weights, by the names of the uncut network; other tensors among them are left out.
        """
        numerics, names = self._numerics, [name for name, _ in self._network.named_parameters()]
        weights = {name: state[name].to(numerics.device, numerics.dtype).contiguous() for name in names}

        def loss(own: Weights) -> Tensor:
            return numerics.loss(functional_call(self._network, own, (self._inputs,)), self._targets)

        with torch.random.fork_rng(devices=[]):
            try:
                return curvature(loss, weights)
            except ValueError:
                return math.nan


def _without_statistics(config: RunConfig, dataset: Dataset, numerics: Numerics) -> nn.Module:
    """The network, placed. With its running statistics a batch norm writes into what is differentiated; training does
    not read them."""
    network = numerics.place(copy.deepcopy(build(config.model, dataset)))
    replace_all_batch_norm_modules_(network)
    return network


def curvature(loss: Callable[[Weights], Tensor], weights: Weights) -> float:
    """Find the largest absolute eigenvalue of the Hessian of ``loss`` at ``weights``.

    By ARPACK's restarted Lanczos iteration on Hessian-vector products. The power iteration uses the same products, and
    stalls where the second eigenvalue is near the first: on small networks it stopped up to 10% short.

    Raises:
        ValueError: it is not finite.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    first = next(iter(weights.values()))
    sizes = [weight.numel() for weight in weights.values()]

    def product(vector: NDArray[Any]) -> NDArray[Any]:
        parts = torch.split(torch.from_numpy(vector.copy()).to(first), sizes)
        direction = {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}
        (image,) = pull(direction)
        return torch.cat([part.detach().flatten() for part in image.values()]).double().cpu().numpy()

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention have no second derivative
        pull = vjp(grad(loss), weights)[1]
        hessian = LinearOperator((sum(sizes), sum(sizes)), matvec=product, dtype="float64")
        start = np.random.default_rng(0).standard_normal(sum(sizes))
        image = product(start)
        if not np.isfinite(image).all():
            raise ValueError("the loss is not finite at the initial weights, or its curvature is not")
        if not image.any():
            return 0.0
        values = eigsh(
            hessian, 1, which="LM", v0=start, ncv=min(VECTORS, sum(sizes)), tol=TOLERANCE, return_eigenvectors=False
        )
    return abs(float(values[0]))
