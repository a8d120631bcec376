"""The derivative by the input with channels along a vector's lanes, for stride 1 (`lanes.Spread`).

Each row of the cotangent is spread over the pixels that its windows saw, for a vector of channels at once. No cotangent is
laid into a frame and nothing is multiplied with a border; what a window saw of the padding is left out at the end, when the
channels are turned into planes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.frames import Array, Geometry, shares
from minigrad.kernels.lanes import Spread, Turn
from minigrad.kernels.packing import Packing, Source, pack
from minigrad.kernels.vector import registers, run

__all__ = ["Spreading"]

Shape = tuple[int, ...]


class Spreading(NamedTuple):
    """``dx[n, c, y + r, x + s] += sum over f of w[f, c, r, s] * g[n, f, y, x]``, within the image."""

    packing: Packing
    inner: Array
    parts: Array
    sizes: Array
    planes: Array
    places: Array
    handles: tuple[Any, Any, Any]  # of `Spread`s, for a row's parts and its last one, and of a `Turn`

    @classmethod
    def of(cls, dx: Shape, g: Shape, w: Shape, geometry: Geometry, dtype: np.dtype[Any], lanes: int) -> Spreading:
        """For arrays of these shapes; vectors are as short as still hold all channels of a group."""
        _, (py, px), (dy, step), groups = geometry
        (filters, (channels, r, s)), (ho, wo), (height, width) = (w[0] // groups, w[1:]), g[2:], dx[2:]
        lanes = lanes * 4 // dtype.itemsize
        while lanes > 4 and channels <= lanes // 2:
            lanes //= 2
        columns, taps = min(_shapes(wo, s, step), key=lambda n: -(-wo // n[0]) * (s // n[1]) * (n[0] * n[1] + 2))
        pieces = -(-wo // columns)
        columns = -(-wo // pieces)
        window = np.arange(r * s).reshape(r, s // taps, 1, taps).transpose(1, 0, 2, 3)
        at = (window + np.arange(filters)[:, None] * (channels * r * s)).reshape(-1)  # (parts of s, r, f, taps)
        packing = Packing.of(Source(at, channels, r * s, groups, filters * channels * r * s), lanes)
        inner = (np.arange(filters) * (ho * wo) - np.arange(r)[:, None] * (dy * wo)).reshape(-1)
        row, plane = (width + 2 * px) * lanes, height * width
        first = np.minimum(np.arange(0, plane, lanes), max(plane - lanes, 0))[:, None] + np.arange(lanes)
        places = np.where(first < plane, first // width * row + (first % width + px) * lanes, 0)
        planes = np.arange(lanes) * max(plane, lanes) + first[:, :1]
        parts = shares(dx[0] * groups * packing.shape[1])
        sizes = [height, row, wo, ho, py, dy, columns, taps, step * lanes, filters, r, s // taps, channels, plane, lanes]
        spread, last = (Spread(n, taps, step, lanes, dtype.name) for n in (columns, wo - (pieces - 1) * columns))
        handles = spread.handle, last.handle, Turn(False, lanes, dtype.name).handle
        return cls(packing, inner, parts, np.array(sizes), planes, places, handles)

    def run(self, dx: Array, g: Array, w: Array, nothing: Array) -> None:
        """Run it; all arrays in row order."""
        weights, sides = pack(w, self.packing), (dx.reshape(-1), g.reshape(-1))
        _images(*sides, weights, self.inner, self.parts, self.sizes, self.planes, self.places, *self.handles)


def _shapes(columns: int, taps: int, step: int) -> list[tuple[int, int]]:
    """How many numbers may be spread with how many taps at once, so that the accumulators and the taps stay in registers."""
    fit = [
        (a, b)
        for a in range(1, columns + 1)
        for b in range(1, taps + 1)
        if taps % b == 0 and a + (b - 1) * step + b <= registers() - 2
    ]
    return fit or [(1, 1)]


@kernel(parallel=True)
def _images(dx, g, weights, inner, parts, sizes, planes, places, spread, last, turn):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        _share(np.int64(part), dx, g, weights, inner, parts, sizes, planes, places, spread, last, turn)


@kernel
def _share(part, dx, g, weights, inner, parts, sizes, planes, places, spread, last, turn):  # type: ignore[no-untyped-def]
    height, row, wo, ho, filters = sizes[0], sizes[1], sizes[2], sizes[3], sizes[9]
    channels, plane, lanes = sizes[12], sizes[13], sizes[14]
    groups, blocks = weights.shape[0], weights.shape[1]
    made = np.empty(height * row + lanes, dx.dtype)
    spare = np.empty(lanes * max(plane, lanes), dx.dtype)
    for unit in range(parts[part], parts[part + 1]):
        n, group, b = unit // (groups * blocks), unit // blocks % groups, unit % blocks
        start = (n * groups + group) * filters * ho * wo
        for y in range(height):
            _row(made[y * row :], g, start, y, weights[group, b].reshape(-1), inner, sizes, spread, last)
        to = ((n * groups + group) * channels + b * lanes) * plane
        count = min(lanes, channels - b * lanes)
        if count == lanes and plane >= lanes:
            run(turn, dx[to:], made, 0, places, len(places), planes, made)
            continue
        run(turn, spare, made, 0, places, len(places), planes, made)
        for c in range(count):
            at = c * max(plane, lanes)
            dx[to + c * plane : to + (c + 1) * plane] = spare[at : at + plane]


@kernel
def _row(made, g, start, y, weights, inner, sizes, spread, last):  # type: ignore[no-untyped-def]
    """One row of a vector of channels: every row of the cotangent whose windows saw it."""
    row, wo, ho, py, dy, columns, taps, step = sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8]
    filters, rows, pieces, lanes = sizes[9], sizes[10], sizes[11], sizes[14]
    made[:row] = 0
    first, end = max(0, (y + py - ho + dy) // dy), min(rows, (y + py) // dy + 1)
    if first >= end:
        return
    for t in range(pieces):
        factors = weights[(t * rows + first) * filters * taps * lanes :]
        for at in range(0, wo, columns):
            way = spread if at + columns <= wo else last
            to = at * lanes + t * taps * step
            begin = start + (y + py) * wo + at
            run(way, made[to:], g, begin, inner[first * filters :], (end - first) * filters, inner, factors)
