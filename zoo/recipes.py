"""How the models of the zoo are trained unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import minigrad.nn.functional as F
from minigrad import optim
from minigrad.errors import MinigradError
from minigrad.nn import Module
from minigrad.zoo.augment import RandomAffine
from minigrad.zoo.lenet import lenet
from minigrad.zoo.lenet5 import lenet5, rbf_loss

__all__ = ["RECIPES", "OptimizerChoice", "Recipe", "Settings", "recipe_for", "settings_for"]


class OptimizerChoice(NamedTuple):
    """An optimiser with the peak rate and the weight decay that suit it."""

    build: Callable[..., optim.Optimizer]
    lr: float
    weight_decay: float


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained: loss, batch size, length, one-cycle rate, distortions, optimisers to choose from."""

    build: Callable[[], Module]
    optimizers: Mapping[str, OptimizerChoice]
    optimizer: str = "adamw"
    epochs: int = 40
    batch_size: int = 64
    #: The part of the training during which the rate rises (L. Smith, N. Topin: Super-convergence, 2018).
    rise: float = 0.3
    augment: RandomAffine = field(default_factory=RandomAffine)
    #: ``loss(answers, labels, reduction=)``.
    loss: Callable[..., Any] = F.cross_entropy
    #: Pixels of ground that the model wants around a digit of 28x28.
    border: int = 0


def _momentum_sgd(parameters: Iterable[Any], lr: float, weight_decay: float) -> optim.Optimizer:
    return optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True, weight_decay=weight_decay)


RECIPES: dict[str, Recipe] = {
    "lenet": Recipe(
        build=lenet,
        optimizers={
            "adamw": OptimizerChoice(optim.AdamW, 3e-3, 0.05),
            "adam": OptimizerChoice(optim.Adam, 3e-3, 0.0),
            "sgd": OptimizerChoice(_momentum_sgd, 0.05, 5e-4),
        },
    ),
    "lenet5": Recipe(
        build=lenet5,
        optimizers={
            "adamw": OptimizerChoice(optim.AdamW, 3e-3, 0.05),
            "adam": OptimizerChoice(optim.Adam, 3e-3, 0.0),
            "sgd": OptimizerChoice(_momentum_sgd, 2e-3, 5e-4),
        },
        loss=rbf_loss,
        border=2,
    ),
}


@dataclass(frozen=True)
class Settings:
    """All that decides a run's numbers, beside the data and the machine."""

    model: str
    data: str
    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    seed: int
    augment: bool

    def asdict(self) -> dict[str, Any]:
        """As a dictionary that JSON can hold."""
        return asdict(self)


def recipe_for(model: str) -> Recipe:
    """The recipe for a model of this name. Raises MinigradError that lists the names there are."""
    if model not in RECIPES:
        raise MinigradError(f"unknown model {model!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[model]


def settings_for(model: str, data: str = "mnist5k", seed: int = 0, **given: Any) -> Settings:
    """A model's recipe with what is `given` (and not None) put in its place.

    Raises MinigradError for a model or an optimiser that there is not.
    """
    recipe = recipe_for(model)
    chosen = {name: value for name, value in given.items() if value is not None}
    optimizer = chosen.get("optimizer", recipe.optimizer)
    if optimizer not in recipe.optimizers:
        raise MinigradError(f"unknown optimizer {optimizer!r}; there are: {', '.join(recipe.optimizers)}")
    standard = {
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "optimizer": optimizer,
        "lr": recipe.optimizers[optimizer].lr,
        "augment": True,
    }
    return Settings(model=model, data=data, seed=seed, **(standard | chosen))
