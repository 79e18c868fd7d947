"""``correction=weight_prediction``: forwards at the weights of the near future (SpecTrain, Chen et al. 2018, arXiv
1809.02839)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.rule.correction.contract import Correction
from bench.rule.run_keys import RunKeys


@dataclass(frozen=True)
class WeightPrediction(Correction):
    """A forward at the weights that its update will find if momentum alone moves them."""

    name: ClassVar[str] = "weight_prediction"
    place: ClassVar[int] = 4
    foresees: ClassVar[bool] = True
    changed: ClassVar[str] = "the weights that delayed gradients are taken at"

    def refuses(self, run: RunKeys) -> str | None:
        if not run.optimizer.has_velocity:
            momentum = getattr(run.optimizer, "momentum", None)
            given = "" if momentum is None else f" with optimizer.momentum={momentum:g}"
            return f"needs an optimizer with momentum, not optimizer={run.optimizer.name}{given}"
        if run.weights != "stashed":
            return f"needs weights=stashed, not weights={run.weights}"
        if run.averaging.mixes(run.replicas):
            return f"needs averaging=allreduce, not averaging={run.averaging.name}"
        return None
