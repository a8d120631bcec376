"""Models by name: ``zoo.lenet()``, or ``zoo.create("lenet")``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from minigrad import nn
from minigrad.errors import MinigradError
from minigrad.zoo.alexnet import AlexNet, alexnet
from minigrad.zoo.lenet import LeNet, lenet
from minigrad.zoo.lenet5 import LeNet5, lenet5

__all__ = ["MODELS", "AlexNet", "Entry", "LeNet", "LeNet5", "UnknownModelError", "alexnet", "create", "lenet", "lenet5"]


class UnknownModelError(MinigradError, ValueError):
    """A model or a setting that the zoo does not have: the message lists those that it has."""


class Entry(NamedTuple):
    """A model of the zoo: what makes it, and the shape (C, H, W) of one input."""

    build: Callable[..., nn.Module]
    input_shape: tuple[int, ...]


#: The zoo's models by name.
MODELS: dict[str, Entry] = {
    "alexnet": Entry(alexnet, (3, 227, 227)),
    "lenet": Entry(lenet, (1, 28, 28)),
    "lenet5": Entry(lenet5, (1, 32, 32)),
}


def create(name: str, **settings: Any) -> nn.Module:
    """A model with fresh weights, by name. Raises UnknownModelError for a name or a setting that there is not."""
    if name not in MODELS:
        raise UnknownModelError(f"there is no model {name!r}; there are {', '.join(sorted(MODELS))}")
    known = inspect.signature(MODELS[name].build).parameters
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise UnknownModelError(f"{name} has no setting {', '.join(unknown)}; there are {', '.join(known) or 'none'}")
    return MODELS[name].build(**settings)
