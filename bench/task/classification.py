"""The task of telling images apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bench.task.contract import LearningTask, Quality, Sums

if TYPE_CHECKING:
    from torch import Tensor


class Classification(LearningTask):
    """Tell of each image which class it is of, judged by the share that is told right."""

    unit: ClassVar[str] = "image"
    short: ClassVar[str] = "img"
    qualities: ClassVar[tuple[Quality, ...]] = (
        Quality("accuracy", "fraction", "up", 1, 0.005),
        Quality("loss", "nats", "down", 4, 0.01),
    )

    def loss(self, outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross entropy of logits [batch, classes] against class numbers [batch]."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets, reduction=reduction)

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Losses and hits. Logits that are not finite name no class."""
        hits = (outputs.argmax(1) == targets) & outputs.isfinite().all(1)
        loss = float(self.loss(outputs, targets, "sum"))
        return {"loss": loss, "right": float(hits.sum()), "units": float(len(targets))}

    def judged(self, sums: Sums) -> dict[str, float]:
        return {"accuracy": sums["right"] / sums["units"], "loss": sums["loss"] / sums["units"]}


IMAGES = Classification()
