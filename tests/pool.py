"""Worker processes that stay: a test sends them a function, and they are a process group for as long as it runs.

Starting a process costs seconds (importing torch); a group among running ones costs milliseconds.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import Store

from bench.config import RunConfig
from bench.engine import world
from bench.engine.seat import seats
from bench.engine.world import World
from tests.commands import LONG


class Pool:
    """Processes that are up to ``size`` ranks, for one test after the other."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("forkserver")
        self._folder = tempfile.TemporaryDirectory()
        self._calls = 0
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(size):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(rank, there), daemon=True)
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], size: int, *args: Any) -> list[Any]:
        """``function(store, *args)`` on ranks 0..size-1 as one process group; their results, in rank order."""
        self._calls += 1
        store = Path(self._folder.name, f"store{self._calls}")
        for pipe in self._pipes[:size]:
            pipe.send((self._calls, function, args, size, store))
        results: dict[int, Any] = {}
        while len(results) < size:
            ready = wait([pipe for rank, pipe in enumerate(self._pipes[:size]) if rank not in results], LONG)
            assert ready, f"no answer from ranks {sorted(set(range(size)) - set(results))}"
            for rank in [rank for rank, pipe in enumerate(self._pipes[:size]) if pipe in ready]:
                call, failed, result = self._pipes[rank].recv()
                if call < self._calls:
                    continue  # the answer to a call that another rank failed
                results[rank] = result
                if failed:
                    raise AssertionError(f"rank {rank}: {results[rank]}")
        return [results[rank] for rank in range(size)]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        self._folder.cleanup()


@contextmanager
def joined(config: RunConfig, store: Store) -> Iterator[World]:
    """The process group that a pool's rank is in while it runs a test's function."""
    with world.joined(config, seats(int(os.environ["WORLD_SIZE"]))[int(os.environ["RANK"])], store) as entered:
        yield entered


def _serve(rank: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    gc.freeze()
    while True:
        call, function, args, size, store = pipe.recv()
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "GLOO_SOCKET_IFNAME": "lo"}
        try:
            pipe.send((call, False, function(dist.FileStore(str(store), size), *args)))
        except Exception:  # whatever it is, the test shall show it
            pipe.send((call, True, traceback.format_exc()))
