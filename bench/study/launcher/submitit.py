"""``launcher=submitit``: all points of a sweep at once, as jobs of a SLURM cluster."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.config import RunConfig
from bench.engine.rank import RunFailed
from bench.keys import Cardinal, ConfigError, Count, Text
from bench.record.runs_dir import JOBS
from bench.study.launcher.agents import imports
from bench.study.launcher.check import check
from bench.study.launcher.contract import Ending, Launcher, Watch
from bench.study.launcher.execution import execute
from bench.study.launcher.packages import exported
from bench.study.launcher.task import Task, start, stop
from bench.study.tracking.contract import Tracker
from bench.system.call import warm_up

POLL_SECONDS = 1.0
"""Seconds between two looks at the cluster's jobs."""


@dataclass(frozen=True)
class Submitit(Launcher):
    """Every point of a sweep a job of a SLURM cluster, each on one node; the nodes share the folder of runs."""

    name: ClassVar[str] = "submitit"
    cluster: Literal["slurm", "local"]
    """Where jobs run; with ``local`` they are processes of this machine, for a try."""
    minutes: Count
    """Time limit of a job, in minutes."""
    memory_gigabytes: Count
    gpus: Cardinal
    """GPUs of a node; 0 for training on the CPU."""
    slurm_partition: Text | None

    def check(self) -> None:
        _submitit()
        missing = [program for program in ("srun", "sbatch") if shutil.which(program) is None]
        if self.cluster == "slurm" and missing:
            allowed = "allowed without it are launcher=local and launcher.cluster=local"
            raise ConfigError(f"launcher.cluster='slurm': there is no SLURM here ({missing[0]}); {allowed}")

    def slots(self, configs: Sequence[RunConfig]) -> int:
        return len(configs)

    def run(
        self,
        waiting: list[Task],
        tracker: Tracker,
        watch: Watch | None = None,  # noqa: ARG002  (jobs elsewhere are not watched)
    ) -> Generator[Ending, None, None]:
        running: dict[Any, Task] = {}
        try:
            while waiting or running:
                while waiting:
                    task = waiting.pop(0)
                    start(tracker, task)
                    try:
                        running[self._submit(task)] = task
                    except _submitit().core.utils.FailedJobError as error:
                        yield task, RunFailed(f"SLURM takes no such job: {error}")
                for job in [job for job in running if job.done()]:
                    yield _ending(running.pop(job), job)
                time.sleep(POLL_SECONDS)
        finally:
            for job, task in running.items():
                job.cancel()
                stop(tracker, task)

    def _submit(self, task: Task) -> Any:
        executor = _submitit().AutoExecutor(Path(task.folder.path.parent, JOBS), cluster=self.cluster)
        executor.update_parameters(
            name=f"bench-{task.config.hash()}",
            timeout_min=self.minutes,
            mem_gb=self.memory_gigabytes,
            cpus_per_task=task.config.agents,
            gpus_per_node=self.gpus,
            **({"slurm_partition": self.slurm_partition} if self.slurm_partition else {}),
        )
        with exported():
            return executor.submit(on_node, task)


def on_node(task: Task) -> str | None:
    """Run a task, as a job; return the message of a failure that is the run's own."""
    if task.config.engine == "distributed":
        warm_up(imports([task.config]))
    try:
        execute(replace(task, prepared=check(task.config)), nullcontext())
    except (RunFailed, ConfigError) as failure:
        return str(failure)
    return None


def _ending(task: Task, job: Any) -> Ending:
    """How a job ended; submitit's own errors hold the end of its log."""
    error = job.exception()
    message = job.result() if error is None else f"job {job.job_id} failed: {error}"
    return task, None if message is None else RunFailed(message)


def _submitit() -> Any:
    """Import submitit.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import submitit
    except ImportError:
        message = "needs submitit: pip install 'staleness-bench[slurm]'; allowed without it is local"
        raise ConfigError(f"launcher='submitit': {message}") from None
    return submitit
