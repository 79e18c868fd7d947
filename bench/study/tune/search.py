"""One study under way: its trials are ordinary runs, as many at once as the launcher has, and the best one is kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from bench.config import RunConfig
from bench.record.folder import RunFolder
from bench.record.metrics import on_the_way
from bench.record.runs_dir import Sweep
from bench.record.tail import Tail
from bench.study.launcher.agents import Pruned
from bench.study.launcher.assessment import Assessment, assess
from bench.study.launcher.progress import print_aside
from bench.study.launcher.task import Task
from bench.study.sweep.runner import Runner
from bench.study.tune.space import Space, space_of
from bench.study.tune.study import Study
from bench.study.tune.trials import Claim, Trials
from bench.system.call import Call

POLL_SECONDS = 1.0
"""Seconds between two looks at the trials of other processes."""


class Judge:
    """Tells a study of each epoch of a trial, and ends it if the study has no hope for it."""

    def __init__(self, trials: Trials, claim: Claim, folder: RunFolder, epochs: int) -> None:
        self._trials, self._claim, self._epochs = trials, claim, epochs
        self._tail = Tail(folder)
        self._told = 0

    def __call__(self) -> None:
        """Look at what the run has done since.

        Raises:
            Pruned: the study has no hope for the trial.
        """
        self.judge([event for event in self._tail.read() if event["event"] == "epoch"])

    def judge(self, epochs: Sequence[dict[str, Any]]) -> None:
        """Judge a run's epochs, those of a record too: whether a trial is pruned must not hang on who looks first."""
        for epoch in epochs:
            number, worth = epoch["epoch"], self._trials.worth(epoch)
            if number < self._told or number + 1 == self._epochs:
                continue
            self._told = number + 1
            if self._trials.report(self._claim, number, worth):
                quality = self._trials.quality
                behind = f"pruned after epoch {number + 1} of {self._epochs}: {quality.name} {quality.shown(worth)}"
                raise Pruned(f"{behind} is worse than the median of the other trials")


class _Trial(NamedTuple):
    """A trial that is under way here."""

    claim: Claim
    config: RunConfig
    judge: Judge


class Search:
    """One study under way, seen from this process."""

    def __init__(self, study: Study, prepared: Path | None, overrides: Sequence[str]) -> None:
        self.study = study
        self.trials = Trials(study)
        self.space: Space
        self._prepared, self._overrides = prepared, tuple(overrides)
        self._launcher = study.launcher()
        self._most = self._launcher.slots([study.run] * study.trials)
        self._open: dict[int, _Trial] = {}
        """The trials under way, by their positions."""
        self._tracker = study.settings.tracker()
        self.runner = Runner(self._tracker, study.settings.records_file)

    def open(self) -> None:
        """Open MLflow and the database, and find out what may be searched.

        Raises:
            ConfigError: one of them is not there, or not as it should be.
        """
        self.study.settings.begin(self._tracker, Sweep(self._overrides, (), self.study.tuning.study))
        found: Assessment = Call(assess, self.study.run, self._prepared, self.study.settings.runs_dir).result()
        self.space = space_of(self.study, found.smoothness.mean, found.updates, found.updates_per_epoch)
        self.trials.open(self.space, self._most)

    def run_trials(self) -> None:
        """Run trials, so many at once as the launcher has, until all have been given out, to this process or to
        others."""
        waiting: list[Task] = []
        with self._interruptible():
            self._draw(waiting)
            with closing(self.runner.run(waiting, self._launcher, self._look)) as endings:
                for task, failure in endings:
                    self._end(self._open[task.position], failure)
                    self._draw(waiting)

    def conclude(self) -> None:
        """Wait for the other processes' trials, or take them up; then run the best one's settings with fresh seeds."""
        with self._interruptible():
            while not self.trials.is_over():
                self.run_trials()
                time.sleep(POLL_SECONDS)
            # One process after the other: what the first one has run, the others find.
            lock = Path(self.study.settings.runs_dir, f"{self.study.tuning.study}.lock")
            with FileLock(lock, fallback_to_soft=False):
                self._repeat()
        self.trials.keep()

    def end(self, table: str, files: Sequence[Path]) -> None:
        """Tell MLflow that the study has ended."""
        failed = sum(trial.state.name == "FAIL" for trial in self.trials.counted())
        self.runner.tell(lambda: self._tracker.end(table, failed, files))

    def repeats(self) -> list[RunConfig]:
        """The best trial's settings with each of the fresh seeds; none if no trial has finished."""
        best = self.trials.best()
        return self.study.repeats_of(best.user_attrs["settings"]) if best else []

    # --------------------------------------------------------------------------------------------------- trial by trial
    def _draw(self, waiting: list[Task]) -> None:
        """Claim trials until there are as many under way as may be; those that have no record yet are to wait."""
        while len(self._open) < self._most and (claim := self.trials.claim()) is not None:
            config = self.study.run_of(claim.settings)
            judge = Judge(self.trials, claim, self.study.settings.folder(config), self.space.epochs)
            trial = self._open[claim.position] = _Trial(claim, config, judge)
            task = self._task(config, claim.position, self.study.trials, "trial")
            if self.study.tuning.conditions == "constraint":
                self.trials.constrain(claim, "margin", self.space.margin(config) - 1)
            if self.runner.is_due(task):
                waiting.append(task)
            else:
                self._end(trial, None)

    def _look(self, task: Task) -> None:
        """Judge what a trial's run has done since; see :class:`Judge`."""
        if self.study.tuning.prunes and task.kind == "trial":
            self._open[task.position].judge()

    def _end(self, trial: _Trial, failure: Exception | None) -> None:
        """Note how a trial's run has ended, and say so."""
        if failure is None:
            failure = self._finish(trial)
        claim, config, _ = trial
        if isinstance(failure, Pruned):
            self.trials.prune(claim)
            if not self.study.settings.folder(config).record.exists():
                self.runner.end(config, str(failure), "pruned")
            said = str(failure)
        elif failure is None:
            quality = self.study.quality
            worth = on_the_way(self._record(config)["epochs"][-1], quality)
            said = f"{self.study.judged_by} {quality.name} {quality.shown(worth)}" if worth is not None else "diverged"
        elif self.trials.fail(claim):
            self.runner.end(config, str(failure), "failed")
            said = f"failed, and is tried once more: {failure}"
        else:
            self.runner.fail(config, str(failure))
            said = ""
        del self._open[claim.position]
        if said:
            self._say(claim, said)

    def _finish(self, trial: _Trial) -> Pruned | None:
        """Give a trial the values of its run's record, unless the study has no hope for it."""
        record = self._record(trial.config)
        try:
            if self.study.tuning.prunes:
                trial.judge.judge(record["epochs"])
        except Pruned as pruned:
            return pruned
        self.trials.finish(trial.claim, self._values(trial.claim, record))
        return None

    def _record(self, config: RunConfig) -> dict[str, Any]:
        record = self.study.settings.known(config)
        assert record is not None
        return record

    def _values(self, claim: Claim, record: dict[str, Any]) -> list[float]:
        """A trial's values, one an objective; a missed target costs the whole time, and breaks a constraint."""
        values, quality = [self.trials.worth(record["epochs"][-1])], self.study.quality
        if "time" in self.study.tuning.objectives:
            target, epochs = self.study.tuning.target, record["epochs"]
            assert target is not None
            reached = [epoch for epoch in epochs if quality.reaches(self.trials.worth(epoch), target)]
            values.append(float((reached or epochs[-1:])[0]["time/train_seconds"]))
            best = max((self.trials.worth(epoch) for epoch in epochs), key=quality.gain)
            self.trials.constrain(claim, "target", min(quality.gain(target - best), sys.float_info.max))
        return values

    def _repeat(self) -> None:
        configs = self.repeats()
        tasks = [self._task(config, n, len(configs), "repeat") for n, config in enumerate(configs, start=1)]
        due = [task for task in tasks if self.runner.is_due(task)]
        with closing(self.runner.run(due, self._launcher)) as endings:
            for task, failure in endings:
                if failure is not None:
                    self.runner.fail(task.config, str(failure))
        runs = [str(trial.user_attrs["run"]) for trial in self.trials.all() if "run" in trial.user_attrs]
        points = tuple(dict.fromkeys([*runs, *(config.hash() for config in configs)]))
        self.runner.remember(Sweep(self._overrides, points, self.study.tuning.study), self.study.settings.runs_dir)

    def _task(self, config: RunConfig, position: int, total: int, kind: Any) -> Task:
        found: Assessment = Call(assess, config, self._prepared, self.study.settings.runs_dir).result()
        settings = self.study.settings
        where = (settings.folder(config), settings.again)
        return Task(config, self._prepared, found, *where, position, total, kind, **settings.keeping())

    def _say(self, claim: Claim, words: str) -> None:
        best, name = self.trials.best(), self.study.tuning.study
        record = f" (best: {self.study.quality.shown(best.values[0])}, trial number {best.number})" if best else ""
        settings = claim.settings["lr"]
        what = f"{settings['name']} gamma0={settings['gamma0']:.3g}"
        print_aside(f"{name} {claim.position}/{self.study.trials}: {what}: {words}{record}")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            for trial in self._open.values():
                self.trials.fail(trial.claim)
            self.runner.tell(self._tracker.interrupt)
            raise
