"""What a method says of itself is true of it, and is all that the suite asks: a toy of the tests is trained too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest

from bench.choice import Choice, choices
from bench.config import RunConfig, grid_label
from bench.engine.method.agent import Agent
from bench.engine.method.ddp import DataParallel
from bench.keys import ConfigError
from bench.plan.forecast.costs import Setup, StageCost
from bench.plan.forecast.orders import KINDS, Pass
from bench.plan.forecast.prediction import predict
from bench.rule.method.baseline import Baseline, Pipeline
from bench.rule.method.contract import Method, engine_class, facts_of
from bench.rule.run_keys import RunKeys
from bench.study.sweep.settings import contracts
from tests import tiny
from tests.test_house import SOURCES, name_of
from tests.tiny import method_of


def faults(method: Method, most: int = 4) -> Iterator[str]:
    """What a method says that cannot be, on grids of up to so many stages."""
    for stages in [1] if method.whole else range(1, most + 1):
        pieces = [piece for stage in range(stages) for piece in method.held(stages, stage)]
        if sorted(pieces) != list(range(stages * method.pieces)):
            yield f"{stages} stages hold the pieces {pieces}"
        if any(len(method.held(stages, stage)) != method.pieces for stage in range(stages)):
            yield f"{stages} stages hold different numbers of pieces"
        if method.microbatched:
            yield from (f"{stages} stages: {fault}" for fault in _misordered(method, stages, 2 * stages))


def _misordered(method: Method, stages: int, microbatches: int) -> Iterator[str]:
    kinds = KINDS if method.splits_backward else KINDS[:2]
    for stage, order in enumerate(method.orders(stages, microbatches)):
        wanted = {Pass(kind, p, m) for kind in kinds for p in method.held(stages, stage) for m in range(microbatches)}
        if sorted(order) != sorted(wanted):
            yield f"stage {stage} does not make each pass once"
        if any(order.index(item) < order.index(item._replace(kind="forward")) for item in wanted & {*order}):
            yield f"stage {stage} goes back before it went forward"


@pytest.mark.parametrize("method", choices(Method))
def test_what_a_method_says_can_be(method: str) -> None:
    assert [*faults(method_of(method))] == []


def test_there_is_a_worker_for_every_method() -> None:
    for method in choices(Method):
        grid = {"stages": 1 if method_of(method).whole else 2, "microbatches": 2}
        worker = engine_class(tiny.config(**grid, method=method, batch_size=4).method.worker)
        assert issubclass(worker, Agent)
        assert not worker.__abstractmethods__


def named(source: str) -> Iterator[str]:
    """The words of a source that name a method, by itself or behind ``method=``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and str(node.value).removeprefix("method=") in choices(Method):
            yield str(node.value)


OTHER_MEANINGS = {"none", "exponential", "torchvision", "mlflow", "local", "text", "stage", "network"}
"""Names that are words of something else too: a verdict, a graph, packages, what is on this machine or in a chart,
and what is cut."""
FAMILIES = "bench.task.model.torchvision"
"""The file that names torchvision's own families of networks."""


@pytest.mark.parametrize("contract", [each for each in contracts() if each is not Method])
def test_no_file_but_its_own_names_a_choice(contract: type[Choice]) -> None:
    own = {name: kind.__module__ for name, kind in choices(contract).items() if name not in OTHER_MEANINGS}
    for path in SOURCES:
        module = name_of(path)
        words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert {name for name in own.keys() & words if own[name] != module} == set() or module == FAMILIES, module


def test_no_file_but_its_own_names_a_method() -> None:
    sources = {path: [*named(path.read_text())] for path in SOURCES}
    assert {path.stem: words for path, words in sources.items() if words} == {
        choices(Method)[name].__module__.rpartition(".")[2]: [name] for name in choices(Method)
    }
    assert [*named('run.method == "ddp" or run in ("gpipe", "method=1f1b")')] == ["ddp", "gpipe", "method=1f1b"]


@dataclass(frozen=True)
class Backwards(Pipeline):
    """Passes in the order of GPipe, but the stages hold the pieces from the last one on."""

    name: ClassVar[str] = "backwards"
    schedule: ClassVar[str] = "ScheduleGPipe"

    def holder(self, stages: int, piece: int) -> int:
        return stages - 1 - piece

    def orders(self, stages: int, microbatches: int) -> list[list[Pass]]:
        return [
            [Pass(kind, piece, number) for kind in KINDS[:2] for number in range(microbatches)]
            for stage in range(stages)
            for piece in self.held(stages, stage)
        ]


class Forgetful(Backwards):
    """Two pieces of three have a holder, and the last backward is left out."""

    def holder(self, stages: int, piece: int) -> int:
        return min(piece, 1, stages - 1)

    def orders(self, stages: int, microbatches: int) -> list[list[Pass]]:
        return [order[:-1] for order in super().orders(stages, microbatches)]


class Hasty(Backwards):
    """Backwards come before their forwards."""

    def orders(self, stages: int, microbatches: int) -> list[list[Pass]]:
        return [order[::-1] for order in super().orders(stages, microbatches)]


def test_a_toy_is_found_right_or_wrong() -> None:
    assert [*faults(Backwards())] == []
    assert "3 stages hold different numbers of pieces" in [*faults(Forgetful())]
    assert "1 stages: stage 0 does not make each pass once" in [*faults(Forgetful())]
    assert [*faults(Hasty(), 1)] == ["1 stages: stage 0 goes back before it went forward"]


def test_a_toy_is_predicted() -> None:
    """Its stages wait for each other as those of GPipe do: the numbers of the agents turned round."""
    costs = [StageCost(1, 2), StageCost(2, 1)]
    setup, known = (Setup(how, costs, microbatches=2) for how in (Backwards(), method_of("gpipe")))
    assert predict(setup, [3]).wall[::-1].tolist() == predict(known, [3]).wall.tolist()


@dataclass(frozen=True)
class Toy(Baseline):
    """Data parallelism that has learned an even number of batches by heart, and takes no other."""

    name: ClassVar[str] = "toy"
    worker: ClassVar[str] = "tests.test_methods.Worker"
    whole: ClassVar[bool] = True

    def refuses(self, run: RunKeys) -> str | None:
        return super().refuses(run) or (f"batch_size={run.batch_size} must be even" if run.batch_size % 2 else None)


class Worker(DataParallel):
    steps: ClassVar[list[int]] = []

    def step(self, tick: int) -> None:
        self.steps.append(tick)
        super().step(tick)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(choices(Method), Toy.name, Toy)


def toy_run(**changes: object) -> RunConfig:
    return tiny.config(**{"stages": 1, "replicas": 1, "method": Toy.name, "max_steps": 2, "batch_size": 4, **changes})


@pytest.mark.usefixtures("toy")
def test_a_toy_is_trained() -> None:
    Worker.steps.clear()
    report = tiny.alone(toy_run())
    assert Worker.steps == [0, 1]
    known = tiny.alone(toy_run(method="ddp"))
    assert report.metrics["loss/train"] == known.metrics["loss/train"]


@pytest.mark.usefixtures("toy")
def test_a_toy_is_asked_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match="batch_size=3 must be even"):
        toy_run(batch_size=3)
    with pytest.raises(ConfigError, match="engine=reference is no oracle of method=toy, which"):
        toy_run(engine="reference")
    assert toy_run(staleness=2, microbatches=2) == toy_run()


def test_the_name_of_no_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=rf"method\.name='toy': allowed are {', '.join(map(repr, choices(Method)))}$"):
        toy_run()


def test_a_record_may_name_a_method_of_another_version() -> None:
    keys = {"method": "toy", "stages": 2, "replicas": 1, "staleness": 0, "microbatches": 4}
    assert facts_of("toy") is Method
    assert grid_label(keys) == "K2 S1 toy"
