"""A model as a flat ``nn.Sequential`` of its layers, for a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from bench.choice import telling
from bench.keys import ConfigError
from bench.origin import is_own
from bench.rule.optimizer.layout import mark_ends
from bench.task.dataset import Dataset
from bench.task.model.contract import Model


def build(model: Model, dataset: Dataset) -> nn.Sequential:
    """Build the network that ``model`` names, initialised from torch's default generator.

    It maps [batch, *dataset.input_shape] to [batch, ..., dataset.outputs].

    Raises:
        ConfigError: as :func:`entries`.
    """
    layers = list(entries(model, dataset))
    mark_ends(layers)
    return nn.Sequential(*layers)


def entries(model: Model, dataset: Dataset) -> Iterator[nn.Module]:
    """Make the network's layers, as :func:`build` takes them; each is made when it is asked for.

    Raises:
        ConfigError: the model cannot take such data, or it is a user's own and fails.
    """
    with telling(type(model)):
        try:
            yield from model.entries(dataset.input_shape, dataset.outputs)
        except ValueError as error:
            if is_own(type(model)) and type(error) is ValueError:
                raise ConfigError(f"{model.group}.{error}") from None
            raise


def own_parameters(layers: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, list[nn.Parameter]]]:
    """Yield each layer with its parameters; one that it shares with a layer before it is that one's."""
    seen = set[int]()
    for layer in layers:
        own = [parameter for parameter in layer.parameters() if id(parameter) not in seen]
        seen.update(map(id, own))
        yield layer, own
