"""The command line as a user has it: run by this process, as importing torch and MLflow takes seconds; or, where it is
to be interrupted or killed, by processes in a session of their own, which can be counted when they are gone."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.__main__ import main
from bench.system.signals import ENDING

ROOT = Path(__file__).parent.parent
BENCH = (sys.executable, "-m", "bench")
TINY = (
    "data=synthetic",
    "data.shape=[3,8,8]",
    "data.classes=3",
    "data.train_size=64",
    "data.test_size=10",
    "model.depth=8",
    "model.width=4",
    "batch_size=4",
    "epochs=2",
    "lr=inverse_time",
    "lr.gamma0=0.001",
    "precision=float64",
    "partition=counted",
    "tracking=none",
)
"""A run that takes a fraction of a second once its ranks have started; its schedule is convergent."""
TORCHRUN = {
    "RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "here",
}
"""What torchrun tells the only process that it starts."""


def allowed(group: str) -> str:
    """What a group may be, as a message says it: whatever has a file in ``conf``."""
    return ", ".join(sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml")))


LONG = 300.0
"""The most seconds to wait for what will come: a busy machine takes its time, and a failing test its own."""


class Said(NamedTuple):
    """What a command has answered."""

    code: int
    out: str
    err: str


def said(folder: Path, *words: str) -> Said:
    """What ``python -m bench`` answers to these words in a folder, run by this process."""
    folder.mkdir(parents=True, exist_ok=True)
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    return Said(code, out.getvalue(), err.getvalue())


class Command:
    """A running command; what it and its descendants say goes to files."""

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        path = os.pathsep.join([*filter(None, [environment.get("PYTHONPATH")]), str(ROOT)])
        # pytest's own ranks, if torchrun ever runs pytest, must not be taken for this command's.
        settings = {**os.environ, **environment, "PYTHONPATH": path}
        with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
            self.process = subprocess.Popen(
                words,
                cwd=folder,
                env=settings,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=heed_signals,  # noqa: PLW1509  (it locks nothing)
            )

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    def wait(self, seconds: float = LONG) -> int:
        return self.process.wait(seconds)

    def members(self) -> dict[int, int]:
        """Living processes of the command's session, and the parent of each."""
        return {number: parent for number, (parent, session) in processes().items() if session == self.process.pid}

    def ranks(self) -> list[int]:
        """The agents' process ids in rank order: the command's server forks them."""
        members = self.members()
        servers = {process for process, parent in members.items() if parent == self.process.pid}
        return sorted(process for process, parent in members.items() if parent in servers)

    def assert_gone(self) -> None:
        """Check that no process of the command's stays."""
        await_that(lambda: not self.members(), lambda: f"{self.members()} are left of {self.process.args!r}")

    def end(self) -> None:
        """Kill whatever is left."""
        for process in [*self.members()]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(LONG)


def processes() -> dict[int, tuple[int, int]]:
    """The parent and the session of every living process."""
    living: dict[int, tuple[int, int]] = {}
    for process in psutil.process_iter(["ppid", "status"]):
        if process.info["status"] not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            with suppress(ProcessLookupError):
                living[process.pid] = process.info["ppid"], os.getsid(process.pid)
    return living


def heed_signals() -> None:
    """A shell's background jobs ignore SIGINT, and ``nohup`` SIGHUP; so would the commands of a suite that is one."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def command(words: Sequence[str], folder: Path, **environment: str) -> Iterator[Command]:
    """A command that is gone with all its descendants when the test is over, whatever the test found."""
    running = Command(words, folder, environment)
    try:
        yield running
    finally:
        running.end()


def listening(processes: Iterable[int]) -> list[IPv4Address | IPv6Address]:
    """The addresses that processes accept connections at, by TCP."""
    connections = [each for process in processes for each in psutil.Process(process).net_connections("tcp")]
    return [ip_address(each.laddr.ip) for each in connections if each.status == psutil.CONN_LISTEN]


def await_that(condition: Callable[[], object], what: Callable[[], str]) -> None:
    """Wait until a condition comes true; ``what`` says, where it does not in any time, what was instead."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, f"after {LONG} s: {what()}"
        time.sleep(0.05)


def await_event(running: Command, pattern: str) -> Path:
    """Wait for a run whose ``events.jsonl`` matches until its ranks train, and return its folder."""

    def found() -> list[Path]:
        assert running.process.poll() is None, running.stderr
        return training(running.folder, pattern)

    await_that(found, lambda: f"no {pattern}; {running.stderr}")
    return found()[0].parent


def training(folder: Path, pattern: str) -> list[Path]:
    """The ``events.jsonl`` below a folder of runs that train, or have trained."""
    return [path for path in folder.glob(pattern) if '"started"' in path.read_text()]


def tracked(uri: str, query: str = "") -> list[Any]:
    """The runs that a command has told MLflow of, in the experiment that it takes by itself."""
    from mlflow.tracking import MlflowClient

    with warnings.catch_warnings():
        # MLflow's store uses what SQLAlchemy deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("staleness-bench")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], query))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
