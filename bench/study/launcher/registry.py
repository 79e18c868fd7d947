"""Where the points of a sweep run: one after the other on this machine, or all at once as jobs of a SLURM cluster."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from bench.config import Basic, Launcher, Submitit
from bench.keys import ConfigError
from bench.study.launcher.cluster import Cluster, submitit_module
from bench.study.launcher.local import InTurn
from bench.study.launcher.task import Jobs


def jobs(launcher: Launcher, watch: Callable[[], None] | None = None) -> Jobs:
    """Make the launcher that the configuration asks for.

    Args:
        watch: called while a run trains, as :func:`launch` does; the jobs of a cluster are not watched.
    """
    return InTurn(watch) if isinstance(launcher, Basic) else Cluster(launcher)


def check_launcher(launcher: Launcher) -> None:
    """Check, before anything is written, that runs can be launched as configured.

    Raises:
        ConfigError: what it takes is not here.
    """
    if isinstance(launcher, Submitit):
        submitit_module()
        missing = [program for program in ("srun", "sbatch") if shutil.which(program) is None]
        if launcher.cluster == "slurm" and missing:
            allowed = "allowed without it are launcher=basic and launcher.cluster=local"
            raise ConfigError(f"launcher.cluster='slurm': there is no SLURM here ({missing[0]}); {allowed}")
