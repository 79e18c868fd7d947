"""The largest curvature of a loss, against Hessians that are known or written out in full."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.engine.measure.curvature import curvature, curvatures
from bench.task.build import build
from tests import tiny

NETWORKS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "mlp": ({"name": "mlp", "hidden": 5, "layers": 2}, [1, 3, 3]),
    "resnet": ({"name": "resnet", "depth": 8, "width": 1}, [1, 8, 8]),
    "vit": ({"name": "vit", "patch": 2, "dim": 4, "depth": 1, "heads": 2}, [1, 4, 4]),
}


@pytest.mark.parametrize("signs", [[3.0, 1.0, 0.5], [1.0, -4.0, 0.5], [2.0, 2.0, 2.0]])
def test_a_quadratic_has_the_curvature_that_it_is_made_of(signs: list[float]) -> None:
    """The largest of either sign, and one that several directions share."""
    factors = torch.tensor(signs, dtype=torch.float64)

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return (factors * weights["w"].square()).sum() / 2

    found = curvature(loss, {"w": torch.zeros(3, dtype=torch.float64)})
    assert found == pytest.approx(max(map(abs, signs)), rel=1e-3)


def test_a_flat_loss_has_none() -> None:
    assert curvature(lambda weights: weights["w"].sum(), {"w": torch.zeros(2)}) == 0.0


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_what_is_not_finite_is_said(factor: float) -> None:
    with pytest.raises(ValueError, match="the loss is not finite at the initial weights, or its curvature is not"):
        curvature(lambda weights: factor * weights["w"].square().sum(), {"w": torch.ones(2)})


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_network_has_the_largest_eigenvalue_of_its_hessian(name: str, seed: int) -> None:
    """Written out by torch, a second derivative for each pair of weights; to 1%."""
    model, shape = NETWORKS[name]
    data = {"name": "synthetic", "shape": shape, "classes": 3, "train_size": 16, "test_size": 4, "validation": 0.0}
    run = tiny.config(model=model, data=data, batch_size=8, seed=seed)
    dataset = tiny.dataset_of(run)
    torch.manual_seed(seed)
    network = build(run.model, dataset).double().train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    batches = tiny.batches_of(dataset, seed=seed, batch_size=8, dtype=torch.float64)
    shapes = {key: parameter.shape for key, parameter in network.named_parameters()}
    flat = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    def loss(vector: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        parts = torch.split(vector, [shape.numel() for shape in shapes.values()])
        weights = {key: part.view(shape) for (key, shape), part in zip(shapes.items(), parts, strict=True)}
        return nn.functional.cross_entropy(functional_call(network, weights, (x,)), targets)

    found = curvatures(run, dataset, 2)
    for batch, estimate in enumerate(found):
        with sdpa_kernel(SDPBackend.MATH):
            whole = jacrev(jacrev(loss))(flat, batches.inputs(0, batch), batches.targets(0, batch))
        assert estimate == pytest.approx(float(torch.linalg.eigvalsh(whole.detach()).abs().max()), rel=0.01)
