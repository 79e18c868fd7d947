"""``python -m bench [run]``: one run, or a sweep of them."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import ConfigError, MLflow, RunConfig
from bench.study.check import check_all, make_runs_dir, oversubscribed
from bench.study.compose import Point, compose, sweep
from bench.study.elsewhere import Call, Interrupted, warm_up
from bench.study.launch import RunFailed, launch, under_torchrun
from bench.study.progress import Progress
from bench.study.record import RunFolder, environment
from bench.study.table import summary
from bench.study.tracking import TrackingError, tracker


@dataclass(frozen=True)
class Place:
    """Which run of how many."""

    position: int
    total: int


def main(arguments: argparse.Namespace) -> int:
    """Run what the command line asks for; return the exit code (design 3).

    Raises:
        ConfigError: a configuration is wrong; nothing was run.
        Interrupted: the user wants the end.
    """
    with _terminable():
        if arguments.multirun:
            return run_all(sweep(arguments.overrides))
        return run_all([Point(compose(arguments.overrides), ())])


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does: in order, and not before MLflow knows of it."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_all(points: Sequence[Point]) -> int:
    """Run the points that have no record yet, one after the other; 1 if any failed."""
    if under_torchrun() and len(points) > 1:
        raise ConfigError(f"--multirun: {len(points)} points; torchrun starts the agents of exactly one run")
    prepared = _checked([point.config for point in points])
    for runs_dir in {point.config.runs_dir for point in points}:
        make_runs_dir(runs_dir)
    failures: dict[str, str] = {}
    for position, point in enumerate(points, start=1):
        config = point.config
        try:
            run(config, prepared[position - 1], Place(position, len(points)))
        except (RunFailed, Busy) as failure:
            failures[label(config)] = str(failure)
            print(f"{label(config)}: {failure}", file=sys.stderr)
    if int(os.environ.get("RANK", "0")) == 0:
        _conclude([point.config for point in points], failures)
    return 1 if failures else 0


def _checked(configs: Sequence[RunConfig]) -> list[Path | None]:
    """Check all points before the first one runs, in a process that has torch; that is imported while MLflow is."""
    if under_torchrun() or all(config.engine == "reference" for config in configs):
        return check_all(configs)
    warm_up()
    tracker(configs[0].tracking).prepare()
    result: list[Path | None] = Call(check_all, configs).result()
    return result


def run(config: RunConfig, prepared: Path | None, place: Place) -> None:
    """One run, tracked, unless it has a record.

    Raises:
        ConfigError: MLflow is not where ``tracking.uri`` says.
        RunFailed: a rank failed.
        Busy: another process is at the same run.
        Interrupted: the user wants the end.
    """
    folder = RunFolder(Path(config.runs_dir, config.hash()))
    if int(os.environ.get("RANK", "0")) > 0:
        launch(config, prepared, folder, {})
        return
    title = f"run {place.position}/{place.total} {label(config)}"
    if folder.record.exists() and not config.force and not under_torchrun():
        print(f"{title}: has a record in {folder.path}; force=true runs it again", file=sys.stderr)
        return
    with _alone(folder):
        follower = tracker(config.tracking)
        try:
            follower.start(config)
            folder.clear()
            with Progress(folder, label(config), place.position, place.total):
                launch(config, prepared, folder, environment(oversubscribed(config)))
            _draw(folder)
        except ConfigError:
            folder.discard()
            raise
        except RunFailed as error:
            message = str(error)
            folder.write_failure(message, killed=False)
            _tell(title, lambda: follower.fail(message, killed=False))
            raise
        except KeyboardInterrupt:
            if not folder.record.exists():
                folder.write_failure("interrupted", killed=True)
            _tell(title, lambda: follower.fail("interrupted", killed=True))
            raise Interrupted from None
        _tell(title, lambda: follower.finish(folder))


def _tell(title: str, report: Callable[[], None]) -> None:
    """Tell MLflow how the run ended; if it is gone by now, the run's folder knows all the same."""
    try:
        report()
    except TrackingError as error:
        print(f"{title}: {error}", file=sys.stderr)


def label(config: RunConfig) -> str:
    """A run's short name for people."""
    return f"K{config.stages} S{config.replicas} c{config.staleness} {config.hash()}"


class Busy(RuntimeError):
    """Another process is at the same run."""


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """Hold the run's folder; the system lets go of it when this process ends, however it ends."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with (folder.path / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is running it, in {folder.path}") from None
        yield


def _draw(folder: RunFolder) -> None:
    import json

    from bench.study.timeline import draw

    draw(json.loads(folder.timeline.read_text()), folder.picture)


def _conclude(configs: Sequence[RunConfig], failures: dict[str, str]) -> None:
    """The table of the records, where to look further, and what failed."""
    records: list[dict[str, Any]] = []
    for config in configs:
        record = RunFolder(Path(config.runs_dir, config.hash())).read_record()
        if record is not None:
            records.append(record)
    if records:
        print(summary(records))
    print(f"\nrecords and timelines: {Path(configs[0].runs_dir)}/<hash>/")
    if isinstance(configs[0].tracking, MLflow):
        print(f"compare the runs:      mlflow ui --backend-store-uri {configs[0].tracking.uri}")
    for name, message in failures.items():
        lines = message.splitlines()
        reason = " ".join([*lines[:1], *lines[1:][-1:]])
        print(f"failed: {name}: {reason}", file=sys.stderr)
