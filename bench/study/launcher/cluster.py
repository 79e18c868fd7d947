"""All points of a sweep at once, as jobs of a SLURM cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.config import Basic, RunConfig, Submitit
from bench.engine.rank import RunFailed
from bench.keys import ConfigError
from bench.record.runs_dir import JOBS
from bench.study.launcher.attempt import attempt
from bench.study.launcher.convergence import Standing
from bench.study.launcher.packages import exported
from bench.study.launcher.task import Ending, Task, start, stop
from bench.study.tracking.tracker import Tracker

POLL_SECONDS = 1.0
"""Seconds between two looks at the cluster's jobs."""


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
                start(tracker, task.config)
                try:
                    running[self._submit(task)] = task
                except submitit_module().core.utils.FailedJobError as error:
                    yield task, RunFailed(f"SLURM takes no such job: {error}")
            while running:
                for job in [job for job in running if job.done()]:
                    yield _ending(running.pop(job), job)
                time.sleep(POLL_SECONDS)
        finally:
            for job, task in running.items():
                job.cancel()
                stop(tracker, task.config)

    def _submit(self, task: Task) -> Any:
        launcher, config = self._launcher, task.config
        executor = submitit_module().AutoExecutor(Path(config.runs_dir, JOBS), cluster=launcher.cluster)
        executor.update_parameters(
            name=f"bench-{config.hash()}",
            timeout_min=launcher.minutes,
            mem_gb=launcher.memory_gigabytes,
            cpus_per_task=config.agents,
            gpus_per_node=launcher.gpus,
            **({"slurm_partition": launcher.slurm_partition} if launcher.slurm_partition else {}),
        )
        with exported():
            return executor.submit(on_node, replace(config, launcher=Basic("basic")), task.standing)


def on_node(config: RunConfig, standing: Standing) -> str | None:
    """Run one attempt, as a job; return the message of a failure that is the run's own."""
    from bench.study.launcher.check import check

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


def submitit_module() -> Any:
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
