"""Runs mirrored to MLflow by the parent process alone: when they begin, now and then while they train, and at the end.

The folder of a run is the truth and MLflow its mirror, and MLflow itself knows what it holds: a run there has the tags
``config_hash`` and ``record``, a digest of the record that it mirrors (or of why there is none), and has ended once it
has all of it. So to deliver a run twice changes nothing, and whatever was killed in the middle is taken up again, if
all that MLflow has of it is what the folder says: of what was begun anew, or went on from an earlier checkpoint, MLflow
has another run.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.config import RunConfig
from bench.keys import ConfigError
from bench.record.folder import Failure, RunFolder, WithoutResult
from bench.record.runs_dir import Sweep
from bench.study.report.result import Run, read_run
from bench.study.tracking import mirror
from bench.study.tracking.contract import Tracker, TrackingError
from bench.study.tracking.ending import Ending, abandoned, with_result, without_result
from bench.study.tracking.epoch_curves import EpochCurves, Point, point_of, points_of
from bench.study.tracking.experiment import Experiment, is_free, tag
from bench.study.tracking.headline import headline
from bench.study.tracking.live_run import LiveRun
from bench.study.tracking.machine_load import MachineLoad
from bench.study.tracking.store import (
    await_writers,
    open_store,
    settled,
    silenced,
    store_lock,
    try_store,
    wrong_uri,
)
from bench.system.heartbeat import TALKING, Heartbeat, Repeated
from bench.system.wording import first_line, masked

SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
LOOK_SECONDS = 1.0
"""Seconds between two looks at what the runs under way have said."""


class MLflowTracker(Tracker):
    """Mirrors a sweep to the MLflow experiment that the configuration names: a parent run, and a child for each point.

    A single run has no parent.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._uri, self._name = uri, experiment
        self._experiment: Experiment
        self._sweep = Sweep((), ())
        self._delivered: set[str] = set()
        """The ``record`` tags of the runs that had ended at the beginning."""
        self._folders: dict[str, RunFolder] = {}
        """The folders of the runs that this process has begun, by hash."""
        self._started: dict[str, LiveRun] = {}
        """The runs that this process has begun in MLflow and not ended, by hash."""
        self._parent: str | None = None
        self._owned = False
        """Whether the parent is this process's to end: another one may be at the same sweep."""
        self._points: dict[str, Run] = {}
        """The runs that have a record, by hash."""
        self._heartbeat = Heartbeat(self._beat)
        self._watch = Repeated(self._look, lambda: LOOK_SECONDS, "mirror")
        self._load = MachineLoad()
        self._outages = 0
        self._is_away = False

    def prepare(self) -> None:
        with settled(SETTINGS), silenced():
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    def begin(self, sweep: Sweep) -> None:
        """Open MLflow, and end what dead processes left RUNNING."""
        self._sweep = sweep
        with TALKING, settled(SETTINGS | IMPATIENCE), silenced():
            from mlflow.exceptions import MlflowException

            try_store(self._uri)
            with store_lock(self._uri):
                self._experiment = Experiment(*open_store(self._uri, self._name))
                try:
                    self._experiment.reap()
                    ended = self._experiment.search("attributes.status != 'RUNNING'")
                except MlflowException as error:
                    raise wrong_uri(self._uri, error) from None
        self._delivered = {tag(run, "record") for run in ended} - {""}

    def start(self, config: RunConfig, folder: RunFolder) -> None:
        self._folders[config.hash()], curves = folder, EpochCurves(folder)
        curves.read()
        with self._talking():
            run_id, sent = self._open(config, points_of(curves.metrics))
            begun = time.monotonic()
            self._experiment.beat(run_id)
            self._started[config.hash()] = LiveRun(config, folder, run_id, sent, time.monotonic() - begun)
            self._watch.start()

    def deliver(self, folder: RunFolder) -> bool:
        record = folder.read_record()
        # Before there is a run: what cannot be read must not leave one that never ends.
        ending = abandoned(folder) if record is None else with_result(folder, record)
        if record is not None:
            self._points[ending.config.hash()] = read_run(record)
        if ending.digest in self._delivered:
            return False
        with self._talking():
            known = self._runs_of(ending.config)
            if ending.digest in [tag(run, "record") for run in known if run.info.status != "RUNNING"]:
                return False
            if ending.config.hash() not in self._started and not all(map(is_free, known)):
                # Whoever has made the run is about to deliver it.
                return False
            self._conclude(ending)
        return True

    def fail(self, config: RunConfig, message: str, status: WithoutResult) -> None:
        folder = self._folders.get(config.hash())
        # One that was never begun here may be another process's; one that has its record has a result.
        if folder is not None and not folder.record.exists():
            with self._talking():
                self._conclude(without_result(config, folder, Failure(status, message, time.time())))

    def end(self, summary: str, failed: int, files: Sequence[Path] = ()) -> None:
        if not self._sweep.is_family:
            return
        with self._talking():
            found = self._experiment.search(f"tags.sweep = '{self._sweep.name}'")
            if self._parent is None and [run.info.status for run in found] == ["FINISHED"]:
                return
            parent = self._join()
            # Of several processes at one study, the last one to end has all of its runs.
            self._owned = self._owned or any(run.info.run_id == parent and is_free(run) for run in found)
            if not self._owned:
                return
            points = list(self._points.values())
            outcomes = {f"points/{status}": count for status, count in Counter(each.status for each in points).items()}
            for key, value in {**outcomes, "points/failed": failed, **headline(points)}.items():
                self._client.log_metric(parent, key, value)
            if summary:
                self._client.log_text(parent, summary, "table.md")
            for file in files:
                self._client.log_artifact(parent, str(file))
            self._client.set_terminated(parent, "FAILED" if failed else "FINISHED")
            self._owned = False

    def interrupt(self) -> None:
        if self._parent is not None and self._owned:
            with self._talking():
                self._client.set_terminated(self._parent, "KILLED")
                self._owned = False

    # ------------------------------------------------------------------------------------------------- runs and parents
    def _open(self, config: RunConfig, told: set[Point]) -> tuple[str, set[Point]]:
        """The id of a point's run, RUNNING, and what it has: one that has not finished and has nothing but what the
        folder has ``told`` is taken up again, else a new one."""
        parent = self._join()
        self._heartbeat.start()
        for run in self._runs_of(config):
            if run.info.status != "FINISHED" and is_free(run) and (has := self._experiment.points(run)) <= told:
                self._experiment.reopen(run, parent)
                return str(run.info.run_id), has
        return self._create(config), set()

    def _create(self, config: RunConfig) -> str:
        """The id of a new run of a point, RUNNING."""
        parent = self._join()
        tags = mirror.tags(config) | ({"mlflow.parentRunId": parent} if parent else {})
        run_id = self._experiment.create(mirror.name(config), tags)
        self._client.log_batch(run_id, params=mirror.parameters(config))
        return run_id

    def _conclude(self, ending: Ending) -> None:
        """Send what a run lacks, and end it."""
        live, told = self._started.pop(ending.config.hash(), None), points_of(ending.content.metrics)
        if live is not None and not live.sent <= told:
            self._experiment.supersede(live.run_id)
            live = None
        run_id, sent = (live.run_id, live.sent) if live else self._open(ending.config, told)
        rest = [metric for metric in ending.content.metrics if point_of(metric) not in sent]
        self._experiment.send(run_id, ending.content._replace(metrics=rest))
        self._client.set_tag(run_id, "record", ending.digest)
        self._client.set_terminated(run_id, ending.status, end_time=ending.time)

    def _look(self) -> bool:
        """Tell MLflow what the runs under way have said, where that is due; return whether there are any."""
        for live in self._started.values():
            live.look()
            if live.is_due():
                with contextlib.suppress(TrackingError), live.budget.spending(), self._talking():
                    self._tell(live)
        return bool(self._started)

    def _tell(self, live: LiveRun) -> None:
        if live.is_void:
            self._experiment.supersede(live.run_id)
            live.begin_anew(self._create(live.config))
        self._experiment.log(live.run_id, live.news(self._load.look()))
        live.note()
        if timeline := live.timeline:
            self._client.log_artifact(live.run_id, str(timeline))
            live.note_timeline()

    def _join(self) -> str | None:
        """The parent's id; looked for, reopened or created at the first need of it."""
        if self._parent is not None or not self._sweep.is_family:
            return self._parent
        found = self._experiment.search(f"tags.sweep = '{self._sweep.name}'")
        self._owned = not found or is_free(found[0])
        if not found:
            self._parent = self._experiment.create(mirror.parent_name(self._sweep), mirror.parent_tags(self._sweep))
        else:
            self._parent = found[0].info.run_id
            if self._owned:
                self._experiment.reopen(found[0], None)
        return self._parent

    def _runs_of(self, config: RunConfig) -> list[Any]:
        return self._experiment.search(f"tags.config_hash = '{config.hash()}'")

    def _beat(self) -> bool:
        """Tell MLflow that this process's runs go on; return whether there are any."""
        parent = [self._parent] if self._parent and self._owned else []
        running = [*parent, *(live.run_id for live in self._started.values())]
        if running:
            with contextlib.suppress(TrackingError), self._talking():
                for run_id in running:
                    self._experiment.beat(run_id)
        return bool(running)

    @property
    def _client(self) -> Any:
        return self._experiment.client

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        with TALKING, settled(SETTINGS | IMPATIENCE), silenced():
            from mlflow.exceptions import MlflowException

            try:
                with store_lock(self._uri):
                    await_writers(self._uri)
                    yield
            except (MlflowException, ConfigError, OSError) as error:
                self._outages += not self._is_away
                self._is_away = True
                message = masked(f"tracking.uri={self._uri!r}: {first_line(error)}")
                raise TrackingError(message, self._outages) from None
            self._is_away = False
