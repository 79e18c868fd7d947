"""What the baselines share: methods of torch's own, of which most are pipelines with a flush at every update."""

from __future__ import annotations

from typing import ClassVar

from bench.rule.method.contract import Method
from bench.rule.run_keys import RunKeys


class Baseline(Method):
    """A method of torch's own, which knows no staleness."""

    def refuses(self, run: RunKeys) -> str | None:
        if refusal := super().refuses(run):
            return refusal
        if run.averaging.mixes(run.replicas):
            return f"method={self.name} needs averaging=allreduce, not averaging={run.averaging.name}"
        return None


class Pipeline(Baseline):
    """A schedule of torch.distributed.pipelining: microbatches pass through the stages, and then comes the update."""

    worker: ClassVar[str] = "bench.engine.method.pipelined.Pipelined"
    microbatched: ClassVar[bool] = True
    schedule: ClassVar[str]
    """The name of torch's class."""

    def refuses(self, run: RunKeys) -> str | None:
        if refusal := super().refuses(run):
            return refusal
        if run.stages == 1:
            return f"method={self.name} needs stages=2 or more, not stages=1"
        if self.pieces > 1 and run.device == "cuda" and run.backend != "gloo":
            return (
                f"method={self.name} needs backend=gloo, not backend={run.backend}: NCCL would have to run the "
                "messages between four pieces of two ranks in one order"
            )
        if run.batch_size % run.microbatches:
            return f"batch_size={run.batch_size} must be a multiple of microbatches={run.microbatches}"
        return self.misfit(run.stages, run.microbatches)
