"""``launcher=submitit``: the points of a sweep as jobs of a SLURM cluster."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar, Literal

from bench.config import RunConfig
from bench.engine.rank import RunFailed
from bench.keys import Cardinal, ConfigError, Count, Text
from bench.study.launcher.contract import Ending, Launcher, Watch
from bench.study.launcher.jobs import JobFile, going_on, jobs_folder, states, told_by
from bench.study.launcher.node import on_node
from bench.study.launcher.packages import exported
from bench.study.launcher.task import Task, start, stop
from bench.study.tracking.contract import Tracker
from bench.system.signals import is_ending_softly

POLL_SECONDS = 1.0
"""Seconds between two looks at the cluster's jobs."""
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Submitit(Launcher):
    """Every point of a sweep a job of a SLURM cluster; its nodes share the folder of runs."""

    name: ClassVar[str] = "submitit"
    cluster: Literal["slurm", "local"]
    """Where jobs run; with ``local`` they are processes of this machine, for a try."""
    minutes: Count
    """Time limit of a job, in minutes."""
    memory_gigabytes: Count
    """Memory of a job's node."""
    gpus: Cardinal
    """GPUs of a node; 0 for training on the CPU."""
    agents_per_node: Count | None
    """Agents of a node, so that a point takes as many nodes as they need; None: all of a point's on one."""
    parallel: Count | None
    """The largest number of jobs at once; None: all of them."""
    array: bool
    """Whether the points that need the same are one job array."""
    slurm_partition: Text | None
    additional: dict[str, Any]
    """More of ``sbatch``'s options, by their long names: ``{qos: high, requeue: false}``."""

    def check(self) -> None:
        _submitit()
        missing = [program for program in ("srun", "sbatch") if shutil.which(program) is None]
        if self.cluster == "slurm" and missing:
            allowed = "allowed without it are launcher=local and launcher.cluster=local"
            raise ConfigError(f"launcher.cluster='slurm': there is no SLURM here ({missing[0]}); {allowed}")
        if self.cluster == "local" and self.agents_per_node is not None:
            only = "launcher.cluster='local' has one node; allowed is null"
            raise ConfigError(f"launcher.agents_per_node={self.agents_per_node}: {only}")

    def slots(self, configs: Sequence[RunConfig]) -> int:
        return min(len(configs), self.parallel or len(configs))

    def run(
        self,
        waiting: list[Task],
        tracker: Tracker,
        watch: Watch | None = None,  # noqa: ARG002  (jobs elsewhere are not watched)
    ) -> Generator[Ending, None, None]:
        running: dict[Any, Task] = {}
        try:
            self._adopt(waiting, tracker, running)
            while waiting or running:
                yield from self._start(waiting, tracker, running)
                known = states() if self.cluster == "slurm" else None
                for job in [job for job in running if not self._goes_on(job, known)]:
                    yield self._ending(running.pop(job), job, known)
                time.sleep(POLL_SECONDS)
        finally:
            self._leave(running, tracker)

    def _adopt(self, waiting: list[Task], tracker: Tracker, running: dict[Any, Task]) -> None:
        """Follow the jobs that an earlier command has started and that go on; take their tasks out of those that
        wait."""
        if self.cluster != "slurm":
            return
        known = states()
        for task in list(waiting):
            kept = JobFile.of(task.folder).read()
            if kept is None:
                continue
            number, nodes = kept
            job = _submitit().SlurmJob(jobs_folder(task.folder), number, list(range(nodes)))
            if going_on([job], known):
                running[job] = task
                waiting.remove(task)
                print(f"{task.title}: job {number} is at it, and is followed", file=sys.stderr)
                start(tracker, task)

    def _start(self, waiting: list[Task], tracker: Tracker, running: dict[Any, Task]) -> Iterator[Ending]:
        """Submit what waits, as far as there may be more jobs at once; yield what the cluster does not take."""
        room = len(waiting) if self.parallel is None else self.parallel - len(running)
        tasks = [waiting.pop(0) for _ in range(min(room, len(waiting)))]
        for _, equal in groupby(sorted(tasks, key=self._needs), key=self._needs):
            for group in [list(equal)] if self.array else [[task] for task in equal]:
                for task in group:
                    start(tracker, task)
                try:
                    running |= zip(self._submit(group), group, strict=True)
                except _submitit().core.utils.FailedJobError as error:
                    for task in group:
                        yield task, RunFailed(f"SLURM takes no such job: {error}")

    def _needs(self, task: Task) -> tuple[int, int]:
        """The nodes of a task's job, and the cores of each."""
        each = min(task.config.processes, self.agents_per_node or task.config.processes)
        return math.ceil(task.config.processes / each), each

    def _submit(self, tasks: Sequence[Task]) -> list[Any]:
        """Submit tasks that need the same, as one array where they are several."""
        nodes, cores = self._needs(tasks[0])
        executor = _submitit().AutoExecutor(jobs_folder(tasks[0].folder), cluster=self.cluster)
        executor.update_parameters(
            name=f"bench-{tasks[0].config.hash()}",
            timeout_min=self.minutes,
            mem_gb=self.memory_gigabytes,
            cpus_per_task=cores,
            gpus_per_node=self.gpus,
            nodes=nodes,
            tasks_per_node=1,
            slurm_additional_parameters={"requeue": True, **self.additional},
            **({"slurm_partition": self.slurm_partition} if self.slurm_partition else {}),
            **({"slurm_array_parallelism": self.parallel} if self.parallel else {}),
        )
        with ExitStack() as stack:
            stack.enter_context(exported())
            if len(tasks) > 1:
                stack.enter_context(executor.batch())
            jobs = [executor.submit(on_node, task, self.agents_per_node) for task in tasks]
        if self.cluster == "slurm":
            for task, job in zip(tasks, jobs, strict=True):
                JobFile.of(task.folder).write(job.job_id, nodes)
        return jobs

    def _goes_on(self, job: Any, known: dict[str, str] | None) -> bool:
        return bool(going_on([job], known)) if self.cluster == "slurm" else not job.done()

    def _ending(self, task: Task, job: Any, known: dict[str, str] | None) -> Ending:
        """How a job ended: by the run's record, or else by what the job says."""
        JobFile.of(task.folder).remove()
        message = told_by(job, (known or {}).get(str(job.job_id), UNKNOWN))
        has_failed = message is not None and not task.folder.record.exists()
        return task, RunFailed(message) if has_failed else None

    def _leave(self, running: dict[Any, Task], tracker: Tracker) -> None:
        """Cancel the jobs that still run; where this process is ended, and nobody has asked for theirs, leave them to
        the next command."""
        stays = self.cluster == "slurm" and is_ending_softly()
        for job, task in running.items():
            if stays:
                words = f"its job {job.job_id} goes on; the same command follows it"
                print(f"{task.title}: {words}", file=sys.stderr)
                stop(tracker, task, words)
            else:
                job.cancel(check=False)
                JobFile.of(task.folder).remove()
                stop(tracker, task)


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
