"""What tests share: one pool of ranks, and configurations small enough for float64."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from tests.pool import Pool

os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    pool = Pool(6)
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums split over threads are other sums."""
    torch.set_num_threads(1)
