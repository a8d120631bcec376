"""Convolution with filters along a vector's lanes (`vector.Block`): tiles of output pixels, each against many filters.

The way for many channels: nothing is wasted at the borders of images, and a weight is loaded once for a whole tile. What
is calculated filter by filter must be turned round on its way into (N, F, H, W), which costs where filters are few.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, kernel, prange
from minigrad.kernels.frames import Array, Frame, Geometry, Pair, Places, lay, offsets, shares
from minigrad.kernels.memory import empty
from minigrad.kernels.packing import Packing, Source, pack
from minigrad.kernels.turning import turn
from minigrad.kernels.vector import Block, machine_lanes, registers, run

__all__ = ["Correlation", "weight"]

Shape = tuple[int, ...]
Type = np.dtype[Any]

#: So many output pixels at least are summed in one run of a block by the weight's gradient.
_LONG = 1024
#: So many taps at most are summed in one chain by the other two.
_CHAIN = 512
#: Bytes of results that wait to be turned round together: planes are then written in long pieces.
_BAND = 1 << 15


class Correlation(NamedTuple):
    """``out[n, f, first + spacing * t] = bias[f] + sum over k of weights[k, f] * source[n, step * t + inner[k]]``, framed."""

    block: Block
    packing: Packing
    inner: Array
    parts: Array
    sizes: Array

    @classmethod
    def of(cls, out: Shape, x: Shape, source: Source, inner: Array, places: Places, dtype: Type, lanes: int) -> Correlation:
        """For arrays of these shapes."""
        frame, count, first, spacing, step = places
        block = _block_of_pixels(source.outputs, count, step[1], dtype, lanes)
        packing = Packing.of(source, block.width)
        parts = shares(out[0] * packing.shape[0] * packing.shape[1])
        sizes = np.array([*frame, *count, *first, *spacing, *step, block.rows, block.columns])
        return cls(block, packing, inner, parts, sizes)

    def run(self, out: Array, source: Array, w: Array, bias: Array) -> None:
        """Run it; all arrays in row order."""
        _pixels(out, source, pack(w, self.packing), bias, self.inner, self.parts, self.sizes, self.block.handle)


def weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight: each thread sums over its images, then the threads' sums are added in turn."""
    plan = _weight_plan(dw.shape, g.shape, x.shape, geometry, dw.dtype, machine_lanes(), get_num_threads())
    total = empty(plan.total, dw.dtype)
    _sum_weight(total, x, g, plan.parts, plan.inner, plan.lines, plan.sizes, plan.block.handle)
    _add_up(dw.reshape(len(dw), -1), total)


class _Plan(NamedTuple):
    """Tables of the weight's gradient: places of pixels and of lines of taps; images laid out together, and the frame."""

    block: Block
    total: tuple[int, int, int, int, int]  # threads, groups, blocks of filters, taps, filters
    parts: Array
    inner: Array
    lines: Array
    sizes: Array


@functools.lru_cache(maxsize=256)
def _weight_plan(dw: Shape, g: Shape, x: Shape, geometry: Geometry, dtype: Type, machine: int, threads: int) -> _Plan:
    (sy, sx), padding, (dy, dx), groups = geometry
    filters, channels, r, s = dw
    frame = Frame(x[2] + 2 * padding[0], x[3] + 2 * padding[1], *padding)
    block = _block_of_taps(filters // groups, s, dx, dtype, machine)
    lines = offsets(channels, np.arange(r) * dy, np.arange(s) * dx if block.columns == 1 else np.zeros(1, int), frame)
    lines = np.concatenate([lines, np.zeros(-len(lines) % block.rows, np.int64)])  # the last tile may hold idle rows
    together = max(1, min(-(-_LONG // (g[2] * g[3])), x[0]))
    positions = offsets(1, np.arange(g[2]) * sy, np.arange(g[3]) * sx, frame)
    inner = (np.arange(together)[:, None] * (frame.height * frame.width * x[1]) + positions).ravel()
    parts = shares(x[0])
    total = (len(parts) - 1, groups, -(-(filters // groups) // block.width), len(lines) * block.columns, block.width)
    return _Plan(block, total, parts, inner, lines, np.array([together, *frame, block.rows]))


def _vectors(outputs: int, dtype: np.dtype[Any], machine: int) -> tuple[int, int]:
    """Lanes and vectors for so many filters: vectors as short as still hold them, two where one is not enough."""
    lanes = machine * 4 // dtype.itemsize
    while lanes > 4 and outputs <= lanes // 2:
        lanes //= 2
    return lanes, 1 if outputs <= lanes else 2


def _tile_size(vectors: int) -> int:
    """How many scalars a tile may have: its accumulators, its vectors and one scalar fit the registers."""
    return (registers() - 3 - vectors) // vectors


@functools.lru_cache(maxsize=1024)
def _block_of_pixels(outputs: int, count: Pair, step: int, dtype: np.dtype[Any], machine: int) -> Block:
    """The tile with which the fewest multiply-adds are made in vain, at the ends of rows and at the bottom.

    What a tile loads for each of its sums costs about as much as one multiply-add and a half.
    """
    lanes, vectors = _vectors(outputs, dtype, machine)
    most = _tile_size(vectors)

    def cycles(rows: int, columns: int) -> float:
        return -(-count[0] // rows) * -(-count[1] // columns) * (rows * columns * vectors + 1.5)

    widths = range(max(1, min(most, count[1]) // 3), min(most, count[1]) + 1)
    sizes = [(max(1, min(most // columns, count[0])), columns) for columns in widths]
    rows, columns = min(sizes, key=lambda size: cycles(*size))
    return Block(rows, columns, step, lanes, vectors, dtype.name)


@functools.lru_cache(maxsize=1024)
def _block_of_taps(filters: int, width: int, dilation: int, dtype: np.dtype[Any], machine: int) -> Block:
    """A tile of whole rows of a window, or of single taps where a row is too long."""
    lanes, vectors = _vectors(filters, dtype, machine)
    most = _tile_size(vectors)
    rows, columns = (most // width, width) if width <= most else (min(most, 8), 1)
    return Block(rows, columns, dilation, lanes, vectors, dtype.name)


@kernel(parallel=True)
def _pixels(out, source, weights, bias, inner, shares, sizes, block):  # type: ignore[no-untyped-def]
    fh, fw, top, left, ho, wo = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    ay, ax, ty, tx, sy, sx, rows, columns = sizes[6], sizes[7], sizes[8], sizes[9], sizes[10], sizes[11], sizes[12], sizes[13]
    groups, blocks, _, width = weights.shape
    outputs, channels = out.shape[1] // groups, source.shape[1] // groups
    band = max(1, _BAND // (rows * wo * width * source.itemsize))  # rows of tiles whose results are kept together
    for part in prange(len(shares) - 1):
        frame = np.zeros(source.shape[1] * fh * fw, source.dtype)
        begun = np.empty((rows * columns, width), source.dtype)
        tile, sums = np.empty((rows * columns, width), source.dtype), np.empty((band * rows * wo, width), source.dtype)
        starts = np.empty(rows, np.int64)
        image = -1
        for unit in range(shares[part], shares[part + 1]):
            n, group, b = unit // (groups * blocks), unit // blocks % groups, unit % blocks
            if n != image:
                lay(frame, 0, fh, fw, top, left, source[n])
                image = n
            start, first, some = group * channels * fh * fw, group * outputs + b * width, min(width, outputs - b * width)
            begun[:] = 0
            for f in range(some):
                begun[:, f] = bias[first + f]
            for y in range(0, ho, band * rows):
                top_row = min(y, ho - rows)
                for down in range(y, min(ho, y + band * rows), rows):
                    down = min(down, ho - rows)  # the last tile overlaps the one before it
                    for r in range(rows):
                        starts[r] = (down + r) * sy * fw
                    for x in range(0, wo, columns):
                        x = min(x, wo - columns)
                        at = (down - top_row) * wo + x
                        if rows == 1:
                            here = sums[at : at + columns]
                            here[:] = begun
                            _add_taps(block, here, frame, start + x * sx, inner, starts, weights[group, b])
                        else:
                            tile[:] = begun
                            _add_taps(block, tile, frame, start + x * sx, inner, starts, weights[group, b])
                            for r in range(rows):
                                sums[at + r * wo : at + r * wo + columns] = tile[r * columns : (r + 1) * columns]
                bottom_row = min(ho, y + band * rows)
                _store(out, n, first, some, sums, top_row, bottom_row, wo, ay, ax, ty, tx)


@kernel
def _add_taps(block, tile, frame, start, inner, starts, weights):  # type: ignore[no-untyped-def]
    """A chunk of taps is summed by itself before it is added: a long chain of sums rounds more."""
    for k in range(0, len(inner), _CHAIN):
        run(block, tile, frame, start, inner[k:], min(_CHAIN, len(inner) - k), starts, weights[k:])


@kernel
def _store(out, n, first, some, sums, top, bottom, wo, ay, ax, ty, tx):  # type: ignore[no-untyped-def]
    """Rows of pixels, filter by filter, into their planes: in one piece where planes have no other pixels between them."""
    _, filters, height, width = out.shape
    planes, flat = out.reshape(-1), sums.reshape(-1)
    plane = (n * filters + first) * height * width
    if tx == 1 and ty == 1:
        turn(planes, plane + top * width, height * width, flat, 0, sums.shape[1], (bottom - top) * wo, some)
        return
    for y in range(top, bottom):
        place = plane + (ay + y * ty) * width + ax
        _spread(planes, place, height * width, tx, sums[(y - top) * wo : (y - top + 1) * wo], some)


@kernel
def _spread(planes, place, plane, step, tile, filters):  # type: ignore[no-untyped-def]
    """(pixels, filters) into planes, pixels `step` apart."""
    for f in range(filters):
        at = np.uint64(place + f * plane)
        for c in range(len(tile)):
            planes[at] = tile[c, f]
            at += np.uint64(step)


@kernel(parallel=True, work=1)
def _sum_weight(total, x, g, shares, inner, lines, sizes, block):  # type: ignore[no-untyped-def]
    together, fh, fw, top, left, rows = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    _, groups, blocks, taps, width = total.shape
    pixels = g.shape[2] * g.shape[3]
    filters, channels = g.shape[1] // groups, x.shape[1] // groups
    tile = rows * (taps // len(lines))
    for part in prange(len(shares) - 1):
        image = x.shape[1] * fh * fw
        frames = np.zeros(together * image, x.dtype)
        turned = np.zeros((together * pixels, width), g.dtype)
        total[part] = 0
        for n in range(shares[part], shares[part + 1], together):
            images = min(together, shares[part + 1] - n)
            for i in range(images):
                lay(frames, i * image, fh, fw, top, left, x[n + i])
            for group in range(groups):
                for b in range(blocks):
                    first = group * filters + b * width
                    some = min(width, filters - b * width)
                    for i in range(images):
                        _turn(turned[i * pixels : (i + 1) * pixels], g[n + i, first : first + some])
                    for f in range(some, width):
                        turned[:, f] = 0
                    start = group * channels * fh * fw
                    for t in range(len(lines) // rows):
                        sums = total[part, group, b, t * tile : (t + 1) * tile]
                        some_lines = lines[t * rows : (t + 1) * rows]
                        run(block, sums, frames, start, inner, images * pixels, some_lines, turned)


@kernel(parallel=True)
def _add_up(dw, total):  # type: ignore[no-untyped-def]
    """The threads' sums, and the result in its own order: (F, C / groups * R * S)."""
    threads, groups, blocks, _, width = total.shape
    outputs = len(dw) // groups
    for unit in prange(groups * blocks):
        group, b = np.int64(unit) // blocks, np.int64(unit) % blocks
        first = group * outputs + b * width
        for k in range(dw.shape[1]):
            for f in range(min(width, outputs - b * width)):
                dw[first + f, k] = total[0, group, b, k, f]
                for part in range(1, threads):
                    dw[first + f, k] += total[part, group, b, k, f]


@kernel
def _turn(turned, planes):  # type: ignore[no-untyped-def]
    """(F, Ho, Wo) -> (Ho * Wo, F)."""
    filters, height, width = planes.shape
    for f in range(filters):
        for y in range(height):
            line = planes[f, y]
            for x in range(width):
                turned[y * width + x, f] = line[x]
