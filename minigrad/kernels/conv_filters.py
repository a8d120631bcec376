"""Convolution with filters along a vector's lanes (`vector.Block`): tiles of output pixels, each against many filters.

The way for many channels: nothing is wasted at the borders of images, and a weight is loaded once for a whole tile. What
is calculated filter by filter must be turned round on its way into (N, F, H, W), which costs where filters are few.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.frames import Array, Frame, Geometry, Pair, frame_of, lay, offsets, shares
from minigrad.kernels.turning import turn
from minigrad.kernels.vector import Block, machine_lanes, registers, run

__all__ = ["correlate", "weight"]

#: So many output pixels at least are summed in one run of a block by the weight's gradient.
_LONG = 1024
#: Bytes of results that wait to be turned round together: planes are then written in long pieces.
_BAND = 1 << 15


def correlate(
    out: Array,
    source: Array,
    taps: Array,
    bias: Array,
    inner: Array,
    frame: Frame,
    count: Pair,
    first: Pair,
    spacing: Pair,
    step: Pair,
) -> None:
    """``out[n, f, first + spacing * t] = bias[f] + sum over k of taps[k, f] * source[n, step * t + inner[k]]``, framed.

    ``taps`` is (groups, K, outputs); t runs over `count` rows and columns.
    """
    groups, _, outputs = taps.shape
    block = _block_of_pixels(outputs, count, step[1], out.dtype, machine_lanes())
    blocks = -(-outputs // block.width)
    weights = np.zeros((groups, blocks, len(inner), block.width), out.dtype)
    for b in range(blocks):
        part = taps[:, :, b * block.width : (b + 1) * block.width]
        weights[:, b, :, : part.shape[2]] = part
    offsets = np.zeros((groups, blocks * block.width), out.dtype)
    offsets[:, :outputs] = bias.reshape(groups, outputs)
    _pixels(
        out, source, weights, offsets.reshape(groups, blocks, -1), inner, shares(len(out) * groups * blocks),
        *frame, *count, *first, *spacing, step[0], step[1], block.rows, block.columns, block.handle,
    )  # fmt: skip


def weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight: each thread sums over its images, then the threads' sums are added in turn."""
    (sy, sx), padding, (dy, dx), groups = geometry
    filters, channels, r, s = dw.shape
    frame = frame_of(x, padding)
    pixels = g.shape[2] * g.shape[3]
    block = _block_of_taps(filters // groups, s, dx, dw.dtype, machine_lanes())
    lines = offsets(channels, np.arange(r) * dy, np.arange(s) * dx if block.columns == 1 else np.zeros(1, int), frame)
    lines = np.concatenate([lines, np.zeros(-len(lines) % block.rows, np.int64)])  # the last tile may hold idle rows
    together = max(1, min(-(-_LONG // max(pixels, 1)), len(x)))
    image = frame.height * frame.width * x.shape[1]
    positions = offsets(1, np.arange(g.shape[2]) * sy, np.arange(g.shape[3]) * sx, frame)
    inner = (np.arange(together)[:, None] * image + positions).ravel()
    parts = shares(len(x))
    blocks = -(-(filters // groups) // block.width)
    total = np.zeros((len(parts) - 1, groups, blocks, len(lines) * block.columns, block.width), dw.dtype)
    _sum_weight(total, x, g, parts, inner, lines, together, *frame, block.rows, block.handle)
    sums = total.sum(axis=0)[:, :, : channels * r * s]  # (groups, blocks, K, width)
    wide = sums.transpose(0, 1, 3, 2).reshape(groups, blocks * block.width, channels * r * s)
    dw[...] = wide[:, : filters // groups].reshape(dw.shape)


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
def _pixels(  # type: ignore[no-untyped-def]
    out, source, weights, offsets, inner, shares, fh, fw, top, left, ho, wo, ay, ax, ty, tx, sy, sx, rows, columns, block
):
    groups, blocks, taps, width = weights.shape
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
            begun[:] = offsets[group, b]
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
                            run(block, here, frame, start + x * sx, inner, taps, starts, weights[group, b])
                        else:
                            tile[:] = begun
                            run(block, tile, frame, start + x * sx, inner, taps, starts, weights[group, b])
                            for r in range(rows):
                                sums[at + r * wo : at + r * wo + columns] = tile[r * columns : (r + 1) * columns]
                bottom_row = min(ho, y + band * rows)
                _store(out, n, first, some, sums, top_row, bottom_row, wo, ay, ax, ty, tx)


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
def _sum_weight(total, x, g, shares, inner, lines, together, fh, fw, top, left, rows, block):  # type: ignore[no-untyped-def]
    _, groups, blocks, taps, width = total.shape
    pixels = g.shape[2] * g.shape[3]
    filters, channels = g.shape[1] // groups, x.shape[1] // groups
    tile = rows * (taps // len(lines))
    for part in prange(len(shares) - 1):
        image = x.shape[1] * fh * fw
        frames = np.zeros(together * image, x.dtype)
        turned = np.zeros((together * pixels, width), g.dtype)
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


@kernel
def _turn(turned, planes):  # type: ignore[no-untyped-def]
    """(F, Ho, Wo) -> (Ho * Wo, F)."""
    filters, height, width = planes.shape
    for f in range(filters):
        for y in range(height):
            line = planes[f, y]
            for x in range(width):
                turned[y * width + x, f] = line[x]
