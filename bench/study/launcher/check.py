"""What a configuration asks of the world: data that is there, layers to cut, devices to run on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.choice import telling
from bench.config import RunConfig
from bench.engine.seat import torchrun_seat
from bench.keys import ConfigError
from bench.origin import is_own
from bench.rule.convergence import outside_of, shape_of
from bench.study.launcher.assessment import check_convergent
from bench.study.launcher.devices import check_devices
from bench.study.launcher.size import outline
from bench.task.data.contract import Data

if TYPE_CHECKING:
    from bench.task.dataset import Dataset


def check(config: RunConfig) -> Path | None:
    """Hold a configuration against this machine and its data, before anything is written or started.

    Returns:
        The prepared data's file, None where the data needs none.

    Raises:
        ConfigError: something that it asks for is not there.
    """
    return check_all([config])[0]


def check_all(configs: Sequence[RunConfig]) -> list[Path | None]:
    """Hold each configuration against this machine as :func:`check` does; shared data is loaded once."""
    known: dict[str, tuple[Path | None, Dataset]] = {}
    files = []
    for config in configs:
        _try_out(config)
        check_convergent(config, shape_of(config.lr), outside_of(config))
        check_devices(config)
        data = repr(config.data)
        if data not in known:
            known[data] = ready(config.data)
        file, dataset = known[data]
        _check_cuts(config, dataset.in_windows(config.model.window))
        files.append(file)
    return files


def ready(data: Data) -> tuple[Path | None, Dataset]:
    """Prepare a data set; return its file, None where it needs none, and what it holds.

    Raises:
        ConfigError: it is not there, or it is a user's own and fails.
    """
    with telling(type(data)):
        prepared = data.prepare()
        return prepared, data.load(prepared)


def _try_out(config: RunConfig) -> None:
    """Call once what a user's own choices say.

    Raises:
        ConfigError: one of them fails.
    """
    for choice in config.choices:
        if not is_own(type(choice)):
            with telling(type(choice)):
                choice.try_out(config)


def _check_cuts(config: RunConfig, dataset: Dataset) -> None:
    """Check that there are samples for a batch, and that the network has layers for all stages and cuts.

    Raises:
        ConfigError: there are too few of them.
    """
    from bench.plan.partition import bounds
    from bench.task.dataset import check_batch_size

    check_batch_size(dataset, config.batch_size, config.replicas)
    layers = len(outline(config, dataset))
    if config.pieces > layers:
        most = layers * config.stages // config.pieces
        reason = f"the layers of model={config.model.name}"
        if config.method.pieces > 1:
            reason = f"half {reason}: method={config.method.name} cuts every stage in two"
        raise ConfigError(f"stages={config.stages}: may be at most {most}, {reason}")
    if isinstance(config.partition, list):
        try:
            bounds(config.partition, layers)
        except ValueError as error:
            raise ConfigError(str(error)) from None


def check_seat(config: RunConfig) -> None:
    """Hold a configuration against what torchrun has started, if it has.

    Raises:
        ConfigError: these are more processes than agents, or fewer.
    """
    seat, processes = torchrun_seat(), config.processes
    if seat is not None and seat.size != processes:
        raise ConfigError(
            f"torchrun: stages={config.stages} replicas={config.replicas} need {processes} processes, and it has "
            f"started {seat.size}; allowed is nnodes times nproc-per-node = {processes}"
        )


@contextmanager
def made(*folders: tuple[str, str]) -> Iterator[list[Path]]:
    """Make several folders as :func:`make_folder` does; none stays if the configuration is found wrong.

    Raises:
        ConfigError: one cannot be made, or not be written.
    """
    missing = [path for _, name in folders for path in (Path(name), *Path(name).parents) if not path.exists()]
    try:
        yield [make_folder(key, name) for key, name in folders]
    except ConfigError:
        for path in sorted(missing, key=lambda path: len(path.parts), reverse=True):
            # What something was put into meanwhile stays.
            with suppress(OSError):
                path.rmdir()
        raise


def make_folder(key: str, path: str) -> Path:
    """Make a folder that something will be written to.

    Args:
        key: the key that the user gave the path by.

    Raises:
        ConfigError: it cannot be made, or not be written.
    """
    if "://" in path:
        raise ConfigError(f"{key}={path!r}: must be a folder of this machine, not a URL")
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        reason = None if os.access(path, os.W_OK | os.X_OK) else "Permission denied"
    except OSError as error:
        reason = error.strerror
    if reason is not None:
        raise ConfigError(f"{key}={path!r}: must be a folder that can be written ({reason})")
    return Path(path)


def check_rounds(rounds: int) -> None:
    """Check the number of rounds that a benchmark is to make.

    Raises:
        ConfigError: there would be none.
    """
    if rounds < 1:
        raise ConfigError(f"--rounds={rounds}: must be at least 1")
