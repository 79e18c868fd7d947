"""``clip=network``: the whole network's gradient of a batch has a largest norm, wherever the network is cut.

This is what is called clipping elsewhere, and it couples the stages: none makes a batch's update before all have the
batch's gradient, and the last stage, which is the first to have it, waits for the first one's backward. Staleness is as
without it; but backward passes of one batch follow one another again, and what of them is not hidden behind forwards is
locking. A round of K stages with forwards F and backwards B takes F + K B, instead of F + B, or K (F + B) where
everything is locked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.rule.clip.stage import StageClip


@dataclass(frozen=True)
class NetworkClip(StageClip):
    """All stages scale their gradients of a batch alike, to a norm of at most ``norm`` in all."""

    name: ClassVar[str] = "network"
    place: ClassVar[int] = 3
    spans_stages: ClassVar[bool] = True
