from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from bench.engine.method.decoupled import Stage
from bench.engine.method.reference import Reference
from bench.engine.worker import Stretch
from bench.keys import Cardinal
from bench.rule.method.decoupled import Decoupled


@dataclass(frozen=True)
class Patient(Decoupled):
    """Delayed gradients whose first ones after every flush, while the pipeline fills, change nothing."""

    name: ClassVar[str] = "patient"
    worker: ClassVar[str] = "tests.outside.ways.PatientStage"
    oracle: ClassVar[str] = "tests.outside.ways.PatientReference"
    wait: Cardinal
    """Updates after a flush that are made at a rate of 0."""

    def patiently(self, stretch: Stretch) -> Stretch:
        return replace(stretch, rates=[[0.0] * self.wait + [*rates][self.wait :] for rates in stretch.rates])


class PatientStage(Stage):
    def begin(self, stretch: Stretch) -> Sequence[int]:
        assert isinstance(self._config.method, Patient)
        return super().begin(self._config.method.patiently(stretch))


class PatientReference(Reference):
    def begin(self, stretch: Stretch) -> Sequence[int]:
        assert isinstance(self._run.method, Patient)
        return super().begin(self._run.method.patiently(stretch))
