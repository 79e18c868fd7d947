"""Runs tasks for a sweep or a study: skips what has a record, tells MLflow of the rest, remembers what failed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.config import RunConfig
from bench.record.folder import RecordError, RunFolder, WithoutResult
from bench.record.records_file import RecordsFile
from bench.record.runs_dir import Sweep, known_record
from bench.record.version import is_current
from bench.study.launcher.contract import Ending, Launcher, Watch
from bench.study.launcher.execution import Busy, picture, run_lock
from bench.study.launcher.progress import print_aside
from bench.study.launcher.task import Task, label
from bench.study.tracking.contract import Tracker, TrackingError
from bench.system.file import WriteError
from bench.system.heartbeat import TALKING
from bench.system.wording import gist


class Runner:
    """Runs tasks and tells MLflow of them. What MLflow does not take is in the runs' folders, and stops nothing."""

    def __init__(self, tracker: Tracker, records: RecordsFile | None = None) -> None:
        self.failures: dict[str, str] = {}
        """The message of each run that failed, by its label."""
        self.undelivered = 0
        """Runs of which MLflow did not take how they ended."""
        self._tracker = tracker
        self._records = records
        self._told = 0
        """The number of the last outage of MLflow that the user has been told of."""

    def is_due(self, task: Task) -> bool:
        """Whether a point has to run; what is known of it already is said in one line."""
        folder = task.folder
        if task.again:
            return True
        if self._records and not folder.record.exists() and (kept := self._records.find(folder.path.name)):
            return not _is_current(task, kept, self._records.path)
        try:
            record = folder.read_record()
        except RecordError as error:
            _say(task, f"{error}; it is set aside as {folder.set_aside().name}, and the run made again")
            return True
        if record is not None:
            if not _is_current(task, record, folder.path):
                return True
            if not folder.picture.exists():  # whoever ran it was killed between the record and that
                picture(folder)
            self._keep(folder)
            self.deliver(folder)
        elif folder.failure.exists():
            _say(task, "ended without a result before, made again")
        return record is None

    def run(self, waiting: list[Task], launcher: Launcher, watch: Watch | None = None) -> Generator[Ending, None, None]:
        """Run tasks, each on to its end, and yield them with what kept them from a record.

        Whoever gets one may add to those that wait. One that another process is at is waited for when all others have
        ended, and run if it has no record then.

        Args:
            waiting: the tasks; those that are started, or have a record, are taken out.
        """
        while waiting:
            busy: list[Task] = []
            # What ends this one, an interruption between two endings too, ends what the launcher has running.
            with closing(launcher.run(waiting, self._tracker, watch)) as endings:
                for task, failure in endings:
                    if isinstance(failure, Busy):
                        _say(task, f"{failure}; waiting for it at the end")
                        busy.append(task)
                        continue
                    if failure is None:
                        self._keep(task.folder)
                        self.deliver(task.folder)
                    yield task, failure
            for task in busy:
                with run_lock(task.folder, wait=True):
                    pass
                if self.is_due(task):
                    waiting.append(task)
                else:
                    yield task, None

    def _keep(self, folder: RunFolder) -> None:
        """Put a run's record into the file of records; where that fails, the run's folder has it all the same."""
        if self._records is None or (record := known_record(folder)) is None:
            return
        try:
            self._records.keep(record)
        except OSError as error:
            print_aside(f"bench: {error}; the same command takes the record from {folder.path} later")

    def fail(self, config: RunConfig, message: str) -> None:
        """Note that a run has failed by its own fault, and say so."""
        self.failures[label(config)] = message
        print_aside(f"{label(config)}: {message}")
        self.end(config, message, "failed")

    def end(self, config: RunConfig, message: str, status: WithoutResult) -> None:
        """Tell MLflow that a run has ended without a record."""
        self.undelivered += not self.tell(lambda: self._tracker.fail(config, message, status))

    def deliver(self, folder: RunFolder) -> None:
        """Tell MLflow of a run that has its record."""
        self.undelivered += not self.tell(lambda: self._tracker.deliver(folder))

    def tell(self, report: Callable[[], object]) -> bool:
        """Tell MLflow; if it is gone by now, the runs' folders know all the same. Of each outage one line tells."""
        try:
            with TALKING:
                report()
        except TrackingError as error:
            if error.outage != self._told:
                print_aside(f"MLflow is away, training goes on: {error}")
            self._told = error.outage
            return False
        except RecordError as error:
            print_aside(f"not in MLflow: {error}")
            return False
        return True

    def remember(self, sweep: Sweep, runs_dir: str) -> None:
        """Keep which runs belong together; they are made and compared without that as well."""
        try:
            sweep.write(Path(runs_dir))
        except WriteError as error:
            print_aside(f"bench: {error}")

    def print_failures(self, runs_dir: str) -> None:
        """Print, at the end, what MLflow lacks, and a line for each failure."""
        if self.undelivered:
            command = f"python -m bench sync runs_dir={runs_dir}"
            print_aside(f"not in MLflow: {self.undelivered} of the runs; {command} delivers them")
        for name, message in self.failures.items():
            print_aside(f"failed: {name}: {gist(message)}")


def _is_current(task: Task, record: Mapping[str, Any], place: Path) -> bool:
    """Whether a record is of what this version of the engine computes; what becomes of the run is said."""
    current = is_current(record)
    skipped = f"has a record in {place}, skipped; force=true runs it again"
    _say(task, skipped if current else f"the record in {place} is of another version of the engine, made again")
    return current


def _say(task: Task, words: str) -> None:
    print_aside(f"{task.title}: {words}")
