"""A sweep from its points to its table: what has a record is skipped, the rest runs, MLflow hears of all of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.config import ConfigError, MLflow, RunConfig
from bench.study.attempt import Busy, alone, folder_of, label, runs_again
from bench.study.check import check_all, make_runs_dir
from bench.study.compose import Point
from bench.study.elsewhere import Call, warm_up
from bench.study.jobs import Task, jobs
from bench.study.launch import launch, under_torchrun
from bench.study.record import RecordError, RunFolder
from bench.study.shelf import Sweep
from bench.study.standing import standings, warning
from bench.study.table import summary
from bench.study.tracking import Tracker, TrackingError, tracker


def run_all(points: Sequence[Point], overrides: Sequence[str]) -> int:
    """Run the points that have no record yet; 1 if any failed.

    Raises:
        ConfigError: a configuration is wrong; nothing was run.
        Interrupted: the user wants the end.
    """
    if under_torchrun() and len(points) > 1:
        raise ConfigError(f"--multirun: {len(points)} points; torchrun starts the agents of exactly one run")
    configs = [point.config for point in points]
    first = configs[0]
    follower = tracker(first.tracking)
    here = under_torchrun() or all(config.engine == "reference" for config in configs)
    if not here:
        warm_up()
        follower.prepare()
    prepared = _ask(here, check_all, configs)
    if int(os.environ.get("RANK", "0")) > 0:
        launch(first, prepared[0], folder_of(first), {})
        return 0
    make_runs_dir(first.runs_dir)
    whole = Sweep(tuple(overrides), tuple(config.hash() for config in configs))
    follower.begin(whole)
    known = zip(configs, prepared, _ask(here, standings, configs, prepared), strict=True)
    tasks = [Task(*each, number, len(points)) for number, each in enumerate(known, start=1)]
    return _Running(tasks, whole, follower).run()


def _ask(here: bool, function: Callable[..., Any], *arguments: object) -> Any:
    """What is to be known before the first run: it takes torch, which this process would only import to run the oracle,
    or as an agent."""
    return function(*arguments) if here else Call(function, *arguments).result()


class _Running:
    """A sweep that is under way."""

    def __init__(self, tasks: Sequence[Task], sweep: Sweep, follower: Tracker) -> None:
        self._tasks, self._sweep, self._tracker = tasks, sweep, follower
        self._first = tasks[0].config
        self._failures: dict[str, str] = {}
        self._undelivered = 0

    def run(self) -> int:
        if len(self._tasks) > 1:
            self._sweep.write(Path(self._first.runs_dir))
        with self._interruptible():
            todo = [task for task in self._tasks if self._is_due(task)]
            _warn(todo)
            while todo:
                todo = self._round(todo)
        self._conclude()
        return 1 if self._failures else 0

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self._tell(self._tracker.interrupt)
            raise

    def _is_due(self, task: Task) -> bool:
        """Whether a point has to run; what is known of it already is said in one line."""
        folder, config = folder_of(task.config), task.config
        if runs_again(config):
            return True
        try:
            record = folder.read_record()
        except RecordError as error:
            _say(task, f"{error}; it is set aside as {folder.set_aside().name}, and the run made again")
            return True
        if record is not None:
            _say(task, f"has a record in {folder.path}, skipped; force=true runs it again")
            self._deliver(folder)
        elif folder.failure.exists():
            _say(task, "failed or was interrupted before, made again")
        return record is None

    def _round(self, tasks: Sequence[Task]) -> list[Task]:
        """Run the tasks; return those that another process was at, once it has ended, if they have no record still."""
        busy = []
        for task, failure in jobs(self._first.launcher).run(tasks, self._tracker):
            if isinstance(failure, Busy):
                _say(task, f"{failure}; waiting for it at the end")
                busy.append(task)
            elif failure is not None:
                self._fail(task.config, str(failure))
            else:
                self._deliver(folder_of(task.config))
        for task in busy:
            with alone(folder_of(task.config), wait=True):
                pass
        return [task for task in busy if self._is_due(task)]

    def _fail(self, config: RunConfig, message: str) -> None:
        self._failures[label(config)] = message
        print(f"{label(config)}: {message}", file=sys.stderr)
        self._tell(lambda: self._tracker.fail(config, message, killed=False))

    def _deliver(self, folder: RunFolder) -> None:
        self._undelivered += not self._tell(lambda: self._tracker.deliver(folder))

    def _tell(self, report: Callable[[], object]) -> bool:
        """Tell MLflow; if it is gone by now, the runs' folders know all the same."""
        try:
            report()
        except TrackingError as error:
            print(f"MLflow is away, training goes on: {error}", file=sys.stderr)
            return False
        except RecordError as error:
            print(f"not in MLflow: {error}", file=sys.stderr)
            return False
        return True

    def _conclude(self) -> None:
        """The table of the records, where to look further, and what failed."""
        records = [record for task in self._tasks if (record := _record(folder_of(task.config)))]
        table = summary(records) if records else ""
        self._tell(lambda: self._tracker.end(table, len(self._failures)))
        if table:
            print(table)
        print(f"\nrecords and timelines: {Path(self._first.runs_dir)}/<hash>/")
        if isinstance(self._first.tracking, MLflow):
            print(f"compare the runs:      mlflow ui --backend-store-uri {self._first.tracking.uri}")
        if self._undelivered:
            command = f"python -m bench sync runs_dir={self._first.runs_dir}"
            print(f"not in MLflow: {self._undelivered} of the runs; {command} delivers them", file=sys.stderr)
        for name, message in self._failures.items():
            lines = message.splitlines()
            print(f"failed: {name}: {' '.join([*lines[:1], *lines[1:][-1:]])}", file=sys.stderr)


def _warn(tasks: Sequence[Task]) -> None:
    """Once for all that stand alike."""
    for words in dict.fromkeys(warning(task.standing.verdict, task.config) for task in tasks):
        if words:
            print(f"outside the conditions of convergence: {words}", file=sys.stderr)


def _say(task: Task, words: str) -> None:
    print(f"run {task.position}/{task.total} {label(task.config)}: {words}", file=sys.stderr)


def _record(folder: RunFolder) -> dict[str, object] | None:
    try:
        return folder.read_record()
    except RecordError:
        return None
