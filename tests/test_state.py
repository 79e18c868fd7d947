"""What carries state says so: every choice of the groups that training depends on goes on from it, or has none."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from bench.choice import Choice, choices, choose
from bench.engine.method.agent import Agent
from bench.engine.method.reference import Reference
from bench.engine.weights.averaging import Agreement
from bench.rule.averaging.contract import Averaging
from bench.rule.clip.contract import Clip
from bench.rule.correction.contract import Correction
from bench.rule.lr.contract import LearningRate
from bench.rule.method.contract import Method, engine_class
from bench.rule.optimizer.contract import ByElement, Flat, Optimizer
from bench.rule.optimizer.layout import FlatLayout
from bench.rule.optimizer.sgd import SGD
from bench.study.sweep.compose import compose
from tests import tiny
from tests.commands import ROOT
from tests.test_resuming import CHOICES, RMSPROP

OPTIMIZERS = [*choices(Optimizer)]


def default(contract: type[Choice], name: str) -> Any:
    """A choice with the keys of its file in ``conf``."""
    return getattr(compose([f"{contract.group}={name}"]), contract.group)


# ------------------------------------------------------------------------------------------------------- the optimizers
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_says_its_state(name: str) -> None:
    """As the check of a user's own finds out: by the third step, in a copy that has the state of the first two."""
    default(Optimizer, name).try_out(tiny.config())


def test_a_users_own_says_it_without_a_word() -> None:
    choose(Optimizer, RMSPROP).try_out(tiny.config())


class Silent(Flat):
    """Momentum that is not told."""

    states = scratch = 1

    def __init__(self, like: Tensor) -> None:
        self._velocity = torch.zeros_like(like)

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        weights.sub_(self._velocity.mul_(0.9).add_(gradient), alpha=rate)

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Forgetful(SGD):
    name: ClassVar[str] = "forgetful"

    def flat(self, like: Tensor, layout: FlatLayout) -> Flat:  # noqa: ARG002
        return Silent(like)


def test_state_that_is_not_told_is_found_out() -> None:
    forgetful = Forgetful(0.9, 0.0, nesterov=False)
    with pytest.raises(ValueError, match=r"^goes on otherwise behind a checkpoint: its state\(\) must hold all"):
        forgetful.try_out(tiny.config())
    with pytest.raises(NotImplementedError):
        Flat().state()


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("muon", "soap")])
def test_a_class_of_torchs_by_element_says_its_state(name: str) -> None:
    """As every optimizer without arithmetic of its own for a vector has it."""

    class Plain(type(default(Optimizer, name))):  # type: ignore[misc]
        def flat(self, like: Tensor, layout: FlatLayout) -> Flat:  # noqa: ARG002
            return ByElement(self, like)

    Plain(**vars(default(Optimizer, name))).try_out(tiny.config())


# ----------------------------------------------------------------------------------------------------------- the others
@pytest.mark.parametrize(
    ("contract", "name"),
    [(contract, name) for contract in (Averaging, Clip, Correction, LearningRate) for name in choices(contract)],
    ids=lambda value: value if isinstance(value, str) else value.group,
)
def test_what_answers_by_its_arguments_has_no_state(contract: type[Choice], name: str) -> None:
    """Asked again, in another order, it says the same, and it holds its keys alone."""
    choice = default(contract, name)
    before = copy.deepcopy(vars(choice))
    assert before.keys() == {field.name for field in dataclasses.fields(choice)}
    first, again = answers(choice, range(5)), answers(choice, range(4, -1, -1))
    assert first == again[::-1]
    assert vars(choice) == before


def answers(choice: Any, steps: range) -> list[Any]:
    if isinstance(choice, Correction):
        return [(choice.discount(2, step, 10), choice.shrinkage()) for step in steps]
    if isinstance(choice, LearningRate):
        return [choice.rate(step, 10, 5) for step in steps]
    if isinstance(choice, Clip):
        return [choice.factor(torch.full((2,), 1.0 + step)).item() for step in steps] if choice.acts else []
    assert isinstance(choice, Averaging)
    return [None if (matrix := choice.among(step + 1)) is None else matrix.tolist() for step in steps]


@pytest.mark.parametrize("name", [*choices(Method)])
def test_every_method_says_its_state(name: str) -> None:
    """Its worker is an agent, whose state is told where its weights are, or tells its own."""
    how = tiny.method_of(name)
    worker = engine_class(how.worker)
    assert issubclass(worker, Agent)
    assert not vars(worker).keys() & {"state", "load"} or {"state", "load"} <= vars(worker).keys()
    for path in filter(None, [how.oracle]):
        assert {"state", "load"} <= vars(engine_class(path)).keys()
    assert {"state", "load"} <= vars(Agent).keys() & vars(Reference).keys() & vars(Agreement).keys()


def test_every_choice_is_tried_in_a_run_that_goes_on() -> None:
    """The products of :mod:`tests.test_resuming` leave none out."""
    for contract in (Optimizer, Correction, Averaging, Clip):
        tried = {values["name"] for values in CHOICES[contract.group]}
        assert tried >= {*choices(contract)}, contract.group
    modes = Path(ROOT, "conf/config.yaml").read_text()
    assert all(mode in modes for mode in CHOICES["weights"])
