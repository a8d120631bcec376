"""Looking on while a step runs: what passes through each operation, forward and backward, in a few numbers.

The engine keeps an array only as long as a formula needs it, so what a picture is to say about values must be noted when
they are there. `watch` does so by the engine's own means: it is called for each recorded node (`modes.now.watcher`), and leaves
a hook on it for the gradient. Notes live as long as their node.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from minigrad.core import Array
from minigrad.graph import Node
from minigrad.modes import modes
from minigrad.tensor import Tensor
from minigrad.viz.picture import Stats

__all__ = ["Seen", "seen_at", "stats_of", "watch"]

_CHUNK = 1 << 20  # elements converted to float64 at a time


@dataclass
class Seen:
    """The numbers of a node's output, of its gradient once that has arrived, and of its inputs that are constants."""

    value: Stats
    gradient: Stats | None = None
    inputs: dict[str, Stats] = field(default_factory=dict)


_seen: weakref.WeakKeyDictionary[Node, Seen] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def watch() -> Iterator[None]:
    """Note the numbers of everything recorded inside the block, so that `graph` can show them also after `backward()`.

    ``with viz.watch(): loss = criterion(model(x), y); loss.backward()`` and then ``viz.graph(loss, model)``. Costs a look at
    each array and its gradient; nothing is kept but minimum, mean, maximum, norm and counts.
    """
    before, modes.now.watcher = modes.now.watcher, _look
    try:
        yield
    finally:
        modes.now.watcher = before


def seen_at(node: Node) -> Seen | None:
    """What was noted at a node, if it was recorded inside `watch`."""
    return _seen.get(node)


def _look(node: Node, arrays: Sequence[Array | None], out: Array) -> None:
    slots = node.op.slots(len(arrays))
    constants = {
        slot: stats_of(array)
        for slot, array, edge in zip(slots, arrays, node.edges, strict=True)
        if array is not None and edge is None
    }
    seen = _seen[node] = Seen(stats_of(out, units=node.op.name == "relu"), inputs=constants)

    def arrived(g: Tensor) -> None:
        seen.gradient = stats_of(g.array)

    node.hooks = [*(node.hooks or ()), arrived]


def stats_of(array: Array, units: bool = False) -> Stats:
    """Minimum, mean, maximum and Euclidean norm of the finite elements, and how many are NaN, Inf or 0.

    A mean that is smaller than the elements' own rounding is told as 0: what it is otherwise changes with the machine.
    With `units`, also how many units (channels of an image, else the places behind the batch axis) are 0 throughout.
    """
    flat = np.abs(array).reshape(-1) if array.dtype.kind == "c" else array.reshape(-1)
    size, nans = flat.size, 0
    zeros = size - int(np.count_nonzero(flat))
    if flat.dtype.kind == "f":
        finite = np.isfinite(flat)
        if not finite.all():
            nans = int(np.isnan(flat).sum())
            flat = flat[finite]
    infs = size - flat.size - nans
    dead, total = _dead(array) if units and array.ndim > 1 else (0, 0)
    if not flat.size:
        return Stats(math.nan, math.nan, math.nan, math.nan, size, nans, infs, zeros, dead, total)
    low, high = float(flat.min()), float(flat.max())
    top = max(abs(low), abs(high)) or 1.0  # squares of very large or small numbers must not leave float64's range
    sums = np.zeros(2)
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK].astype(np.float64) / top
        sums += part.sum(), part @ part
    mean, norm = top * float(sums[0]) / flat.size, top * math.sqrt(float(sums[1]))
    if flat.dtype.kind == "f" and abs(mean) < np.finfo(flat.dtype).eps * norm / math.sqrt(flat.size):
        mean = 0.0
    return Stats(low, mean, high, norm, size, nans, infs, zeros, dead, total)


def _dead(array: Array) -> tuple[int, int]:
    axes = (0, 2, 3) if array.ndim == 4 else (0,)
    silent = ~(array != 0).any(axis=axes)
    return int(silent.sum()), silent.size
