"""Runs mirrored to MLflow by the parent process alone, before and after training, never while a run trains.

The folder of a run is the truth and MLflow its mirror, and MLflow itself knows what it holds: a run there has the tags
``config_hash`` and ``record``, a digest of the record that it mirrors, and is FINISHED once it has all of it. So to
deliver a run twice changes nothing, and whatever was killed in the middle is taken up again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.config import ConfigError, MLflow, RunConfig, Tracking, parse_recorded
from bench.study import mirror
from bench.study.process import is_alive, own_name
from bench.study.record import RecordError, RunFolder, WithoutResult
from bench.study.shelf import Sweep
from bench.study.store import alone, await_writers, first_line, open_store, settled, silenced, wrong_uri

METRICS_A_CALL = 1000
RUNS_A_PAGE = 1000
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


class TrackingError(RuntimeError):
    """MLflow did not take what was sent. The run's folder is complete all the same.

    ``outage`` counts how often it has gone away so far: of one outage, people want to hear once.
    """

    def __init__(self, message: str, outage: int) -> None:
        super().__init__(message)
        self.outage = outage


class Tracker(Protocol):
    """Follows the runs of a sweep, several at once if need be."""

    def prepare(self) -> None:
        """Import what takes seconds to import; nothing is opened."""

    def begin(self, sweep: Sweep) -> None:
        """Open MLflow. Raises ConfigError if there is none, or the experiment was deleted."""

    def start(self, config: RunConfig) -> None:
        """A point's run begins. Raises TrackingError, as all that follow."""

    def deliver(self, folder: RunFolder) -> bool:
        """Mirror a point's record and files, and end its run; False where MLflow has all of it. Raises RecordError."""

    def fail(self, config: RunConfig, message: str, status: WithoutResult) -> None:
        """A point's run ends without a record."""

    def end(self, summary: str, failed: int, files: Sequence[Path] = ()) -> None:
        """The sweep or study has ended: its table, how many points failed, and what else it leaves."""

    def interrupt(self) -> None:
        """The user ends the sweep."""


def tracker(tracking: Tracking) -> Tracker:
    """The tracker that the configuration asks for; nothing is opened before its ``begin``."""
    return MLflowTracker(tracking) if isinstance(tracking, MLflow) else NoTracker()


class NoTracker:
    """Follows nothing."""

    def prepare(self) -> None:
        pass

    def begin(self, sweep: Sweep) -> None:
        pass

    def start(self, config: RunConfig) -> None:
        pass

    def deliver(self, folder: RunFolder) -> bool:  # noqa: ARG002
        return False

    def fail(self, config: RunConfig, message: str, status: WithoutResult) -> None:
        pass

    def end(self, summary: str, failed: int, files: Sequence[Path] = ()) -> None:
        pass

    def interrupt(self) -> None:
        pass


class MLflowTracker:
    """Mirrors a sweep to the MLflow experiment that the configuration names: a parent run, and a child for each point.

    A single run has no parent.
    """

    def __init__(self, tracking: MLflow) -> None:
        self._tracking = tracking
        self._client: Any = None
        self._experiment = ""
        self._sweep = Sweep((), ())
        self._delivered: dict[str, str] = {}
        """The ``record`` tag of each finished run, by hash, as it was at the beginning."""
        self._started: dict[str, str] = {}
        """The ids of the runs that this process has begun and not ended, by hash."""
        self._parent: str | None = None
        self._owned = False
        """Whether the parent is this process's to end: another one may be at the same sweep."""
        self._outcomes: Counter[str] = Counter()
        self._outages = 0
        self._is_away = False

    def prepare(self) -> None:
        with settled(SETTINGS), silenced():
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    def begin(self, sweep: Sweep) -> None:
        """Open MLflow, and end as KILLED what a dead process of this machine left RUNNING."""
        self._sweep = sweep
        with settled(SETTINGS | IMPATIENCE), silenced():
            from mlflow.exceptions import MlflowException

            with alone(self._tracking):
                self._client, self._experiment = open_store(self._tracking)
                try:
                    self._reap()
                    finished = self._search("attributes.status = 'FINISHED'")
                except MlflowException as error:
                    raise wrong_uri(self._tracking.uri, error) from None
        self._delivered = {_tag(run, "config_hash"): _tag(run, "record") for run in finished}

    def start(self, config: RunConfig) -> None:
        with self._talking():
            self._started[config.hash()] = self._open(config)

    def deliver(self, folder: RunFolder) -> bool:
        record = folder.read_record()
        if record is None:
            raise RecordError(f"{folder.record}: there is no record to mirror")
        config, digest = _config(folder, record), hashlib.sha256(folder.record.read_bytes()).hexdigest()[:16]
        self._outcomes[record["status"]] += 1
        if self._delivered.get(config.hash()) == digest:
            return False
        with self._talking():
            known = self._runs_of(config)
            if digest in [_tag(run, "record") for run in known if run.info.status == "FINISHED"]:
                return False
            if config.hash() not in self._started and not all(map(self._is_free, known)):
                # Whoever has made the run is about to deliver it.
                return False
            # Before there is a run: what cannot be read must not leave one that never ends.
            content = mirror.content(record, folder)
            run_id = self._started.pop(config.hash(), None) or self._open(config)
            self._send(run_id, content)
            self._client.set_tag(run_id, "record", digest)
            self._client.set_terminated(run_id, "FINISHED", end_time=mirror.milliseconds(record["finished"]))
        return True

    def fail(self, config: RunConfig, message: str, status: WithoutResult) -> None:
        with self._talking():
            run_id = self._started.pop(config.hash(), None) or self._open(config)
            self._client.set_tag(run_id, "error", message[: mirror.TAG_LENGTH])
            self._client.set_tag(run_id, "status", status)
            self._client.set_terminated(run_id, "FAILED" if status == "failed" else "KILLED")

    def end(self, summary: str, failed: int, files: Sequence[Path] = ()) -> None:
        if not self._sweep.is_family:
            return
        with self._talking():
            found = self._search(f"tags.sweep = '{self._sweep.name}'")
            if self._parent is None and [run.info.status for run in found] == ["FINISHED"]:
                return
            parent = self._join()
            # Of several processes at one study, the last one to end has all of its runs.
            self._owned = self._owned or any(run.info.run_id == parent and self._is_free(run) for run in found)
            if not self._owned:
                return
            for status, count in {**self._outcomes, "failed": failed}.items():
                self._client.log_metric(parent, f"points/{status}", count)
            if summary:
                self._client.log_text(parent, summary, "table.md")
            for file in files:
                self._client.log_artifact(parent, str(file))
            self._client.set_terminated(parent, "FAILED" if failed else "FINISHED")

    def interrupt(self) -> None:
        if self._parent is not None and self._owned:
            with self._talking():
                self._client.set_terminated(self._parent, "KILLED")

    # ------------------------------------------------------------------------------------------------- runs and parents
    def _open(self, config: RunConfig) -> str:
        """The id of a point's run, RUNNING: one that has never finished is taken up again, else a new one."""
        parent = self._join()
        for run in self._runs_of(config):
            if run.info.status != "FINISHED" and self._is_free(run):
                self._reopen(run, parent)
                return str(run.info.run_id)
        tags = mirror.tags(config) | {"process": own_name()} | ({"mlflow.parentRunId": parent} if parent else {})
        run_id = self._client.create_run(self._experiment, tags=tags, run_name=mirror.name(config)).info.run_id
        self._client.log_batch(run_id, params=mirror.parameters(config))
        return str(run_id)

    def _reopen(self, run: Any, parent: str | None) -> None:
        self._client.update_run(run.info.run_id, status="RUNNING")
        self._client.set_tag(run.info.run_id, "process", own_name())
        if parent:
            self._client.set_tag(run.info.run_id, "mlflow.parentRunId", parent)
        for key in {"error", "status"} & set(run.data.tags):
            self._client.delete_tag(run.info.run_id, key)

    def _join(self) -> str | None:
        """The parent's id; looked for, reopened or created at the first need of it."""
        if self._parent is not None or not self._sweep.is_family:
            return self._parent
        found = self._search(f"tags.sweep = '{self._sweep.name}'")
        self._owned = not found or self._is_free(found[0])
        if not found:
            tags = mirror.parent_tags(self._sweep) | {"process": own_name()}
            created = self._client.create_run(self._experiment, tags=tags, run_name=mirror.parent_name(self._sweep))
            self._parent = created.info.run_id
        else:
            self._parent = found[0].info.run_id
            if self._owned:
                self._reopen(found[0], None)
        return self._parent

    def _send(self, run_id: str, content: mirror.Content) -> None:
        for first in range(0, len(content.metrics), METRICS_A_CALL):
            self._client.log_batch(run_id, metrics=content.metrics[first : first + METRICS_A_CALL])
        self._client.log_batch(run_id, tags=content.tags)
        self._client.log_inputs(run_id, content.inputs)
        for file in content.files:
            self._client.log_artifact(run_id, str(file))

    def _runs_of(self, config: RunConfig) -> list[Any]:
        return self._search(f"tags.config_hash = '{config.hash()}'")

    def _search(self, query: str) -> list[Any]:
        """Runs of the experiment, newest first."""
        runs: list[Any] = []
        token = None
        while token is not None or not runs:
            page = self._client.search_runs([self._experiment], query, max_results=RUNS_A_PAGE, page_token=token)
            runs += page
            token = page.token
            if not token:
                break
        return runs

    def _is_free(self, run: Any) -> bool:
        """Whether no living process is at a run but this one."""
        name = _tag(run, "process")
        return run.info.status != "RUNNING" or name == own_name() or not is_alive(name)

    def _reap(self) -> None:
        """A process that was killed by force leaves its runs RUNNING for ever."""
        for run in self._search(f"attributes.status = 'RUNNING' and tags.host = '{mirror.host()}'"):
            if not is_alive(_tag(run, "process")):
                self._client.set_tag(run.info.run_id, "status", "killed")
                self._client.set_terminated(run.info.run_id, "KILLED")

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        with settled(SETTINGS | IMPATIENCE), silenced():
            from mlflow.exceptions import MlflowException

            try:
                with alone(self._tracking):
                    await_writers(self._tracking)
                    yield
            except (MlflowException, ConfigError, OSError) as error:
                self._outages += not self._is_away
                self._is_away = True
                message = f"tracking.uri={self._tracking.uri!r}: {first_line(error)}"
                raise TrackingError(message, self._outages) from None
            self._is_away = False


def _tag(run: Any, key: str) -> str:
    return str(run.data.tags.get(key, ""))


def _config(folder: RunFolder, record: dict[str, Any]) -> RunConfig:
    try:
        return parse_recorded(record["config"])
    except ConfigError as error:
        raise RecordError(f"{folder.record}: {error}") from None
