"""`minigrad warmup [MODEL ...]`: compile ahead what a model's training needs, so that no later run waits for it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

import minigrad.nn.functional as F
from minigrad import nn, optim
from minigrad.core import make_tensor
from minigrad.errors import MinigradError
from minigrad.jit import on_compile
from minigrad.modes import no_grad
from minigrad.zoo.alexnet import alexnet
from minigrad.zoo.lenet import lenet

__all__ = ["add_parser", "run"]

#: How a model is built, the shape of its images, and the batches for which kernels differ (small ones run on one thread).
_MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "lenet": (lenet, (1, 28, 28), (1, 64, 256)),
    "alexnet": (alexnet, (3, 227, 227), (2,)),
}


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "warmup",
        help="compile ahead what training needs",
        description="Run a training step and a forward pass of each model, so that all kernels are compiled and cached.",
    )
    parser.add_argument("model", nargs="*", help=f"which: {', '.join(_MODELS)} (default: all)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compile, and tell how many kernels had to be."""
    wanted = args.model or list(_MODELS)
    for name in wanted:
        if name not in _MODELS:
            raise MinigradError(f"unknown model {name!r}; there are: {', '.join(_MODELS)}")
    console = Console(highlight=False)
    for name in wanted:
        compiled: list[str] = []
        start = time.perf_counter()
        with console.status(f"compiling for {name}"), on_compile(compiled.append):
            _warm(*_MODELS[name])
        console.print(f"{name}: {len(compiled)} kernels compiled in {time.perf_counter() - start:.1f} s, the others were there")
    return 0


def _warm(build: Callable[[], nn.Module], image: tuple[int, ...], batches: tuple[int, ...]) -> None:
    model = build()
    for optimizer in (optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), optim.AdamW(model.parameters(), lr=1e-3)):
        for batch in batches:
            x, y = make_tensor(np.ones((batch, *image), np.float32)), make_tensor(np.zeros(batch, np.int64))
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            with no_grad():
                model(x)
