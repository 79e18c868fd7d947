"""What a trained network says: tokens, drawn one after the other as likely as it holds them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from bench.config import RunConfig
from bench.engine.numerics import Numerics
from bench.task.build import build
from bench.task.token_stream import TokenStream


def sampled(config: RunConfig, prepared: Path | None, weights: Path, prompt: str, length: int, heat: float) -> str:
    """Let a run's network go on from a prompt, by the weights that the run has ended with.

    Args:
        prepared: the prepared data's file.
        weights: the file of its parameters.
        prompt: where it is empty, the text goes on from the vocabulary's first token, which is not shown.
        length: tokens to draw.
        heat: what the logits are divided by; near 0 the likeliest token is drawn nearly always.

    Raises:
        ValueError: the vocabulary lacks a character of the prompt.
    """
    dataset = config.dataset(prepared)
    assert isinstance(dataset, TokenStream)
    numerics = Numerics.of(config, torch.device("cpu"))
    network = numerics.place(build(config.model, dataset))
    network.load_state_dict(torch.load(weights, weights_only=True))
    given = torch.from_numpy(dataset.vocabulary.encode(prompt)).long() if prompt else torch.zeros(1, dtype=torch.int64)
    keyed = torch.Generator().manual_seed(config.seed)
    drawn = drawn_after(network.eval(), numerics, given, dataset.context, length, heat, keyed)
    return prompt + dataset.vocabulary.decode(drawn.int().numpy())


@torch.no_grad()
def drawn_after(
    network: nn.Module,
    numerics: Numerics,
    given: Tensor,
    context: int,
    length: int,
    heat: float,
    keyed: torch.Generator,
) -> Tensor:
    """Draw tokens behind others, each as likely as the network holds it after those before; return the drawn ones.

    Args:
        given: int64 [tokens], one or more.
        context: the most tokens that the network sees at once.
    """
    tokens = given
    for _ in range(length):
        logits = numerics.apply(network, tokens[None, -context:])[0, -1].double()
        token = torch.multinomial(torch.softmax(logits / heat, 0), 1, generator=keyed)
        tokens = torch.cat([tokens, token])
    return tokens[len(given) :]
