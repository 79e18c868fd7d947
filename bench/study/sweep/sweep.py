"""A sweep from its points to its table: what has a record is skipped, the rest runs, MLflow hears of all of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.engine.rank import RunFailed
from bench.engine.seat import torchrun_seat, under_torchrun
from bench.keys import ConfigError
from bench.record.runs_dir import Sweep
from bench.study.launcher.agents import imports, launch
from bench.study.launcher.assessment import assess_all
from bench.study.launcher.check import check_all, check_seat, made
from bench.study.launcher.contract import Launcher
from bench.study.launcher.task import Task
from bench.study.report.quality_table import quality_tables
from bench.study.report.result import Run, read_run
from bench.study.report.terminal import shown, summary
from bench.study.report.throughput import throughput_table
from bench.study.sweep.compose import Point
from bench.study.sweep.runner import Runner
from bench.study.sweep.settings import Reporting, Settings
from bench.study.sweep.where import where
from bench.study.tracking.contract import Tracker
from bench.system.call import Call, warm_up


def run_all(points: Sequence[Point], overrides: Sequence[str]) -> int:
    """Run the points that have no record yet; 1 if any failed.

    Raises:
        ConfigError: a configuration is wrong; nothing was run.
        Interrupted: the user wants the end.
    """
    if under_torchrun() and len(points) > 1:
        raise ConfigError(f"--multirun: {len(points)} points; torchrun starts the agents of exactly one run")
    configs, settings = [point.config for point in points], points[0].settings
    check_seat(configs[0])
    follower = settings.tracker()
    launcher = settings.starter()
    here = under_torchrun() or (launcher.here and all(config.engine == "reference" for config in configs))
    if not here:
        warm_up(imports(configs))
        follower.prepare()
    settings.check_launcher()
    prepared = _ask(here, check_all, configs)
    seat = torchrun_seat()
    if seat is not None and seat.rank > 0:
        return _follow(points[0], prepared[0])
    whole = Sweep(tuple(overrides), tuple(config.hash() for config in configs))
    with made(("runs_dir", settings.runs_dir)):
        settings.begin(follower, whole)
        judged = _ask(here, assess_all, configs, prepared, settings.runs_dir)
    tasks = [
        Task(*each, settings.folder(each[0]), settings.again, number, len(points), **settings.keeping())
        for number, each in enumerate(zip(configs, prepared, judged, strict=True), start=1)
    ]
    return _Running(tasks, whole, settings, launcher, follower).run()


def _follow(point: Point, prepared: Path | None) -> int:
    """Train as one of torchrun's ranks; the first of them says what has come of the run, and keeps it."""
    settings = point.settings
    try:
        launch(point.config, prepared, settings.folder(point.config), {}, checkpoint=settings.checkpoint)
    except RunFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _ask(here: bool, function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function that takes torch: here where this process needs torch anyway, else in one that has it."""
    return function(*arguments) if here else Call(function, *arguments).result()


class _Running:
    """A sweep that is under way."""

    def __init__(
        self, tasks: Sequence[Task], sweep: Sweep, settings: Settings, launcher: Launcher, follower: Tracker
    ) -> None:
        self._tasks, self._sweep, self._settings = tasks, sweep, settings
        self._launcher, self._tracker = launcher, follower
        self._runner = Runner(follower, settings.records_file)

    def run(self) -> int:
        if self._sweep.is_family:
            self._runner.remember(self._sweep, self._settings.runs_dir)
        with self._interruptible():
            todo = [task for task in self._tasks if self._runner.is_due(task)]
            with closing(self._runner.run(todo, self._launcher)) as endings:
                for task, failure in endings:
                    if failure is not None:
                        self._runner.fail(task.config, str(failure))
        self._conclude()
        return 1 if self._runner.failures else 0

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self._runner.tell(self._tracker.interrupt)
            raise

    def _conclude(self) -> None:
        """Print the table of the records, where to look further, and what failed; tell MLflow."""
        records = [record for task in self._tasks if (record := self._settings.known(task.config))]
        runs = [read_run(record) for record in records]
        table = summary(runs) if runs else ""
        self._runner.tell(lambda: self._tracker.end(table, len(self._runner.failures)))
        if table:
            print(table)
            if len({task.config.seed for task in self._tasks}) > 1:
                print(_over_repeats(runs, self._settings.report))
        if self._settings.records:
            print(f"\nrecords:               {self._settings.records}", end="")
        print(f"\nrecords and timelines: {Path(self._settings.runs_dir)}/<hash>/")
        if place := where(self._settings):
            print(f"compare the runs:      {place}")
        self._runner.print_failures(self._settings.runs_dir)


def _over_repeats(runs: Sequence[Run], asked: Reporting) -> str:
    """The tables of means, differences and ratios with their intervals, as ``python -m bench report`` prints them."""
    tables = quality_tables(runs, asked.margin, asked.target) | {"throughput": throughput_table(runs)}
    return "\n".join(f"\n{shown(name, table)}" for name, table in tables.items())
