"""``method=zero_bubble``: in its form ZB-V (Qi et al. 2024, arXiv 2401.10241, section 6).

Each agent holds two pieces, and has the gradients of inputs (B) and of weights (W) in separate passes. Three
microbatches on two agents, of which the second has the middle pieces; small letters are those of the later piece::

    agent 0  F0 F1 F2 f0 b0 w0 f1 b1 w1 B0 W0 f2 b2 w2 B1 W1 B2 W2 .
    agent 1  .  F0 f0 F1 f1 b0 w0 F2 B0 W0 f2 b1 w1 B1 b2 B2 W1 w2 W2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from bench.plan.forecast.orders import KINDS, Pass
from bench.rule.method.baseline import Pipeline


@dataclass(frozen=True)
class ZeroBubble(Pipeline):
    """A stage has two pieces, in a V, and fills its waiting with gradients of the weights, which it has put off.

    Of torch's zero-bubble schedules it is the V: on two cores that took 6 to 10% less time than
    ScheduleInterleavedZeroBubble.
    """

    name: ClassVar[str] = "zero_bubble"
    place: ClassVar[int] = 6
    schedule: ClassVar[str] = "ScheduleZBVZeroBubble"
    pieces: ClassVar[int] = 2
    splits_backward: ClassVar[bool] = True

    def holder(self, stages: int, piece: int) -> int:
        return 2 * stages - 1 - piece if piece >= stages else piece

    def orders(self, stages: int, microbatches: int) -> list[list[Pass]]:
        return [list(self._in_a_v(stages, microbatches, stage)) for stage in range(stages)]

    def _in_a_v(self, stages: int, microbatches: int, stage: int) -> Iterator[Pass]:
        """Yield a stage's order by ZB-V: each pass takes the next microbatch of its kind and piece.

        In turn: forwards until the first one comes back from the end of the V; both pieces' until the first gradient
        can be there; the second piece alone, there and back; both, there and back; and as the gradients come in, first
        what others wait for, and last the weights'. The pattern is for so many microbatches as fill the V; of fewer,
        the others' places are left out.
        """
        behind, pattern = stages - stage, max(2 * stages - 1, microbatches)
        there_and_back = ["f", "b", "w"]
        passes = ["F"] * (2 * behind - 1) + ["f", "F"] * stage + there_and_back * behind
        passes += ["F", "B", "W", *there_and_back] * (pattern - stages)
        passes += ["B", "b"] * stage + ["B", "W"] * behind + ["w"] * stage + ["W"] * stage
        first, second = self.held(stages, stage)
        seen: Counter[str] = Counter()
        for letter in passes:
            if seen[letter] < microbatches:
                kind = KINDS["FBW".index(letter.upper())]
                yield Pass(kind, first if letter.isupper() else second, seen[letter])
            seen[letter] += 1
