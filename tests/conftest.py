"""What tests share: the server that their processes are forked from, one pool of ranks, and an order of the files."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import hypothesis
import pytest
import torch

from bench.study.sweep import composition
from bench.study.tracking.store import silenced
from bench.system import call, sqlite
from bench.system.heartbeat import TALKING, Repeated
from tests.composed_once import composed_once
from tests.pool import Pool

# On a busy machine an example takes as long as it takes; each test has its timeout.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
    # Whoever runs the tests may have set them for work of their own.
    os.environ.pop(variable, None)
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
# A process has one server to fork from, whoever starts it: the pool, or a command that a test runs in this process.
# What the server has not imported, every process that it forks would import for itself, again and again.
ENGINE = ("method.ddp", "method.pipelined", "measure.piece", "measure.messages", "measure.overhead")
call.PRELOAD += [f"bench.engine.{name}" for name in ENGINE]
call.PRELOAD += ["bench.study.verbs.run", "bench.study.tune.search", "bench.task.cache", "tests.pool", "tests.both"]
call.PRELOAD += ["torch._dynamo", "scipy.sparse.linalg", "scipy.optimize", "optuna", "hypothesis", "pytest"]
# Whoever starts it first, and be it multiprocessing's own pool: a bare server's ranks import torch for seconds, each.
multiprocessing.set_forkserver_preload(call.PRELOAD)
pytest.MonkeyPatch().setattr(composition, "_all_of_hydra", composed_once(composition._all_of_hydra))
LONGEST = (
    "failures",
    "resuming",
    "tune",
    "stopping",
    "network",
    "dvc",
    "sweep",
    "checkpoint",
    "colocation",
    "torchrun",
    "defaults",
    "house",
    "published_results",
    "wheel",
    "ui",
    "server",
    "status",
    "every_choice",
    "tracking",
    "equality",
    "baselines",
    "page",
    "throughput",
    "records_file",
    "predict",
    "trials",
    "gossip",
    "command_line",
    "database",
    "results",
    "worker",
)
"""Files that take longest, first those. One of them begun at the end would leave all but one of the cores idle."""


def pytest_configure(config: pytest.Config) -> None:
    """Have xdist hand out the files in the order of the tests, and not those with the most tests first.

    A shell's background job ignores Ctrl-C, and so would the commands that tests start and interrupt.
    """
    config.option.loadscopereorder = False
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path.stem, len(first)))


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over what is there to stay, torch and the tests, and look at the rest less often.

    Looking for what is to be freed had been a sixteenth of the suite's time.
    """
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    pool = Pool(8)
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def no_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without a run, to be copied: to make one takes seconds."""
    from mlflow.tracking import MlflowClient

    file = tmp_path_factory.mktemp("no_runs") / "mlflow.db"
    with silenced():
        sqlite.make(file, lambda address: MlflowClient(tracking_uri=address))
    return file


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds for which HTTP's client would have slept between two tries: they are told instead."""
    told: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time", Mock(wraps=time, sleep=told.append))
    return told


@pytest.fixture(autouse=True)
def _hearts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is done again and again ends with its test.

    A trial or a run that a test began and never ended kept a thread busy: a minute later that made ``runs/`` in another
    test's folder, and took back, in the middle of a picture, which warnings that test ignores.
    """
    begun: list[Repeated] = []
    start = Repeated.start

    def start_and_tell(repeated: Repeated) -> None:
        begun.append(repeated)
        start(repeated)

    monkeypatch.setattr(Repeated, "start", start_and_tell)
    yield
    with TALKING:
        for each in begun:
            each.is_on = False


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run of this process has a picture of its own, which costs as much as a small run."""
    monkeypatch.setattr("bench.study.report.timeline.draw", lambda *_: None)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Compute with one thread: sums split over threads are other sums."""
    torch.set_num_threads(1)
