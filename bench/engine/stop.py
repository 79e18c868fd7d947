"""Where a run stops before its end, so that the same command goes on from there."""

from __future__ import annotations


class Paused(RuntimeError):
    """The end was announced, and the run has stopped behind a checkpoint: the message says where."""

    def __init__(self, step: int, steps: int) -> None:
        super().__init__(step, steps)
        self.step, self.steps = step, steps

    def __str__(self) -> str:
        return f"stopped with a checkpoint at update {self.step} of {self.steps}; the same command goes on from there"
