"""What every launcher is: where the points of a sweep run, and how many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from bench.choice import Choice

if TYPE_CHECKING:
    from bench.engine.rank import RunFailed
    from bench.study.launcher.agents import Pruned
    from bench.study.launcher.execution import Busy
    from bench.study.launcher.task import Task
    from bench.study.tracking.contract import Tracker

Ending: TypeAlias = "tuple[Task, RunFailed | Pruned | Busy | None]"
"""A task and what kept it from its result."""


class Launcher(Choice):
    """Where the points of a sweep run. It decides nothing of a result, and is no part of a run's hash."""

    group: ClassVar[str] = "launcher"
    here: ClassVar[bool] = False
    """Whether runs train on this machine, one after the other, where a study can watch and prune them."""

    def check(self) -> None:
        """Check, before anything is written, that runs can be launched as configured.

        Raises:
            ConfigError: what it takes is not here.
        """

    def run(self, tasks: Sequence[Task], tracker: Tracker, watch: Callable[[], None] | None = None) -> Iterator[Ending]:
        """Run tasks in whatever order and number at once; only this process tells the tracker.

        Args:
            watch: called while a run trains, as :func:`~bench.study.launcher.agents.launch` does, if it is ``here``.
        """
        raise NotImplementedError
