"""A rank's heap: what is freed is used again, instead of being asked of the system anew."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SETTLED = {"MALLOC_MMAP_THRESHOLD_": "131072"}
"""glibc's own threshold, which it would else raise as it sees fit: some processes would keep what they free unasked."""

FAULTS = """
import os, resource, torch
from bench.system.heap import keep_freed_memory
keep = os.fork() == 0
if not keep:
    os.wait()
kept = keep and keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def update():
    layers = [torch.ones(2**22) for _ in range(6)]
for _ in range(12):
    update()
before = faults()
for _ in range(5):
    update()
print(int(kept), faults() - before, flush=True)
"""
"""In a process that keeps what it frees, and then in one that does not: importing torch for both takes seconds. For how
many updates a heap grows depends on where its pieces came to lie: in ten starts, two or three."""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_updates_fault_no_page_twice() -> None:
    """Five times six tensors of 16 MiB are 122,880 pages of 4 KiB."""
    words = [sys.executable, "-c", FAULTS]
    answer = subprocess.run(words, check=True, capture_output=True, text=True, env={**os.environ, **SETTLED})
    kept, few, _, many = map(int, answer.stdout.split())
    if not kept:
        pytest.skip("no glibc")
    assert few < 500
    assert many > 10 * few
