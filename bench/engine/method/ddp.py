"""Data parallelism: the whole network in every process, by torch's DistributedDataParallel."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench.config import RunConfig
from bench.engine.meter import Meter
from bench.engine.method.agent import Agent, Cut, Piece
from bench.engine.numerics import Numerics, seed_stage
from bench.engine.worker import Stretch
from bench.engine.world import World, peers_expected
from bench.task.batches import Batches


class DataParallel(Agent):
    """``ddp``: one replica of the whole network in torch's DistributedDataParallel.

    Its gradients travel in buckets while the backward goes on. What is left of their way when the backward has ended is
    update locking; to tell the two apart, the buckets are waited for here and not in DDP.
    """

    def __init__(
        self, config: RunConfig, world: World, numerics: Numerics, module: nn.Module, batches: Batches, meter: Meter
    ) -> None:
        super().__init__(config, world, numerics, module, 1, batches, meter)
        self._underway: list[dist.Work] = []
        self._parallel = self.weights.module if world.peers is None else self._wrapped(world.peers)

    @classmethod
    def of(cls, config: RunConfig, world: World, numerics: Numerics, cut: Cut, batches: Batches, meter: Meter) -> Agent:
        return cls(config, world, numerics, numerics.place(cut.network), batches, meter)

    def _wrapped(self, peers: dist.ProcessGroup) -> DistributedDataParallel:
        # Statistics stay a replica's own until a flush, as they do in the decoupled worker. Newer versions of torch
        # warn of the older option.
        newer = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
        local: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}
        parallel = DistributedDataParallel(
            self.weights.module, process_group=peers, gradient_as_bucket_view=True, **local
        )
        # Without annotations, which DDP would hold against types and not against their names.
        parallel.register_comm_hook(None, lambda state, bucket: self._start(bucket))  # noqa: ARG005
        return parallel

    def begin(self, stretch: Stretch) -> Sequence[int]:
        """Get ready for a stretch of training; return its ticks."""
        self._stretch = stretch
        return range(stretch.batches)

    def step(self, tick: int) -> None:
        """Make one update."""
        stretch = self._stretch
        self.meter.enter("data", tick)
        inputs = self._batches.inputs(*stretch.place(tick))
        self.meter.enter("forward", tick)
        seed_stage(self._config.seed, stretch.first_step + tick, self._world.replica, 0)
        outputs = self._numerics.apply(self._parallel, inputs)
        loss = self._numerics.loss(outputs, self._batches.targets(*stretch.place(tick)))
        self._losses.append(loss.detach())
        self.meter.enter("backward", tick)
        torch.autograd.backward(loss)
        self._average()
        self.meter.enter("update", tick)
        self._clip()
        self._optimizer.step(self.weights.advance(), self.weights.gradient, stretch.rates[0][tick])
        self._staleness[0] += 1
        self.meter.enter("other")

    def flush(self) -> None:
        """Do nothing: nothing is under way after an update."""

    def _start(self, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        """Let a full bucket travel, and tell DDP that it is there."""
        self.meter.enter("averaging")
        with peers_expected():
            work = dist.all_reduce(bucket.buffer(), group=self._world.peers, async_op=True)
        assert work is not None
        self._underway.append(work)
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        self.meter.enter("backward")
        return future

    def _average(self) -> None:
        """Wait for the buckets, and make the replicas' mean of their sums."""
        if self._underway:
            self.meter.enter("update_lock")
            with peers_expected():
                for work in self._underway:
                    work.wait()
            self._underway.clear()
            self.meter.enter("averaging")
        gradients = [parameter.grad for parameter in self.weights.parameters]
        self.weights.collect([gradient for gradient in gradients if gradient is not None])
        self.weights.gradient.div_(self._world.grid.replicas)
        for parameter in self.weights.parameters:
            parameter.grad = None

    def _pieces(self) -> list[Piece]:
        return [Piece(self.weights.module, None, None)]
