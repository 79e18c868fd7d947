"""What every launcher is: where the points of a sweep run, and how many at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from bench.choice import Choice
from bench.plan.forecast.cluster import Cluster, Work, makespan

if TYPE_CHECKING:
    from typing import Self

    from bench.config import RunConfig
    from bench.engine.rank import RunFailed
    from bench.study.launcher.agents import Pruned
    from bench.study.launcher.execution import Busy
    from bench.study.launcher.task import Task
    from bench.study.tracking.contract import Tracker

Ending: TypeAlias = "tuple[Task, RunFailed | Pruned | Busy | None]"
"""A task and what kept it from its result."""
Watch: TypeAlias = Callable[["Task"], None]
"""What looks at a task's run while it trains; what it raises ends that run."""


class Launcher(Choice):
    """Where the points of a sweep run. It decides nothing of a result, and is no part of a run's hash."""

    group: ClassVar[str] = "launcher"

    @property
    def here(self) -> bool:
        """Whether runs train on this machine one after the other, the oracle's in this very process."""
        return False

    def slots(self, configs: Sequence[RunConfig]) -> int:  # noqa: ARG002
        """How many of these runs it has at once at most."""
        return 1

    def span(self, configs: Sequence[RunConfig], seconds: Sequence[float]) -> float:
        """How long runs take in all, in seconds, of which each takes so many."""
        return makespan([Work(each, 1) for each in seconds], Cluster(1, max(1, self.slots(configs))))

    def alone(self) -> Self:
        """Make the launcher that gives every run a machine to itself, for runs whose speed is what is asked."""
        return self

    def check(self) -> None:
        """Check, before anything is written, that runs can be launched as configured.

        Raises:
            ConfigError: what it takes is not here.
        """

    def run(self, waiting: list[Task], tracker: Tracker, watch: Watch | None = None) -> Generator[Ending, None, None]:
        """Run tasks in whatever order and number at once; only this process tells the tracker.

        Whoever gets an ending may add to the tasks before asking for the next one. To close the generator ends what
        runs.

        Args:
            waiting: the tasks; it takes out what it starts.
            watch: called some times a second while a run trains, where the launcher can.
        """
        raise NotImplementedError
