"""What a record says of its task: what readers need who do not know the task."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from bench.task.classification import IMAGES
from bench.task.contract import LearningTask, Quality
from bench.task.language import TOKENS


@dataclass(frozen=True)
class Judgement:
    """What is counted, and what runs are judged by."""

    unit: str
    """What is counted, in the singular."""
    short: str
    """The same in a heading such as ``img/s``."""
    quality: Quality
    """What curves, targets, studies and comparisons go by."""
    floor: float | None = None
    """The best that the quality can be, where somebody knows: the entropy rate of a source, for a loss."""

    @classmethod
    def of(cls, task: LearningTask) -> Judgement:
        return cls(task.unit, task.short, task.qualities[0])

    @property
    def units(self) -> str:
        """What is counted, in the plural."""
        return f"{self.unit}s"

    def shown(self, number: float | None) -> str:
        """A quality for people, with its distance from the best that it can be, where that is known."""
        if number is None:
            return "-"
        above = (
            "" if self.floor is None else f" ({number - self.floor:+.{self.quality.digits}f} from the best possible)"
        )
        return self.quality.shown(number) + above

    def told(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {key: value for key, value in asdict(self).items() if value is not None}


KNOWN: dict[str, Quality] = {quality.name: quality for task in (IMAGES, TOKENS) for quality in task.qualities}
"""The qualities of the suite's tasks, by name: for tables that were read from a file."""
OLDEST = Judgement.of(IMAGES)
"""That of records which say nothing: there was one task."""


def judgement_of(record: Mapping[str, Any]) -> Judgement:
    """What a record says of its task.

    Raises:
        ValueError: it is not as it should be.
    """
    return _reader().validate_python(record["task"]) if "task" in record else OLDEST


@functools.cache
def _reader() -> TypeAdapter[Judgement]:
    """What reads a judgement from plain values; to make it takes longer than to read thousands."""
    return TypeAdapter(Judgement)
