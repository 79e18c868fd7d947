"""What a study has found: its best trial, and what its repeats came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.config import RunConfig
from bench.plan.interval import Interval
from bench.study.report.quality import worth_of
from bench.study.report.result import Run, read_run
from bench.study.tune.study import Study
from bench.study.tune.trials import Trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Finding:
    """A study that is over."""

    study: Study
    epochs: int
    """Epochs of a trial that ends by itself."""
    trials: list[FrozenTrial]
    """All trials by number, also failed ones that were tried again."""
    counted: list[FrozenTrial]
    """The trials without those that were tried again."""
    best: FrozenTrial | None
    run: RunConfig | None
    """The configuration of the best trial; None if no trial has finished."""
    record: dict[str, Any]
    """The record of the best trial's run; empty if there is none."""
    repeats: list[str]
    """Hashes of the runs of the best trial's settings with fresh seeds."""
    repeated: list[Run]
    """Those of these runs that have a record."""

    @property
    def budget(self) -> dict[str, int]:
        """How many trials ended in each way, the epochs of a whole one, and the epochs trained in all."""
        states = Counter(trial.state.name for trial in self.counted)
        trained = sum(len(trial.intermediate_values) for trial in self.counted if trial.state.name == "PRUNED")
        trained += states["COMPLETE"] * self.epochs
        own = {"complete": states["COMPLETE"], "pruned": states["PRUNED"], "failed": states["FAIL"]}
        return {"trials": len(self.counted), **own, "epochs": self.epochs, "epochs_trained": trained}

    @property
    def rates(self) -> dict[str, Any]:
        """What was known of the best trial before it trained: its shape, whether it is covered, and its margin."""
        known = self.record.get("rates", {})
        return {key: known.get(key) for key in ("shape", "covered", "margin")}

    @property
    def worth(self) -> Interval | None:
        """The mean quality by the test split over fresh seeds; None if no such run has one."""
        return worth_of(self.repeated)

    @property
    def diverged(self) -> int:
        """The number of runs with fresh seeds that diverged, and so have no quality."""
        return sum(run.diverged for run in self.repeated)


def recalled(study: Study) -> Finding:
    """What a study has found, of the files that it is kept in alone.

    Raises:
        ConfigError: the file of studies has nothing of it.
    """
    trials = Trials(study)
    return find(study, trials, trials.recall())


def find(study: Study, trials: Trials, epochs: int) -> Finding:
    """Gather what a study that is over has found.

    Args:
        epochs: those of a trial that ends by itself.
    """
    best = trials.best()
    settings = best.user_attrs["settings"] if best else None
    run = study.run_of(settings) if settings else None
    record = study.settings.known(run) if run else None
    configs = study.repeats_of(settings) if settings else []
    repeats = {config.hash(): study.settings.known(config) for config in configs}
    return Finding(
        study,
        epochs,
        trials.all(),
        trials.counted(),
        best,
        run,
        record or {},
        list(repeats),
        [read_run(found) for found in repeats.values() if found],
    )
