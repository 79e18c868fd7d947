"""Calls in processes of their own, forked from a server that has imported torch meanwhile.

Composing and tracking want Hydra and MLflow, training wants torch; each takes seconds to import. So this process never
imports torch: it does its part on one core while the server does the other's on the next.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from multiprocessing.util import get_temp_dir
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.system.leftovers import Mark, clear_left_behind
from bench.system.pin import Pin
from bench.system.signals import (
    FROM_TERMINALS,
    Interrupted,
    is_announced,
    is_interrupted,
    note_announcements,
)
from bench.system.variables import every_variable

PRELOAD = ["bench.system.orphan", "bench.engine.train", "bench.engine.rank", "bench.engine.method.decoupled"]
"""Modules that the server imports, once and in this order."""
WATCH_SECONDS = 0.1
INTERFACES = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Where ranks of one machine listen for each other: on loopback, and not on its network."""
UNKNOWN = 255
"""Exit code, as multiprocessing has it, of a process whose server is gone: it may be alive."""
_SERVING = threading.Lock()
"""Held while a process is started or asked how it ended: multiprocessing looks after all of them at each start, and two
threads that read one's exit code would find two."""
_needed: list[Mark] = []
"""Claims on this process's temporary folder, held to its end."""


@functools.cache
def temporary() -> Path:
    """This process's folder for what is needed while it lives; if it is killed, the next command removes that."""
    clear_left_behind()
    folder = Path(get_temp_dir())
    _needed.append(Mark(folder))
    return folder


def warm_up(more: Sequence[str] = ()) -> None:
    """Start the server that calls are forked from; it imports torch meanwhile.

    Args:
        more: modules that it is to import too.
    """
    temporary()
    multiprocessing.set_forkserver_preload([*PRELOAD, *more])
    resource_tracker.ensure_running()
    # The server inherits the block, or Ctrl-C in the seconds of its imports would end it with a traceback. This process
    # must not ignore it meanwhile: it would be lost, and the run go on.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with without_program():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def barrier(parties: int) -> Barrier:
    """Make a barrier for as many calls, each of which takes it as an argument."""
    return multiprocessing.get_context("forkserver").Barrier(parties)


@contextmanager
def without_program() -> Iterator[None]:
    """Start processes here: they import what they are to call, and not the program that called us.

    To import that again would run a script that guards nothing, and is impossible for one that came by stdin.
    """
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


class Killed(RuntimeError):
    """A call's process ended without an answer: the message says how."""


class Call:
    """Calls ``function(*arguments)`` in a process of its own, in this one's folder and environment; it ends with this
    one.

    Args:
        name: what a message calls the process.
        pin: what it keeps to; None: what this process may use.
        patient: whether it notes that the end is announced (:func:`~bench.system.signals.is_announced`), and ends by
            itself then.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        name: str = "",
        pin: Pin | None = None,
        patient: bool = False,
    ) -> None:
        temporary()
        context = multiprocessing.get_context("forkserver")
        self.answers, there = context.Pipe(duplex=False)
        self._patient = patient
        words = (there, os.getcwd(), every_variable(), pin or Pin(), patient, function, arguments)
        self._process = context.Process(target=_answer, args=words, name=name or None)
        with _SERVING, without_program():
            self._process.start()
        there.close()
        number = f"process {self._process.pid}"
        self._name = f"{name} ({number})" if name else number

    def result(self, watch: Callable[[], None] | None = None) -> Any:
        """Return what the function returns and raise what it raises, as :func:`results` does for several calls."""
        return results([self], watch)[0]

    def take(self) -> Any:
        """The answer, once :attr:`answers` has one, or is closed."""
        try:
            answer = self.answers.recv()
        except EOFError:
            code = self._ended() or 0
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise Killed(f"{self._name} was {how}") from None
        self.join()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def announce(self) -> None:
        """Tell the process, if it is patient, that the end is announced."""
        if self._patient:
            assert self._process.pid is not None
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Force the process to end; what it has begun is not put in order."""
        with _SERVING:
            code = self._process.exitcode
        if code in (None, UNKNOWN):
            assert self._process.pid is not None
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def join(self) -> None:
        """Wait until the process has ended."""
        self._ended()

    def _ended(self) -> int | None:
        """The process's exit code, once it has ended."""
        connection.wait([self._process.sentinel])
        with _SERVING:
            self._process.join()
            return self._process.exitcode


def results(asked: Iterable[Call], watch: Callable[[], None] | None = None) -> list[Any]:
    """Wait for calls that wait for each other; return what their functions return, in the order of the calls.

    Args:
        asked: the calls; it may start them one by one.
        watch: called some times a second until then.

    Raises:
        Killed: a process was; the others are gone by then, as with any error of one of them or of ``watch``.
        KeyboardInterrupt: this process was interrupted; the others are gone by then.
    """
    calls: list[Call] = []
    found: dict[Call, Any] = {}
    told = False
    try:
        for call in asked:
            calls.append(call)
        while missing := [call for call in calls if call not in found]:
            ready = connection.wait([call.answers for call in missing], WATCH_SECONDS)
            found |= {call: call.take() for call in missing if call.answers in ready}
            if is_interrupted():
                raise Interrupted
            if is_announced() and not told:
                told = True
                for call in missing:
                    call.announce()
            if watch is not None:
                watch()
    except BaseException:
        for call in calls:
            call.kill()
        for call in calls:
            call.join()
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
    answers: Connection,
    folder: str,
    environment: dict[str, str],
    pin: Pin,
    patient: bool,
    function: Callable[..., Any],
    arguments: Any,
) -> None:
    # Whether a signal that all processes of a terminal get is the end, the process says that asked for this one.
    for number in FROM_TERMINALS:
        signal.signal(number, signal.SIG_IGN)
    if patient:
        note_announcements()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    pin.keep()
    end_with_parent()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update({**environment, **INTERFACES, **pin.variables})
    try:
        answer = function(*arguments)
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
