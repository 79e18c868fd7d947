"""Two hosts and a slow line between them, on one machine: network namespaces, a veth pair, and token buckets.

Nothing outside of the two namespaces is touched: the pair is made in them, has no way out, and goes with them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import fmean

from bench.keys import ConfigError
from bench.system.process import is_here

NAMESPACES = Path("/var/run/netns")
NAME = "staleness-bench-{process}-{end}"
DEVICE = "line"
"""The network device at either end."""
ADDRESSES = ("198.18.0.1", "198.18.0.2")
"""The hosts' addresses, of those set aside for measuring networks (RFC 2544)."""
PORT = 29400
BURST_SECONDS, LEAST_BURST, QUEUE = 0.001, 16384, "400ms"
"""What the token bucket lets pass at once, in seconds of the rate and at least in bytes; and a packet's longest
wait."""
MOST_SEGMENT, OF_BURST = 65536, 0.9
"""What TCP hands over at once, at most: in bytes, and as a share of a burst, with room for headers. The bucket would
cut up a larger segment, and each packet of it, with a timer of its own, takes from the cores that compute: at 100
Mbit/s both ways a quarter of them (two cores, Zen 4), and so 5%."""
PAYLOAD = 1448 / (1514 + 66 / 2)
"""The share of the rate that is a message's own bytes: 1,448 of each 1,514 of a segment, and each two segments have an
acknowledgement, for which the messages of the other way have to leave room."""
TRIAL_SECONDS = 0.5
NEEDS = "network: needs ip, tc (iproute2) and unshare (util-linux) and the right to make network namespaces (root)"


class ShapedLine:
    """Two namespaces, number 0 and 1; made by :func:`linked`."""

    def __init__(self) -> None:
        self.names = [NAME.format(process=os.getpid(), end=end) for end in (0, 1)]

    def inside(self, end: int, words: Sequence[str]) -> list[str]:
        """The command that runs ``words`` in a namespace, as a host with a name of its own.

        By its name a rank tells whether another one is on the same machine, and shares its memory.
        """
        name = self.names[end]
        script = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'
        return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", script, name, *words]

    def shape(self, megabits: float) -> None:
        """Let each end send so many megabits a second, headers included."""
        burst = max(LEAST_BURST, round(megabits * 1e6 / 8 * BURST_SECONDS))
        segment = min(MOST_SEGMENT, round(OF_BURST * burst))
        for name in self.names:
            _do(f"ip -n {name} link set dev {DEVICE} gso_max_size {segment}")
            bucket = f"tbf rate {round(megabits * 1e6)}bit burst {burst} latency {QUEUE}"
            _do(f"tc -n {name} qdisc replace dev {DEVICE} root {bucket}")

    def congestion_control(self) -> str:
        """The name of TCP's congestion control, which the namespaces have from the machine."""
        return _do(f"ip netns exec {self.names[0]} cat /proc/sys/net/ipv4/tcp_congestion_control").strip()

    def measured(self, megabits: float) -> float:
        """Megabits a second that TCP makes of the line, mean of both directions, with about so many asked for."""
        count = round(megabits * 1e6 / 8 * TRIAL_SECONDS)
        return fmean(self._transfer(end, count) for end in (0, 1))

    def processes(self) -> list[int]:
        """Ids of the living processes of the namespaces."""
        return _processes(self.names)

    def _transfer(self, receiver: int, count: int) -> float:
        address = ADDRESSES[receiver]
        take, give = (
            [sys.executable, "-c", f"from bench.study.compare import line; line.{call}"]
            for call in (f"receive({address!r})", f"send({address!r}, {count})")
        )
        receiving = subprocess.Popen(self.inside(receiver, take), stdout=subprocess.PIPE, text=True)
        try:
            assert receiving.stdout is not None
            receiving.stdout.readline()
            subprocess.run(self.inside(1 - receiver, give), check=True)
            return float(receiving.communicate(timeout=60)[0])
        finally:
            receiving.kill()
            receiving.wait()


@contextmanager
def linked() -> Iterator[ShapedLine]:
    """Make the two namespaces and the line; in the end nothing is left of them, nor of what ran there.

    What a command that was killed by force could not remove is removed first.

    Raises:
        ConfigError: this machine or this user cannot make them.
    """
    missing = [command for command in ("ip", "tc", "unshare") if shutil.which(command) is None]
    if missing:
        raise ConfigError(f"{NEEDS}: there is no {' and no '.join(missing)}")
    _remove_left_behind()
    link = ShapedLine()
    first, second = link.names
    try:
        try:
            for name in link.names:
                _do(f"ip netns add {name}")
            _do(f"ip -n {first} link add {DEVICE} type veth peer name {DEVICE} netns {second}")
            for name, address in zip(link.names, ADDRESSES, strict=True):
                _do(f"ip -n {name} address add {address}/30 dev {DEVICE}")
                for device in ("lo", DEVICE):
                    _do(f"ip -n {name} link set {device} up")
            link.shape(1000)
            subprocess.run(link.inside(0, ["true"]), check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise ConfigError(f"{NEEDS}: {' '.join(error.stderr.split())}") from None
        yield link
    finally:
        with _undisturbed():
            _remove(link.names)


def _remove_left_behind() -> None:
    """Remove the namespaces whose process no longer lives, and what still runs there."""
    for name in sorted(path.name for path in NAMESPACES.glob(NAME.format(process="*", end="*"))):
        process = re.fullmatch(NAME.format(process="([0-9]+)", end="[01]"), name)
        if process is None:
            continue
        # An id is all that a name tells of its process, and ids are given out again. Whoever has it now, the namespace
        # stays: it costs little, and another command may be measuring there. This process's own id is no other's.
        if int(process[1]) == os.getpid() or not is_here(process[1]):
            # Another command that starts may be removing it too.
            with suppress(subprocess.CalledProcessError):
                _remove([name])


def _remove(names: Sequence[str]) -> None:
    # One that is just being started may be missing in a list.
    while processes := _processes(names):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
    for name in names:
        if _exists(name):
            _do(f"ip netns delete {name}")


def _processes(names: Sequence[str]) -> list[int]:
    lists = [_do(f"ip netns pids {name}") for name in names if _exists(name)]
    return [int(number) for numbers in lists for number in numbers.split()]


def _exists(name: str) -> bool:
    return Path(NAMESPACES, name).exists()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back signals that ask for the end; the commands that are started meanwhile inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _do(command: str) -> str:
    """Run a command; return what it says.

    Raises:
        CalledProcessError: it failed; its ``stderr`` says why.
    """
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


# ------------------------------------------------------------------------------------------ run inside the namespaces
def receive(address: str) -> None:
    """Print megabits a second from the first byte to the last."""
    with socket.create_server((address, PORT)) as server:
        print("ready", flush=True)
        connection, _ = server.accept()
        with connection:
            buffer, count = bytearray(1 << 20), connection.recv_into(bytearray(1), 1)
            started = time.perf_counter()
            while size := connection.recv_into(buffer):
                count += size
            print(8e-6 * (count - 1) / (time.perf_counter() - started))


def send(address: str, count: int) -> None:
    with socket.create_connection((address, PORT)) as connection:
        connection.sendall(bytes(count))
