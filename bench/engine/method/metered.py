"""torch's pipeline stage with a meter, and with this project's channels in the place of its messages.

torch's schedules ask a stage which messages to send and to receive, start these and wait for them on their own. Here a
stage names none: it takes its input from a channel just before it computes, and hands on its output just after. So a
wait is for one certain message, and every method has the same transport.

Why not torch's own messages, as of torch 2.14 on CPUs with gloo: every schedule runs, and within 5% as fast, but

- gloo refuses what is not contiguous ("input tensor has to be contiguous"), and channels_last activations are not;
- ``1f1b`` waits for a send and a receive together, and a gloo send ends when its receive is posted, so that what a
  stage is blocked by cannot be told;
- without examples of the messages, their shapes are inferred by a forward and a backward in the first step, on the
  clock. With the examples that are given here, torch's stages only vote, once, that all have theirs: these few bytes go
  by a gloo group, from the CPU, whatever moves the tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage

from bench.engine.meter import Meter
from bench.engine.method.agent import Inlet, Outlet, Piece
from bench.engine.numerics import Numerics
from bench.engine.transport.message import Message
from bench.task.tensors import Tensors, every, together


class Layers(nn.Module):
    """Layers in a row, in the run's precision."""

    def __init__(self, layers: nn.Module, numerics: Numerics) -> None:
        super().__init__()
        self.layers, self._numerics = layers, numerics

    def forward(self, *inputs: Tensor) -> Tensors:
        outputs = every(self._numerics.apply(self.layers, together(inputs)))
        return together([HandedOn.apply(output) for output in outputs])


class HandedOn(torch.autograd.Function):
    """The same tensor by another name, for ``zero_bubble`` detaches in place what it has handed on.

    Autograd refuses that for a view (after a flatten), and for what a layer has saved: the shortcut of a block that is
    cut in its middle is the input of its convolution.
    """

    @staticmethod
    def forward(_: Any, output: Tensor) -> Tensor:
        return output.detach()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient


class MeteredStage(PipelineStage):
    """One piece of the network in one of torch's schedules.

    Args:
        piece: layers and the channels of activations.
        gradients: the channels ``(of the outputs, of the inputs)``; None where those of the activations are.
        number, pieces: the piece's place, from 0, and how many pieces there are.
        messages: ``(input, output)`` of one microbatch, the data and what the network tells of it at the ends too.
        line: gloo, the stages of this replica.
        seed: draws the random numbers of a microbatch's forward.
    """

    def __init__(
        self,
        piece: Piece,
        gradients: tuple[Inlet | None, Outlet | None],
        number: int,
        pieces: int,
        messages: tuple[Message, Message],
        line: dist.ProcessGroup | None,
        numerics: Numerics,
        meter: Meter,
        seed: Callable[[int, int], None],
    ) -> None:
        inputs, outputs = (every(message.empty(torch.device("meta"))) for message in messages)
        super().__init__(
            Layers(piece.module, numerics),
            number,
            pieces,
            torch.device("cpu"),
            input_args=tuple(example.requires_grad_(number > 0) for example in inputs),
            output_args=tuple(example.requires_grad_() for example in outputs),
            group=line,
        )
        self.piece = piece
        self._output_gradients, self._input_gradients = gradients
        self._meter, self._seed = meter, seed
        self.batch = -1
        """The number of the batch that the microbatches are parts of."""

    @property
    def channels(self) -> tuple[Inlet | Outlet | None, ...]:
        return self.piece.inputs, self.piece.outputs, self._output_gradients, self._input_gradients

    def _none(self, *_: Any, **__: Any) -> list[dist.P2POp]:
        """Tell the schedule that there is nothing to send or to receive."""
        return []

    get_fwd_recv_ops = get_fwd_send_ops = get_bwd_recv_ops = get_bwd_send_ops = _none

    def forward_one_chunk(self, fwd_chunk_id: int, *args: Any, **kwargs: Any) -> Any:
        """Receive, compute and send; what comes of the network's last layer is still to become a loss."""
        if self.piece.inputs is not None:
            self._meter.enter("forward_lock", self.batch)
            self.set_local_fwd_input(self.piece.inputs.receive(), fwd_chunk_id)
        self._meter.enter("forward", self.batch)
        self._seed(fwd_chunk_id, self.stage_index)
        output = super().forward_one_chunk(fwd_chunk_id, *args, **kwargs)
        if self.piece.outputs is not None:
            self._meter.enter("sending", self.batch)
            self.piece.outputs.send(output)
        if not self.is_last:
            self._meter.enter("other", self.batch)
        return output

    def backward_one_chunk(self, bwd_chunk_id: int, *args: Any, **kwargs: Any) -> None:
        """Receive, compute and send the gradient of the input, and in most schedules that of the weights."""
        if self._output_gradients is not None:
            self._meter.enter("backward_lock", self.batch)
            self.set_local_bwd_input(every(self._output_gradients.receive()), bwd_chunk_id)
        self._meter.enter("backward", self.batch)
        super().backward_one_chunk(bwd_chunk_id, *args, **kwargs)
        if self._input_gradients is not None:
            self._meter.enter("sending", self.batch)
            gradients: tuple[Tensor, ...] = self.get_local_bwd_output(bwd_chunk_id)  # type: ignore[no-untyped-call]
            self._input_gradients.send(together(gradients))
        self._meter.enter("other", self.batch)

    def backward_weight_one_chunk(self, bwd_chunk_id: int, last_backward: bool = False) -> None:
        """Compute the gradient of the weights, which ``zero_bubble`` has put off."""
        self._meter.enter("backward", self.batch)
        super().backward_weight_one_chunk(bwd_chunk_id, last_backward=last_backward)
        self._meter.enter("other", self.batch)
