"""How Winograd's convolution cuts a result into tiles, and what that costs."""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

from minigrad.kernels.frames import Pair
from minigrad.kernels.winograd_matrices import SIZES, transforms

__all__ = ["Axis", "points_of", "products", "regions", "share", "tiles_together", "tiling"]


class Axis(NamedTuple):
    """A stretch of a result's rows or columns: where it begins, how many outputs a tile has, how many tiles there are."""

    first: int
    step: int
    tiles: int


def _tiles_for(taps: int) -> list[int]:
    """How many outputs a tile may have; six of three taps take hardly fewer products than four, but twice the memory."""
    return [1, *(n - taps + 1 for n in SIZES if 1 < taps < n and not (taps < 4 and n > 6))]


@functools.cache
def tiling(length: int, taps: int) -> tuple[Axis, ...]:
    """The stretches of an axis, with one size of tiles each, that need the fewest products."""
    return min(_tilings(length, taps), key=lambda axes: _points(axes, taps))


@functools.cache
def points_of(length: int, taps: int) -> int:
    """How many products that are."""
    return _points(tiling(length, taps), taps)


def _points(axes: tuple[Axis, ...], taps: int) -> int:
    return sum(axis.tiles * transforms(axis.step, taps).products for axis in axes)


@functools.lru_cache(maxsize=1024)
def regions(size: Pair, window: Pair, batch: int) -> list[tuple[Axis, Axis]]:
    """Tilings of rows and of columns whose combinations cost the least."""
    best = min(itertools.product(*map(_tilings, size, window)), key=lambda pair: _products(pair, window, batch))
    down, along = map(_shortened, best)
    return [(y, x) for y in down for x in along]


def products(size: Pair, window: Pair, batch: int) -> float:
    """For each channel and filter, the number of products; what the window's transform takes is counted as some more."""
    return min(_products(pair, window, batch) for pair in itertools.product(*map(_tilings, size, window)))


def _products(tilings: tuple[tuple[Axis, ...], ...], window: Pair, batch: int) -> float:
    total = 0.0
    for axes in itertools.product(*tilings):
        points = math.prod(transforms(a.step, taps).products for a, taps in zip(axes, window, strict=True))
        tiles = batch * math.prod(a.tiles for a in axes)
        total += points * max(tiles, 8) + (100 + 3.5 * points) * math.ceil(tiles / tiles_together(points))
    return total


def _tilings(length: int, taps: int) -> list[tuple[Axis, ...]]:
    """A stretch covered by tiles of one size, or of two."""
    sizes = _tiles_for(taps)
    found: list[tuple[Axis, ...]] = [(Axis(0, m, -(-length // m)),) for m in sizes]
    for m, rest in itertools.permutations(sizes, 2):
        many = length // m
        if many and length % m and rest < m:
            found.append((Axis(0, m, many), Axis(many * m, rest, -(-(length % m) // rest))))
    return found


def _shortened(axes: tuple[Axis, ...]) -> list[Axis]:
    """Long rows of tiles in pieces, so that one row fits the memory that is meant for a chunk."""
    most = 64
    return [Axis(a.first + at * a.step, a.step, min(most, a.tiles - at)) for a in axes for at in range(0, a.tiles, most)]


def tiles_together(points: int) -> int:
    """How many tiles are taken together: their points should stay in the second cache."""
    return max(24, min(128, 3200 // points))


def share(total: int, most: int) -> int:
    """The size of equal shares of at most so many."""
    return -(-total // -(-total // most))
