"""Where the points of a sweep run: one after the other on this machine, or all at once as jobs of a SLURM cluster."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from bench.config import Basic, ConfigError, Launcher, RunConfig, Submitit
from bench.study.attempt import Busy, attempt, folder_of, label
from bench.study.launch import Pruned, RunFailed
from bench.study.progress import Progress
from bench.study.record import RecordError
from bench.study.shelf import JOBS
from bench.study.standing import Standing
from bench.study.tracking import Tracker, TrackingError

POLL_SECONDS = 1.0
"""Seconds between two looks at the cluster's jobs."""


@dataclass(frozen=True)
class Task:
    """A point that is to run now."""

    config: RunConfig
    prepared: Path | None
    """The prepared data's file."""
    standing: Standing
    position: int
    total: int
    """The number of points that ``position`` counts among."""
    kind: Literal["run", "trial", "repeat"] = "run"
    """What people call a task of this kind."""

    @property
    def title(self) -> str:
        """The task's short name for people."""
        return f"{self.kind} {self.position}/{self.total} {label(self.config)}"


Ending = tuple[Task, RunFailed | Pruned | Busy | None]
"""A task and what kept it from its result."""


class Jobs(Protocol):
    """Runs tasks in whatever order and number at once; only this process tells the tracker."""

    def run(self, tasks: Sequence[Task], tracker: Tracker) -> Iterator[Ending]: ...


def jobs(launcher: Launcher, watch: Callable[[], None] | None = None) -> Jobs:
    """Make the launcher that the configuration asks for.

    Args:
        watch: called while a run trains, as :func:`launch` does; the jobs of a cluster are not watched.
    """
    return InTurn(watch) if isinstance(launcher, Basic) else Cluster(launcher)


class InTurn:
    """One task after the other, on this machine, with a bar."""

    def __init__(self, watch: Callable[[], None] | None) -> None:
        self._watch = watch

    def run(self, tasks: Sequence[Task], tracker: Tracker) -> Iterator[Ending]:
        for task in tasks:
            try:
                attempt(task.config, task.prepared, task.standing, _followed(task, tracker), self._watch)
                yield task, None
            except (RunFailed, Pruned, Busy) as failure:
                yield task, failure
            except KeyboardInterrupt:
                _stop(tracker, task.config)
                raise


class Cluster:
    """A job a task, through submitit; each runs on one node as a single run would there.

    The folder of runs must be one that the nodes share.
    """

    def __init__(self, launcher: Submitit) -> None:
        self._launcher = launcher

    def run(self, tasks: Sequence[Task], tracker: Tracker) -> Iterator[Ending]:
        running = {}
        try:
            for task in tasks:
                _start(tracker, task.config)
                try:
                    running[self._submit(task)] = task
                except _submitit().core.utils.FailedJobError as error:
                    yield task, RunFailed(f"SLURM takes no such job: {error}")
            while running:
                for job in [job for job in running if job.done()]:
                    yield _ending(running.pop(job), job)
                time.sleep(POLL_SECONDS)
        finally:
            for job, task in running.items():
                job.cancel()
                _stop(tracker, task.config)

    def _submit(self, task: Task) -> Any:
        launcher, config = self._launcher, task.config
        executor = _submitit().AutoExecutor(Path(config.runs_dir, JOBS), cluster=launcher.cluster)
        executor.update_parameters(
            name=f"bench-{config.hash()}",
            timeout_min=launcher.minutes,
            mem_gb=launcher.memory_gigabytes,
            cpus_per_task=config.agents,
            gpus_per_node=launcher.gpus,
            **({"slurm_partition": launcher.slurm_partition} if launcher.slurm_partition else {}),
        )
        return executor.submit(on_node, replace(config, launcher=Basic("basic")), task.standing)


def on_node(config: RunConfig, standing: Standing) -> str | None:
    """Run one attempt, as a job; return the message of a failure that is the run's own."""
    from bench.study.check import check

    try:
        attempt(config, check(config), standing, nullcontext())
    except (RunFailed, ConfigError) as failure:
        return str(failure)
    return None


def _ending(task: Task, job: Any) -> Ending:
    """How a job ended; submitit's own errors hold the end of its log."""
    error = job.exception()
    message = job.result() if error is None else f"job {job.job_id} failed: {error}"
    return task, None if message is None else RunFailed(message)


@contextmanager
def _followed(task: Task, tracker: Tracker) -> Iterator[None]:
    """Tell MLflow that the run has begun, and show its progress meanwhile."""
    _start(tracker, task.config)
    with Progress(folder_of(task.config), task.title):
        yield


def _start(tracker: Tracker, config: RunConfig) -> None:
    """Tell MLflow that a run starts; if MLflow is away by now, the run goes on, and is delivered later."""
    with suppress(TrackingError):
        tracker.start(config)


def _stop(tracker: Tracker, config: RunConfig) -> None:
    """Tell MLflow how a run was interrupted: a run that had its record by then is delivered, any other was killed."""
    folder = folder_of(config)
    with suppress(TrackingError, RecordError):
        if folder.record.exists():
            tracker.deliver(folder)
        else:
            tracker.fail(config, "interrupted", "killed")


def check_launcher(launcher: Launcher) -> None:
    """Check, before anything is written, that runs can be launched as configured.

    Raises:
        ConfigError: what it takes is not here.
    """
    if isinstance(launcher, Submitit):
        _submitit()
        missing = [program for program in ("srun", "sbatch") if shutil.which(program) is None]
        if launcher.cluster == "slurm" and missing:
            allowed = "allowed without it are launcher=basic and launcher.cluster=local"
            raise ConfigError(f"launcher.cluster='slurm': there is no SLURM here ({missing[0]}); {allowed}")


def _submitit() -> Any:
    """Import submitit.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import submitit
    except ImportError:
        message = "needs submitit: pip install 'staleness-bench[slurm]'; allowed without it is basic"
        raise ConfigError(f"launcher='submitit': {message}") from None
    return submitit
