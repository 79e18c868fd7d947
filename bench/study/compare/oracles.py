"""How much more a machine does when the oracle's runs go side by side."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from bench.config import RunConfig
from bench.engine.rank import RunFailed
from bench.record.folder import RunFolder
from bench.study.launcher.assessment import Assessment, assess
from bench.study.launcher.local import Local
from bench.study.launcher.task import Task
from bench.study.tracking.contract import Tracker
from bench.system.call import Call


def oracles(config: RunConfig, count: int, place: Path) -> float:
    """Measure so many runs at once, of seeds of their own, each on its core; return the units per second of all.

    The time is that of a sweep: from the first start to the last picture.

    Args:
        config: a run of the oracle that ends after ``max_steps``.
        place: a folder for what they leave.

    Raises:
        RunFailed: one of them failed.
    """
    found: Assessment = Call(assess, config, None, str(place)).result()
    runs = [replace(config, seed=seed) for seed in range(count)]
    tasks = [
        Task(run, None, found, RunFolder(place / "runs" / run.hash()), True, number, count)
        for number, run in enumerate(runs, start=1)
    ]
    started = time.perf_counter()
    # Alone it is in a process of its own, too.
    for _, failure in Local("auto").run(tasks, Tracker()):
        if failure is not None:
            raise RunFailed(str(failure))
    assert config.max_steps is not None
    return count * config.max_steps * config.units / (time.perf_counter() - started)
