"""`minigrad warmup [MODEL ...]`: compile ahead what a model's training needs, so that no later run waits for it."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from rich.console import Console

import minigrad.nn.functional as F
from minigrad import optim, zoo
from minigrad.core import make_tensor
from minigrad.errors import MinigradError
from minigrad.jit import on_compile
from minigrad.modes import no_grad
from minigrad.zoo.recipes import RECIPES

__all__ = ["add_parser", "run"]

#: Batches for which kernels differ (small ones run on one thread), where those of small models take too long.
_BATCHES = {"alexnet": (2,)}


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "warmup",
        help="compile ahead what training needs",
        description="Run a training step and a forward pass of each model, so that all kernels are compiled and cached.",
    )
    parser.add_argument("model", nargs="*", help=f"which: {', '.join(zoo.MODELS)} (default: all)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compile, and tell how many kernels had to be."""
    wanted = args.model or list(zoo.MODELS)
    for name in wanted:
        if name not in zoo.MODELS:
            raise MinigradError(f"unknown model {name!r}; there are: {', '.join(zoo.MODELS)}")
    console = Console(highlight=False)
    for name in wanted:
        compiled: list[str] = []
        start = time.perf_counter()
        with console.status(f"compiling for {name}", spinner="line"), on_compile(compiled.append):
            _warm(name)
        console.print(f"{name}: {len(compiled)} kernels compiled in {time.perf_counter() - start:.1f} s, the others were there")
    return 0


def _warm(name: str) -> None:
    """Distort, learn and answer as `minigrad train` does it, with the model's own loss."""
    build, image = zoo.MODELS[name]
    recipe = RECIPES.get(name)
    loss = F.cross_entropy if recipe is None else recipe.loss
    model = build()
    for optimizer in (optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), optim.AdamW(model.parameters(), lr=1e-3)):
        for batch in _BATCHES.get(name, (1, 64, 256)):
            images, y = np.ones((batch, *image), np.float32), make_tensor(np.zeros(batch, np.int64))
            x = make_tensor(images if recipe is None else recipe.augment(images, np.random.default_rng(0)))
            loss(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            with no_grad():
                loss(model(x), y, reduction="sum")
