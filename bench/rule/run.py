"""What a rule may ask of the run that it is part of, to refuse what it does not go with."""

from __future__ import annotations

from typing import Protocol

from bench.rule.averaging.contract import Averaging
from bench.rule.optimizer.contract import Optimizer


class Run(Protocol):
    """The keys of a run, as :class:`bench.config.RunConfig` has them."""

    @property
    def stages(self) -> int: ...
    @property
    def replicas(self) -> int: ...
    @property
    def staleness(self) -> int: ...
    @property
    def weights(self) -> str: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def averaging(self) -> Averaging: ...
