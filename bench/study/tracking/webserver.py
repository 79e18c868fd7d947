"""MLflow's own server on loopback, for as long as it is looked at; nothing of it is left afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from bench.keys import ConfigError

HOST = "127.0.0.1"
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Seven processes for jobs that nobody gives it, and a folder in the memory's file system that it never removes.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
START_SECONDS = 120.0
"""Seconds within which the server has to start: a busy machine imports MLflow slowly."""
GRACE_SECONDS = 1.0
"""Seconds for which the server may put its things in order."""


class ServerError(RuntimeError):
    """The server did not start, or has ended by itself: the message is its last word."""


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], port: int) -> None:
        self.address = f"http://{HOST}:{port}"
        self._process, self._log, self._port = process, log, port

    def wait(self) -> None:
        """Wait until the server ends, which it does not do by itself. Raises ServerError if it does."""
        code = self._process.wait()
        raise ServerError(f"MLflow's server has ended with exit code {code}: {self._last_word()}")

    def await_start(self) -> None:
        """Wait until the server has started. Raises ServerError if it does not."""
        end = time.monotonic() + START_SECONDS
        while not self._listens():
            if self._process.poll() is not None:
                self.wait()
            if time.monotonic() > end:
                raise ServerError(f"MLflow's server has not started in {START_SECONDS:.0f} s: {self._last_word()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask the server to end, and force what is then left of it: it starts processes, in the group that it leads."""
        self._process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
        finally:
            # Even if the user does not wait.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _listens(self) -> bool:
        try:
            with socket.create_connection((HOST, self._port), timeout=1):
                return True
        except OSError:
            return False

    def _last_word(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextmanager
def serving(uri: str, port: int | None) -> Iterator[Server]:
    """Run a server of the store at a database's URI; it has ended, with all its processes, when this is left.

    Args:
        port: the port to listen at, None for a free one.

    Raises:
        ConfigError: the port cannot be used.
        ServerError: it did not start.
    """
    port = _usable(port)
    words = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    # A URI may hold a password, and everybody may read a process's arguments.
    environment = {**SETTINGS, **os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
        server = Server(process, log, port)
        try:
            server.await_start()
            yield server
        finally:
            server.stop()


def _usable(port: int | None) -> int:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port or 0))
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port={port}: allowed is a free one ({error})") from None
