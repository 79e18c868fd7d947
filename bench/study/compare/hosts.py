"""One run of the trainer by torchrun, on the two hosts of a link; what crosses the line meanwhile is counted."""

from __future__ import annotations

import bisect
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine.rank import RunFailed
from bench.study.compare.line import ADDRESSES, DEVICE, PORT, ShapedLine
from bench.study.sweep.compose import single
from bench.study.sweep.library import RUN, Primary

POLL_SECONDS = 0.05
GRACE_SECONDS = 1.5
"""Seconds for which a node may end its rank when it is asked to."""


@dataclass(frozen=True)
class Crossing:
    """What came of a run across the line."""

    record: dict[str, Any]
    line_bytes: float
    """Bytes that crossed the line while the training clock ran, both ways together, headers included."""


def run_across(link: ShapedLine, overrides: Sequence[str], place: Path, primary: Primary = RUN) -> Crossing:
    """Train with one agent on each host, to the end.

    Args:
        overrides: those of a configuration with two agents.
        place: a folder for the runs and for what the hosts say; another run may have been here.

    Raises:
        ConfigError: the overrides are wrong.
        RunFailed: a host's rank failed.
    """
    words = [*overrides, f"runs_dir={place / 'runs'}"]
    point = single(words, primary)
    folder = point.settings.folder(point.config)
    nodes: list[subprocess.Popen[bytes]] = []
    samples: list[tuple[float, int]] = []
    try:
        for number in range(len(link.names)):
            nodes.append(_start(link, number, [*primary.words, *words], place))
        while any(node.poll() is None for node in nodes) and not any(node.poll() for node in nodes):
            with suppress(OSError, KeyError):
                samples.append((time.time(), line_bytes(nodes[0].pid)))
            time.sleep(POLL_SECONDS)
    finally:
        _stop(nodes)
    for number, node in enumerate(nodes):
        if node.returncode > 0:
            last = (place / f"{number}.stderr").read_text().rstrip().splitlines()[-20:]
            raise RunFailed("\n".join([f"host {number} failed:", *last]))
    record = folder.read_record()
    assert record is not None
    started = next(event["time"] for event in folder.events() if event["event"] == "started")
    span = (started, started + record["metrics"]["time/train_seconds"])
    return Crossing(record, between(samples, *span))


def line_bytes(process: int) -> int:
    """Count the bytes received and sent so far by the network device of the host that a process runs on.

    Raises:
        KeyError: it has no such device, as it has not come to its host yet.
        OSError: it has ended.
    """
    lines = Path(f"/proc/{process}/net/dev").read_text().splitlines()
    counters = {name.strip(): fields.split() for name, _, fields in (line.partition(":") for line in lines)}
    received, sent = counters[DEVICE][0], counters[DEVICE][8]
    return int(received) + int(sent)


def between(samples: Sequence[tuple[float, int]], start: float, end: float) -> float:
    """How much a counter rose from start to end, linearly between its samples (time, count) of increasing time."""

    def at(moment: float) -> float:
        after = min(max(bisect.bisect(samples, (moment,)), 1), len(samples) - 1)
        (t, low), (u, high) = samples[after - 1], samples[after]
        return low + (high - low) * min(max((moment - t) / (u - t), 0.0), 1.0)

    return at(end) - at(start)


def _start(link: ShapedLine, number: int, words: Sequence[str], place: Path) -> subprocess.Popen[bytes]:
    """Start the node's torchrun, in a group of its own: a terminal's Ctrl-C is left to this process."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    where = [f"--node-rank={number}", f"--master-addr={ADDRESSES[0]}", f"--master-port={PORT}"]
    command = link.inside(number, [*torchrun, *where, f"--local-addr={ADDRESSES[number]}", "-m", "bench", *words])
    settings = {**os.environ, "GLOO_SOCKET_IFNAME": DEVICE, "OMP_NUM_THREADS": "1"}
    with (place / f"{number}.stdout").open("w") as out, (place / f"{number}.stderr").open("w") as err:
        return subprocess.Popen(command, env=settings, stdout=out, stderr=err, start_new_session=True)


def _stop(nodes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask the nodes to end, then force them; ranks that outlive their torchrun go with the link."""
    for node in nodes:
        if node.poll() is None:
            node.terminate()
    for node in nodes:
        try:
            node.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
