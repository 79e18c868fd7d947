"""``method=ddp``: data parallelism by torch's DistributedDataParallel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.rule.method.baseline import Baseline
from bench.rule.run_keys import RunKeys


@dataclass(frozen=True)
class DistributedData(Baseline):
    """Every process holds the whole network, and its gradients are averaged while the backward goes on."""

    name: ClassVar[str] = "ddp"
    place: ClassVar[int] = 2
    worker: ClassVar[str] = "bench.engine.method.ddp.DataParallel"
    whole: ClassVar[bool] = True

    def refuses(self, run: RunKeys) -> str | None:
        if refusal := super().refuses(run):
            return refusal
        return f"method={self.name} needs stages=1, not stages={run.stages}" if run.stages > 1 else None
