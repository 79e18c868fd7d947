"""What this version of the engine computes, to the rounding of float64.

Committed records are skipped, and tables made of them, for as long as their version is the engine's. So where a number
here changes, and the change is meant, ``ENGINE_VERSION`` goes up by one, and this table is written anew with it:
``python -m tests.test_version`` prints it.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.config import RunConfig
from bench.record.version import ENGINE_VERSION
from tests import tiny
from tests.both import oracle

VERSION = 1
"""The version that the table is of."""
TOLERANCE = 1e-9
"""The largest relative difference: rounding of other processors is some 1e-13, a change of the order of an update
1e-4."""
LR = {"warmup_steps": 3, "staleness_power": 0.0, "require_convergent": False, "gamma0": 0.05}
DATA = {**tiny.VALUES["data"], "validation": 0.25}
CASES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "back-propagation": {"staleness": 0},
    "one stage": {"stages": 1},
    "staleness 1": {"staleness": 1},
    "two replicas": {"replicas": 2},
    "latest": {"weights": "latest"},
    "recomputed": {"weights": "recomputed"},
    "shrink": {"correction": {"name": "shrink", "beta": 0.75}},
    "lr_discount": {"correction": {"name": "lr_discount", "until": 0.6}},
    "weight_prediction": {"correction": {"name": "weight_prediction"}},
    "gossip": {"replicas": 3, "averaging": {"name": "gossip", "graph": "ring"}},
    "clip=stage": {"clip": {"name": "stage", "norm": 1.0}},
    "clip=network": {"clip": {"name": "network", "norm": 1.0}},
    "nesterov": {"optimizer": {**tiny.VALUES["optimizer"], "nesterov": True}},
    "adamw": {
        "optimizer": {"name": "adamw", "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.01},
        "lr": {**LR, "name": "constant", "gamma0": 0.003},
    },
    "power": {"lr": {**LR, "name": "constant", "staleness_power": 0.5}},
    "cosine": {"lr": {**LR, "name": "cosine"}},
    "another seed": {"seed": 1},
    "no images for validation": {"data": tiny.VALUES["data"]},
    "vgg": {"model": {"name": "vgg", "depth": 11}, "data": {**DATA, "shape": [3, 32, 32]}, "max_steps": 2},
    "vit": {"model": {"name": "vit", "patch": 4, "dim": 8, "depth": 2, "heads": 2}},
    "wide_resnet": {"model": {"name": "wide_resnet", "depth": 10, "widen": 1}},
}
EXPECTED: dict[str, tuple[float, float]] = {
    "as it is": (1.5229783191827109, 1.993788328099199),
    "back-propagation": (1.466871489476366, 1.5282884405528303),
    "one stage": (1.466871489476366, 1.5282884405528303),
    "staleness 1": (1.5262325303633035, 1.8838080765262704),
    "two replicas": (1.1141818249954487, 1.9060237738149535),
    "latest": (1.525912789222039, 1.7963084795048203),
    "recomputed": (1.5256578862784806, 1.9730351938889406),
    "shrink": (1.5201141836897007, 1.510830897297965),
    "lr_discount": (1.5177959570428219, 1.5229318338423785),
    "weight_prediction": (1.5080832276564875, 1.4376784934527331),
    "gossip": (1.3793345415851404, 1.4865396271517202),
    "clip=stage": (1.3568155340944008, 1.3175396232724184),
    "clip=network": (1.3721701904716754, 1.191672904922401),
    "nesterov": (1.4157403319369668, 1.512850097385634),
    "adamw": (1.5229563587383612, 1.0210910628623568),
    "power": (1.5202973538183189, 1.4276483200329433),
    "cosine": (1.4199390511744303, 1.3853554202775449),
    "another seed": (1.368130776895596, 1.7025867176209697),
    "no images for validation": (1.5015818415264428, 1.3406103579026791),
    "vgg": (1.9119920551164773, 10.60002878074197),
    "vit": (1.1937838834160688, 1.178112825089576),
    "wide_resnet": (1.3280433354813719, 1.0761789997450049),
}
"""The training loss of the last epoch and the test loss of each case."""


def computed(changes: dict[str, Any]) -> tuple[float, float]:
    """The training loss of the last epoch and the test loss after 13 updates."""
    ran = oracle(run_of(changes))
    return ran.epochs[-1]["loss/train"], ran.metrics["loss/test"]


def run_of(changes: dict[str, Any]) -> RunConfig:
    usual: dict[str, Any] = {"stages": 3, "staleness": 2, "engine": "reference", "max_steps": 13, "data": DATA}
    return tiny.config(**{**usual, **changes})


@pytest.mark.parametrize("name", CASES)
def test_a_change_of_a_result_is_another_version(name: str) -> None:
    assert VERSION == ENGINE_VERSION
    assert computed(CASES[name]) == pytest.approx(EXPECTED[name], rel=TOLERANCE, abs=0)


if __name__ == "__main__":
    for case, changes in CASES.items():
        print(f'    "{case}": {computed(changes)},')
