"""The cores and GPUs of this machine, against what a run asks for."""

from __future__ import annotations

import os

from bench.config import RunConfig
from bench.engine.seat import torchrun_seat
from bench.keys import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable that names the GPUs which a process sees."""


def gpus() -> list[str]:
    """The names of the GPUs that this process may use, as CUDA takes them."""
    told = os.environ.get(VISIBLE)
    names = [name.strip() for name in told.split(",")] if told else list(map(str, range(_gpus())))
    return names[: _gpus()]


def oversubscribed(config: RunConfig) -> bool:
    """Whether agents have to share a core, or a GPU."""
    if config.engine == "reference":
        return False
    return _local_agents(config) > (_gpus() if config.device == "cuda" else len(os.sched_getaffinity(0)))


def check_devices(config: RunConfig) -> None:
    if config.device != "cuda":
        return
    gpus, agents = _gpus(), _local_agents(config)
    if gpus == 0:
        raise ConfigError("device='cuda': there is no GPU here; allowed is cpu")
    if config.backend == "nccl" and agents > gpus:
        raise ConfigError(
            f"backend='nccl': {agents} agents need as many GPUs, and there are {gpus}; allowed are gloo and auto"
        )


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _local_agents(config: RunConfig) -> int:
    """Agents on this machine: all, unless torchrun spreads them over several."""
    seat = torchrun_seat()
    return config.agents if seat is None else seat.local_size
