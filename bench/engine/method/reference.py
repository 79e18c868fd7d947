"""The oracle: the algorithm of all agents in one process, without messages.

Written from the definition and not from the worker. With stashed weights the gradient of batch i is that of *one*
composite network, whose stage k carries the weights that it had in the tick of its forward of batch i: one forward and
one backward through the uncut composite give it. The other two modes go backward at weights that are not known before
the stage's own backward tick, so they go stage by stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.config import RunConfig
from bench.engine.meter import Meter
from bench.engine.method.copies import clip, fill, hand_out, mean_of, mix
from bench.engine.method.part import Gradients, Part, Weights, bound, by_name, handed_on, shrunk, split
from bench.engine.numerics import Numerics, seed_stage
from bench.engine.worker import Ages, Evaluation, Stretch
from bench.task.batches import Batches
from bench.task.contract import Split
from bench.task.tensors import Tensors, detached, every


class Reference:
    """Trains as all S x K agents would.

    Args:
        parts: ``parts[s][k]`` is replica s's own copy of stage k, placed, named as in the uncut network.
        batches: each replica's.
    """

    def __init__(
        self,
        run: RunConfig,
        numerics: Numerics,
        parts: Sequence[Sequence[nn.Module]],
        batches: list[Batches],
        meter: Meter,
    ) -> None:
        self._run, self._numerics, self._batches, self.meter = run, numerics, batches, meter
        lags = [run.clock(0).lag(k) for k in range(run.stages)]
        self._parts = [
            [Part(module, run.optimizer, lag) for module, lag in zip(replica, lags, strict=True)] for replica in parts
        ]
        self._last = run.stages - 1
        self._shrinkage = run.correction.shrinkage() if run.staleness else 1.0
        self._losses: list[Tensor] = []
        mixing = run.averaging.among(run.replicas)
        self._mixing: list[list[float]] | None = None if mixing is None else mixing.tolist()

    # ------------------------------------------------------------------------------------------------------- training
    def begin(self, stretch: Stretch) -> Sequence[int]:
        self._stretch = stretch
        self._clock = self._run.clock(stretch.batches)
        return self._clock.busy(*range(self._run.stages))

    def step(self, tick: int) -> None:
        for s in range(self._run.replicas):
            if self._run.weights == "stashed":
                self._composite_tick(s, tick)
            else:
                self._stagewise_tick(s, tick)
        self.meter.enter("update")
        due = {k: batch for k in range(self._run.stages) if (batch := self._clock.backward(k, tick)) is not None}
        for k, batch in due.items():
            hand_out(self._copies(k), batch, averaged=self._mixing is None)
        for replica in self._parts:
            clip(self._run.clip, [replica[k] for k in due])
        for k, batch in due.items():
            self._update(k, batch)
        self.meter.enter("other")

    def _composite_tick(self, s: int, tick: int) -> None:
        """Compute the gradient of the batch that reaches the last stage, by all stages' weights of its forwards."""
        hop, batch = self._clock.forward_hop, self._clock.forward(self._last, tick)
        for k, part in enumerate(self._parts[s]):
            entering = self._clock.forward(k, tick)
            if entering is not None:
                updated = hop > 0 and k < self._last
                part.remember(entering, self._extrapolation(k, part, tick, entering), updated)
                part.seen[entering] = part.updates
        if batch is None:
            return
        versions = [part.before.pop(batch) for part in self._parts[s]]
        x = self._inputs(s, batch)
        self.meter.enter("forward", batch)
        output = self._apply(s, 0, batch, versions[0], x)
        for k, weights in enumerate(versions[1:], start=1):
            output = self._apply(s, k, batch, weights, handed_on(output, self._shrinkage))
        loss = self._loss(s, batch, output)
        self.meter.enter("backward", batch)
        gradients = iter(torch.autograd.grad(loss, [leaf for weights in versions for leaf in weights.values()]))
        for part, weights in zip(self._parts[s], versions, strict=True):
            part.gradients[batch] = [next(gradients) for _ in weights]

    def _extrapolation(self, k: int, part: Part, tick: int, batch: int) -> float:
        """How far along its velocity stage k's weights are foreseen for the forward of ``batch`` in ``tick``.

        One step for each update between the two: those of earlier batches whose backward is due in this tick or later.
        """
        if not self._run.correction.foresees:
            return 0.0
        first = self._clock.first_backward(k)
        steps = sum(first + earlier >= tick for earlier in range(batch))
        return steps * self._stretch.rates[k][part.updates - self._stretch.first_step]

    def _stagewise_tick(self, s: int, tick: int) -> None:
        """Go forward down the stages, then backward up again: hops of no tick find their message already there."""
        parts = self._parts[s]
        for k, part in enumerate(parts):
            batch = self._clock.forward(k, tick)
            if batch is not None:
                x = self._inputs(s, batch) if k == 0 else parts[k - 1].outputs.pop(batch)
                self.meter.enter("forward", batch)
                part.seen[batch] = part.updates
                self._forward(s, k, batch, x)
        for k, part in reversed(list(enumerate(parts))):
            batch = self._clock.backward(k, tick)
            if batch is not None:
                self.meter.enter("backward", batch)
                incoming = None if k == self._last else shrunk(parts[k + 1].returned.pop(batch), self._shrinkage)
                part.gradients[batch], returned = part.pullbacks.pop(batch)(incoming)
                if k > 0:
                    part.returned[batch] = returned

    def _forward(self, s: int, k: int, batch: int, x: Tensors) -> None:
        part = self._parts[s][k]
        sources = [tensor.requires_grad_() for tensor in every(x)] if k > 0 else []
        weights = part.weights()
        with torch.autograd.graph.saved_tensors_hooks(*by_name(part, weights)):
            output = self._apply(s, k, batch, weights, x)
            root = self._loss(s, batch, output) if k == self._last else output
        if k < self._last:
            part.outputs[batch] = detached(output)

        def latest(incoming: Gradients | None) -> tuple[Gradients, Gradients]:
            return split(torch.autograd.grad(root, [*weights.values(), *sources], incoming), len(weights))

        def recomputed(incoming: Gradients | None) -> tuple[Gradients, Gradients]:
            now = part.weights()
            again = self._apply(s, k, batch, now, x, statistics=False)
            if k == self._last:
                again = self._numerics.loss(again, self._targets(s, batch))
            return split(torch.autograd.grad(again, [*now.values(), *sources], incoming), len(now))

        part.pullbacks[batch] = latest if self._run.weights == "latest" else recomputed

    def _update(self, k: int, batch: int) -> None:
        """Apply the gradient of ``batch`` to stage k of every replica, and let their weights agree."""
        for part in self._copies(k):
            part.step(batch, self._stretch.rates[k][batch])
        if self._mixing is not None:
            mix(self._copies(k), self._mixing)

    def _copies(self, k: int) -> list[Part]:
        return [replica[k] for replica in self._parts]

    # -------------------------------------------------------------------------------------------------------- numbers
    def _apply(self, s: int, k: int, batch: int, weights: Weights, x: Tensors, statistics: bool = True) -> Any:
        module = self._parts[s][k].module
        buffers = {} if statistics else {name: buffer.clone() for name, buffer in module.named_buffers()}
        seed_stage(self._run.seed, self._stretch.first_step + batch, s, k)
        return self._numerics.apply(bound(module, {**weights, **buffers}), x)

    def _inputs(self, s: int, batch: int) -> Tensor:
        self.meter.enter("data", batch)
        return self._batches[s].inputs(*self._stretch.place(batch))

    def _targets(self, s: int, batch: int) -> Tensor:
        return self._batches[s].targets(*self._stretch.place(batch))

    def _loss(self, s: int, batch: int, output: Tensor) -> Tensor:
        loss = self._numerics.loss(output, self._targets(s, batch))
        self._losses.append(loss.detach())
        return loss

    # -------------------------------------------------------------------------------------------------------- flushes
    def flush(self) -> None:
        """Do nothing: nothing is ever under way."""

    def loss(self) -> float | None:
        mean = float(torch.stack(self._losses).mean())
        self._losses.clear()
        return mean

    @torch.no_grad()
    def agree(self) -> float:
        self._means: list[Weights] = []
        squares = 0.0
        for k in range(self._run.stages):
            parts = self._copies(k)
            for copies in zip(*(part.module.buffers() for part in parts), strict=True):
                if copies[0].is_floating_point():
                    fill(copies, mean_of(copies))
            if self._mixing is None:
                self._means.append(dict(parts[0].parameters))
                continue
            means = {name: mean_of([part.parameters[name] for part in parts]) for name in parts[0].parameters}
            squares += sum(float((p.parameters[n] - mean).square().sum()) for p in parts for n, mean in means.items())
            self._means.append(means)
        return squares

    @torch.no_grad()
    def settle(self) -> None:
        for _, k, part in self._all():
            for name, parameter in part.parameters.items():
                parameter.copy_(self._means[k][name])

    @torch.no_grad()
    def evaluate(self, split: Split) -> Evaluation:
        modules = [part.module.eval() for part in self._parts[0]]
        result, judged = Evaluation(), self._batches[0].judged[split]
        for index in range(judged.batches):
            x = judged.inputs(index)
            for module, weights in zip(modules, self._means, strict=True):
                x = self._numerics.apply(bound(module, weights), x)
            result += self._numerics.score(x, judged, index)
        for module in modules:
            module.train()
        return result

    def ages(self) -> list[Ages]:
        return [Ages(k, s, dict(sorted(part.staleness.items())), None) for s, k, part in self._all()]

    def network(self) -> Weights:
        return {
            name: tensor.detach().cpu() for part in self._parts[0] for name, tensor in part.module.state_dict().items()
        }

    def state(self) -> dict[str, Any]:
        losses = torch.stack(self._losses) if self._losses else None
        return {"parts": [[part.state() for part in replica] for replica in self._parts], "losses": losses}

    def load(self, state: dict[str, Any]) -> None:
        for s, k, part in self._all():
            part.load(state["parts"][s][k])
        self._losses = [] if state["losses"] is None else list(state["losses"].unbind())

    def _all(self) -> Iterator[tuple[int, int, Part]]:
        for s, replica in enumerate(self._parts):
            for k, part in enumerate(replica):
                yield s, k, part
