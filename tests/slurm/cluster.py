"""A SLURM cluster of two nodes, both of them this machine, that listens on loopback alone and is gone afterwards.

    python -m tests.slurm.cluster      starts one, says how to use it, and stops it with Ctrl-C or SIGTERM

It needs Debian's ``slurm-wlm``, or another build with several ``slurmd`` on a machine.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sinfo", "sbatch", "srun", "squeue", "scancel", "scontrol")
NODES = ("n1", "n2")
CORES = 4
"""Cores of each node, as SLURM is told; this machine may have fewer."""
START_SECONDS = 60.0
CONF = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=5
MinJobAge=3600
OverTimeLimit=0
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cores} RealMemory=64000
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cores} RealMemory=64000
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=ALL State=UP PriorityTier=2 PreemptMode=OFF
"""


def missing() -> list[str]:
    """The programs of SLURM that are not installed here."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start the cluster, and stop it at the end, by the ids of its processes.

    Args:
        folder: where it keeps all that it writes.

    Yields:
        The environment variables by which SLURM's programs find it.
    """
    for name in ("state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    names = {"host": socket.gethostname(), "user": getpass.getuser(), "nodes": NODES, "cores": CORES}
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, ports=_free_ports(1 + len(NODES)), **names))
    variables = {"SLURM_CONF": str(conf)}
    environment = {**os.environ, **variables}
    processes: list[subprocess.Popen[bytes]] = []
    with (folder / "said").open("w") as said:
        try:
            for words in (["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in NODES)):
                processes.append(subprocess.Popen(words, env=environment, stdout=said, stderr=said))
            _await_nodes(environment, folder)
            yield variables
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _await_nodes(environment: dict[str, str], folder: Path) -> None:
    end = time.monotonic() + START_SECONDS
    words = ["sinfo", "--noheader", "--Node", "--partition=low", "--format=%T"]
    while time.monotonic() < end:
        found = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if found.stdout.split() == ["idle"] * len(NODES):
            return
        time.sleep(0.2)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in [folder / "said", *folder.glob("*.log")])
    raise RuntimeError(f"SLURM does not start: {logs}")


if __name__ == "__main__":
    if missing():
        sys.exit(f"not installed here: {', '.join(missing())}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as place, cluster(Path(place)) as found:
        print(*(f"export {key}={value}" for key, value in found.items()), sep="\n", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
