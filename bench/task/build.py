"""A model as a flat ``nn.Sequential`` of its layers."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from bench.choice import telling
from bench.keys import ConfigError
from bench.origin import is_own
from bench.rule.optimizer.layout import mark_ends
from bench.task.model.contract import Model, Shape


def build(model: Model, image_shape: Shape, classes: int) -> nn.Sequential:
    """Build the network that ``model`` names, initialised from torch's default generator.

    Args:
        image_shape: channels, height, width; the network maps [batch, channels, height, width] to [batch, classes].

    Raises:
        ConfigError: as :func:`entries`.
    """
    layers = list(entries(model, image_shape, classes))
    mark_ends(layers)
    return nn.Sequential(*layers)


def entries(model: Model, image_shape: Shape, classes: int) -> Iterator[nn.Module]:
    """Make the network's layers, as :func:`build` takes them; each is made when it is asked for.

    Raises:
        ConfigError: the model cannot take such images, or it is a user's own and fails.
    """
    with telling(type(model)):
        try:
            yield from model.entries(image_shape, classes)
        except ValueError as error:
            if is_own(type(model)) and type(error) is ValueError:
                raise ConfigError(f"{model.group}.{error}") from None
            raise
