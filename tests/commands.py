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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from bench.__main__ import main

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
"""A run that takes a fraction of a second once its ranks have started, inside the conditions of convergence."""
RATES = "constant, cosine, exponential, inverse_log, inverse_time, multistep, onecycle, plateau_polynomial, polynomial"
"""What ``lr`` may be, as a message says it."""


LONG = 300.0
"""Seconds, for whatever will come: a busy machine takes its time, and a test that fails may take its own."""


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
                words, cwd=folder, env=settings, stdout=out, stderr=err, start_new_session=True
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
        """The agents' process ids in rank order: a process that the command's server forked forks them in turn."""
        members = self.members()
        servers = {process for process, parent in members.items() if parent == self.process.pid}
        launchers = {process for process, parent in members.items() if parent in servers}
        return sorted(process for process, parent in members.items() if parent in launchers)

    def assert_gone(self) -> None:
        """No process of the command's stays."""
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
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] not in "ZX":
            living[int(path.parent.name)] = int(fields[1]), int(fields[3])
    return living


@contextmanager
def command(words: Sequence[str], folder: Path, **environment: str) -> Iterator[Command]:
    """A command that is gone with all its descendants when the test is over, whatever the test found."""
    running = Command(words, folder, environment)
    try:
        yield running
    finally:
        running.end()


def await_that(condition: Callable[[], object], what: Callable[[], str]) -> None:
    """``what`` says, where it did not come true in any time, what was instead."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, f"after {LONG} s: {what()}"
        time.sleep(0.05)


def await_event(running: Command, pattern: str) -> Path:
    """The folder of the run whose ``events.jsonl`` matches: its ranks train once it has one."""

    def found() -> list[Path]:
        assert running.process.poll() is None, running.stderr
        return [path for path in running.folder.glob(pattern) if path.read_text()]

    await_that(found, lambda: f"no {pattern}; {running.stderr}")
    return found()[0].parent


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
