"""The runs of one MLflow experiment: found, begun, taken up again, and ended where their process is dead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.study.tracking.epoch_curves import Point, points_of
from bench.study.tracking.machine_load import PREFIX
from bench.study.tracking.mirror import Content
from bench.system.process import heartbeat, is_alive, own_name

METRICS_A_CALL = 1000
RUNS_A_PAGE = 1000


class Experiment:
    """The runs of one MLflow experiment. Every method may raise what MLflow raises."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self._id = name

    def search(self, query: str) -> list[Any]:
        """The runs that a query of MLflow's finds, newest first."""
        runs: list[Any] = []
        token = None
        while token is not None or not runs:
            page = self.client.search_runs([self._id], query, max_results=RUNS_A_PAGE, page_token=token)
            runs += page
            token = page.token
            if not token:
                break
        return runs

    def create(self, name: str, tags: Mapping[str, str]) -> str:
        """Create a run of this process, RUNNING; return its id."""
        marks = {"process": own_name(), "heartbeat": heartbeat()}
        return str(self.client.create_run(self._id, tags={**tags, **marks}, run_name=name).info.run_id)

    def reopen(self, run: Any, parent: str | None) -> None:
        """Take up a run that is free."""
        own = run.info.run_id
        self.beat(own)
        self.client.set_tag(own, "process", own_name())
        self.client.update_run(own, status="RUNNING")
        if parent:
            self.client.set_tag(own, "mlflow.parentRunId", parent)
        for key in {"error", "status", "record"} & set(run.data.tags):
            self.client.delete_tag(own, key)

    def points(self, run: Any) -> set[Point]:
        """All points of a run's metrics, without what its machine did."""
        names = [name for name in run.data.metrics if not name.startswith(PREFIX)]
        return points_of(metric for name in names for metric in self.client.get_metric_history(run.info.run_id, name))

    def log(self, run_id: str, metrics: Sequence[Any]) -> None:
        """Send metrics."""
        for first in range(0, len(metrics), METRICS_A_CALL):
            self.client.log_batch(run_id, metrics=metrics[first : first + METRICS_A_CALL])

    def send(self, run_id: str, content: Content) -> None:
        """Send all that a run has in the end."""
        self.log(run_id, content.metrics)
        self.client.log_batch(run_id, tags=content.tags)
        if content.inputs:
            self.client.log_inputs(run_id, content.inputs)
        for file in content.files:
            self.client.log_artifact(run_id, str(file))

    def supersede(self, run_id: str) -> None:
        """End, as KILLED, a run part of which was made again since, from a checkpoint before it: another one has it."""
        self.client.set_tag(run_id, "error", "went on from an earlier checkpoint; another run has it all")
        self._kill(run_id)

    def beat(self, run_id: str) -> None:
        """Say that this process lives, and is at the run."""
        self.client.set_tag(run_id, "heartbeat", heartbeat())

    def reap(self) -> None:
        """End as KILLED what a process that was killed by force has left RUNNING, which it would be for ever."""
        for run in self.search("attributes.status = 'RUNNING'"):
            # Others may keep runs of their own in the same experiment.
            if tag(run, "process") and not _is_at(run):
                self._kill(run.info.run_id)

    def _kill(self, run_id: str) -> None:
        self.client.set_tag(run_id, "status", "killed")
        # Whoever was about to end it with its result was killed in between: that is to be delivered again.
        self.client.set_tag(run_id, "record", "")
        self.client.set_terminated(run_id, "KILLED")


def is_free(run: Any) -> bool:
    """Whether no living process is at a run but this one."""
    return run.info.status != "RUNNING" or tag(run, "process") == own_name() or not _is_at(run)


def tag(run: Any, key: str) -> str:
    """A run's tag; nothing where it has none."""
    return str(run.data.tags.get(key, ""))


def _is_at(run: Any) -> bool:
    return is_alive(tag(run, "process"), tag(run, "heartbeat"))
