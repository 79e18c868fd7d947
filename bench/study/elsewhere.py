"""Calls in a process of their own, forked from a server that has imported torch meanwhile.

Composing and tracking want Hydra and MLflow, training wants torch; each takes seconds to import. So this process never
imports torch: it does its part on one core while the server does the other's on the next.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

PRELOAD = ["bench.engine.train", "torch.distributed.launcher.api", "bench.study.launch"]
"""Imported once, by the server."""
WATCH_SECONDS = 0.1
GRACE_SECONDS = 3.0
"""For which a process may put its things in order when it is asked to end."""


class Interrupted(KeyboardInterrupt):
    """The user (SIGINT) or the system (SIGTERM) wants the end."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does: in order, and not before MLflow knows of it."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def warm_up(more: Sequence[str] = ()) -> None:
    """Start the server.

    Args:
        more: modules that it is to import too.
    """
    multiprocessing.set_forkserver_preload([*PRELOAD, *more])
    resource_tracker.ensure_running()
    # The server inherits the block, or Ctrl-C in the seconds of its imports would end it with a traceback. This process
    # must not ignore it meanwhile: it would be lost, and the run go on.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class Killed(RuntimeError):
    """A call's process ended without an answer: the message says how."""


class Call:
    """``function(*arguments)`` in a process of its own, in this one's folder and environment; it ends with this one."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        self.answers, there = context.Pipe(duplex=False)
        words = (there, os.getcwd(), dict(os.environ), function, arguments)
        self._process = context.Process(target=_answer, args=words)
        self._process.start()
        there.close()

    def result(self, watch: Callable[[], None] | None = None) -> Any:
        """What the function returns; what it raises is raised here.

        Args:
            watch: called some times a second until then. What it raises ends the process, and is raised here.

        Raises:
            Killed: the process was.
            KeyboardInterrupt: this process was interrupted; the other one is gone by then.
        """
        try:
            while watch is not None and not self.answers.poll(WATCH_SECONDS):
                watch()
            answer = self.answers.recv()
            self._process.join()
        except EOFError:
            self._process.join()
            code = self._process.exitcode or 0
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise Killed(f"process {self._process.pid} was {how}") from None
        except KeyboardInterrupt:
            # A terminal's Ctrl-C has reached the process too.
            self._process.join(0.5)
            self.end()
            raise
        except BaseException:
            self.end()
            raise
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def end(self) -> None:
        """The process is asked to end, and in the end forced."""
        if self._process.exitcode is None:
            self._process.terminate()
            self._process.join(GRACE_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()


def results(calls: Sequence[Call]) -> list[Any]:
    """What calls that wait for each other return, in their order.

    Raises:
        Killed: a process was; the others are gone by then, as with any error of one of them.
    """
    found: dict[Call, Any] = {}
    try:
        while len(found) < len(calls):
            missing = [call for call in calls if call not in found]
            ready = connection.wait([call.answers for call in missing])
            found |= {call: call.result() for call in missing if call.answers in ready}
    except BaseException:
        for call in calls:
            call.end()
        raise
    return [found[call] for call in calls]


def end_with_parent() -> None:
    """End this process when its parent ends; one that is killed by force tells nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _answer(
    answers: Connection, folder: str, environment: dict[str, str], function: Callable[..., Any], arguments: Any
) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    try:
        answer = function(*arguments)
    except KeyboardInterrupt:
        answer = Interrupted()
    except Exception as error:
        answer = error
        if not _travels(error):
            answer = RuntimeError(traceback.format_exc())
    # Who was interrupted twice has not waited.
    with suppress(BrokenPipeError):
        answers.send(answer)


def _travels(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever an exception's own methods may raise
        return False
    return True
