"""Winograd's convolution for stride 1: small tiles of the output from fewer products than taps times pixels.

    out tile = outputs @ (sum over c of (taps @ w @ taps^T) * (inputs @ x tile @ inputs^T)) @ outputs^T

What stands between the transforms (`winograd_matrices`) is, for each of their points, a matrix product over channels, made
by `vector.Block`. The derivative by the input is the same with the window turned round and channels for filters. The
derivative by the weight turns the trilinear form: cotangent tiles go through outputs^T, the sum runs over tiles, and taps^T
comes last, once.

Lanes are channels, then filters: so transforms are additions of whole vectors, whatever the tiles' size, and images are
turned round (`vector_nested.Transpose`) as they are read and written. Tiles are taken together by some dozens, so that their
points stay in the cache; unless the window's points are few, they are made anew for each such chunk, which costs less than
to fetch them. An image is cut into regions, each with its own kind of tiles, so that little hangs over its edge.

Every number is the sum of its products in the same order whatever the number of threads.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted, kernel, prange
from minigrad.kernels.conv_winograd_weight import by_weight
from minigrad.kernels.frames import Array, Geometry, Pair, not_finite, room_for
from minigrad.kernels.vector import Block, machine_lanes, registers, run
from minigrad.kernels.vector_nested import Nested
from minigrad.kernels.winograd_matrices import transforms
from minigrad.kernels.winograd_points import (
    Tiles,
    distance,
    size_of_chunks,
    tiles_of,
    to_points,
    vectors_for,
)
from minigrad.kernels.winograd_tiles import Axis, regions, share, tiles_together

__all__ = ["by_input", "by_weight", "forward"]

#: Fewer tiles than these for each thread are not shared out, but the planes of the result are.
_APART = 32
#: Up to so many bytes the window's points are kept, if they are used again.
_READY = 1 << 23


# ------------------------------------------------------------------------------------------------ forward, by input


class Windows(NamedTuple):
    """How a window's taps become points, and tiles of points become a result."""

    outputs: int  # of a group
    planes: int  # of the result, all groups together
    height: int
    width: int
    first_y: int  # the place of the first tile in the result
    first_x: int
    step_y: int  # from one tile to the next
    step_x: int
    taps: int
    start: int  # the first tap, from which `steps` go on: the last one if the window is turned round
    across: bool  # whether the result's planes are the second axis of the weights
    vector: int  # planes of the result that are calculated together
    blocks: int
    together: int  # tiles in a micro-kernel
    lanes: int
    turn: Any
    nested: Any  # taps to points
    steps: Array
    strides: Array
    begin: Any  # the sum over the first chunk of channels
    go_on: Any  # over the others
    inner: Array
    factors: int  # numbers from one point of the window to the next
    sums: int  # and from one of the result
    back: Any  # points to outputs
    back_steps: Array
    back_strides: Array


@kernel(parallel=True)
def _correlate(out, source, weights, ready, bias, points, scratch, doubt, apart, groups, rows, s, w):  # type: ignore[no-untyped-def]
    for part in prange(len(doubt)):
        _share_of_tiles(
            np.int64(part), out, source, weights, ready, bias, points[part], scratch[part], doubt, apart, groups, rows, s, w
        )


@kernel
def _share_of_tiles(part, out, source, weights, ready, bias, points, scratch, doubt, apart, groups, rows, s, w):  # type: ignore[no-untyped-def]
    """One thread's rows of tiles; or all of them, for its own planes of the result, where there are too few tiles to share."""
    own, parts, first, end = part, len(doubt), 0, s.images * s.rows
    if apart:
        first, end = end * part // parts, end * (part + 1) // parts
        part, parts = 0, 1
    for group in range(groups):
        for row in range(first, end, rows):
            some = min(rows, end - row)
            to_points(0, 1, points, scratch, source, row, some, group, s)
            doubt[own] += _multiply(part, parts, out, weights, ready, bias, points, scratch, row, some, group, s, w)


@kernel
def _multiply(part, parts, out, weights, ready, bias, points, scratch, row, rows, group, s, w):  # type: ignore[no-untyped-def]
    """One thread's part of the products, and the way back: of blocks of planes, and of rows if blocks are few."""
    pieces = parts if w.blocks % parts else 1
    sums = scratch[: s.points * w.sums]
    own = scratch[len(sums) :][: s.points * w.factors]
    turned = scratch[len(sums) + len(own) :]
    none, doubt = np.zeros(1, np.int64), 0.0
    units = w.blocks * pieces
    for unit in range(units * part // parts, units * (part + 1) // parts):
        block, piece = unit // pieces, unit % pieces
        first, last = rows * piece // pieces, rows * (piece + 1) // pieces
        for c in range(s.chunks):
            some = min(s.chunk, s.channels - c * s.chunk)
            if len(ready):
                factors = ready[group, block * s.chunks + c]
            else:
                factors = own
                _factors(own, turned, weights, block, c, some, group, s, w)
            for p in range(s.points):
                kernel = w.go_on if c else w.begin
                factor = factors[p * w.factors :][: s.chunk * w.vector].reshape(s.chunk, w.vector)
                for t in range(0, (last - first) * s.columns, w.together):
                    to = sums[p * w.sums + t * w.vector :][: w.together * w.vector]
                    at = (c * s.points + p) * s.apart + (first * s.columns + t) * s.chunk
                    run(kernel, to, points, at, w.inner, some, none, factor)
        shift = bias[group, block * w.vector :]
        for i in range(first, last):
            doubt += _write(out, sums, turned, shift, row + i, (i - first) * s.columns, block, group, s, w)
    return doubt


@kernel(parallel=True)
def _prepare(ready, weights, scratch, s, w):  # type: ignore[no-untyped-def]
    """The points of all windows, which are few and used again."""
    parts, groups, each = len(scratch), len(ready), ready.shape[1]
    for part in prange(parts):
        for unit in range(groups * each * part // parts, groups * each * (part + 1) // parts):
            group, block, c = unit // each, unit % each // s.chunks, unit % s.chunks
            some = min(s.chunk, s.channels - c * s.chunk)
            _factors(ready[group, unit % each], scratch[part], weights, block, c, some, group, s, w)


@kernel
def _factors(factors, turned, weights, block, c, some, group, s, w):  # type: ignore[no-untyped-def]
    """The points of some windows: of a block of the result's planes and a chunk of channels."""
    outs = min(w.vector, w.outputs - block * w.vector)
    if outs < w.vector:
        turned[: some * w.taps * w.vector] = 0
    if w.across:
        squares = np.array([w.taps, w.vector, w.taps])
        for i in range(some):
            at = ((group * s.channels + c * s.chunk + i) * w.outputs + block * w.vector) * w.taps
            run(w.turn, turned[i * w.taps * w.vector :], weights, at, squares, outs, squares, turned)
    else:
        squares = np.array([s.channels * w.taps, w.vector, some * w.taps])
        at = ((group * w.outputs + block * w.vector) * s.channels + c * s.chunk) * w.taps
        run(w.turn, turned, weights, at, squares, outs, squares, turned)
    for i in range(some):
        at = (i * w.taps + w.start) * w.vector
        run(w.nested, factors[i * w.vector :], turned, at, w.steps, w.vector // w.lanes, w.strides, turned)


@kernel
def _write(out, sums, lines, shift, row, tile, block, group, s, w):  # type: ignore[no-untyped-def]
    """A row of tiles from their points, turned into the result's planes."""
    for tx in range(s.columns):
        to, at = lines[tx * w.step_x * w.vector :], (tile + tx) * w.vector
        run(w.back, to, sums, at, w.back_steps, w.vector // w.lanes, w.back_strides, shift)
    outs = min(w.vector, w.outputs - block * w.vector)
    n, ty = row // s.rows, row % s.rows
    pixels = min(s.columns * w.step_x, w.width - w.first_x)
    squares = np.array([w.vector, w.height * w.width, outs])
    plane = n * w.planes + group * w.outputs + block * w.vector
    for i in range(w.step_y):
        y = w.first_y + ty * w.step_y + i
        if y < w.height:
            to, at = out[(plane * w.height + y) * w.width + w.first_x :], i * s.columns * w.step_x * w.vector
            run(w.turn, to, lines, at, squares, pixels, squares, lines)
    return not_finite(lines[: w.step_y * s.columns * w.step_x * w.vector])


def forward(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> bool:
    """Cross-correlation, as `conv_direct.forward`; whether the result is finite, without which it may not be right."""
    top, left = geometry.padding
    return _regions(out, x, w, bias, (-top, -left), geometry.groups, across=False)


def by_input(dx: Array, g: Array, w: Array, geometry: Geometry) -> bool:
    """The derivative by the input: a cross-correlation of the cotangent with the window turned round."""
    top, left = (padding - reach + 1 for padding, reach in zip(geometry.padding, w.shape[2:], strict=True))
    return _regions(dx, g, w, None, (top, left), geometry.groups, across=True)


def _regions(out: Array, source: Array, w: Array, bias: Array | None, origin: Pair, groups: int, across: bool) -> bool:
    source, w = np.ascontiguousarray(source), np.ascontiguousarray(w)
    inputs, outputs = source.shape[1] // groups, out.shape[1] // groups
    window, parts = (w.shape[2], w.shape[3]), get_num_threads()
    doubt = np.zeros(parts, out.dtype)
    for down, along in regions(out.shape[2:], window, len(out)):
        rows = len(out) * down.tiles
        apart = rows >= parts and rows * along.tiles >= _APART * parts
        s, many, v = _correlation(
            parts if apart else 1, source.shape, out.shape, inputs, outputs, window, down, along, origin, across,
            out.dtype, machine_lanes(), interpreted(),
        )  # fmt: skip
        shift = np.zeros((groups, v.blocks * v.vector), out.dtype)
        if bias is not None:
            shift[:, :outputs] = bias.reshape(groups, outputs)
        points = room_for((parts, s.chunks * s.points * s.apart + v.together * s.chunk), out.dtype)
        lines = s.reach_y * ((s.columns - 1) * s.step_x + s.reach_x) * s.chunk
        turned = max(s.chunk * v.taps, v.step_y * v.step_x * s.columns) * v.vector
        scratch = room_for((parts, max(lines, s.points * (v.sums + v.factors) + turned)), out.dtype)
        units = v.blocks * s.chunks
        again = rows > many and groups * units * s.points * v.factors * out.itemsize <= _READY
        ready = room_for((groups, units, s.points * v.factors) if again else (0, 0, 0), out.dtype)
        if again:
            _prepare(ready, w.reshape(-1), scratch, s, v)
        flat = out.reshape(-1), source.reshape(-1), w.reshape(-1)
        _correlate(*flat, ready, shift, points, scratch, doubt, apart, groups, many, s, v)
    return bool(np.isfinite(doubt).all())


@functools.lru_cache(maxsize=1024)
def _correlation(
    parts: int,  # into which the rows of tiles are cut at first
    source: tuple[int, ...],
    out: tuple[int, ...],
    inputs: int,
    outputs: int,
    window: Pair,
    down: Axis,
    along: Axis,
    origin: Pair,
    across: bool,
    dtype: np.dtype[Any],
    machine: int,
    plain: bool,  # whether micro-kernels are Python, which their handles are then
) -> tuple[Tiles, int, Windows]:
    """The tables for one region, and how many rows of tiles are taken together."""
    y, x = transforms(down.step, window[0]), transforms(along.step, window[1])
    points, lanes = y.products * x.products, machine * 4 // dtype.itemsize
    rows = share(-(-source[0] * down.tiles // parts), max(1, tiles_together(points) // along.tiles))
    vectors = vectors_for(outputs, lanes)
    vector, tiles = vectors * lanes, rows * along.tiles
    together = share(tiles, (registers() - 3 - vectors) // vectors)
    room = -(-tiles // together) * together
    s = tiles_of(source, inputs, down, along, (y.inputs, x.inputs), origin, size_of_chunks(inputs, lanes), room, lanes, dtype)
    taps = window[0] * window[1]
    turned = -1 if across else 1
    block = Block(1, together, s.chunk, lanes, vectors, dtype.name)
    q, t = x.products, window[1] * vector * turned
    factors, sums = distance(s.chunk * vector, lanes), distance(room * vector, lanes)
    w = Windows(
        outputs, out[1], out[2], out[3], down.first, along.first, down.step, along.step,
        taps, taps - 1 if across else 0, across, vector, -(-outputs // vector), together, lanes, s.turn,
        Nested(y.taps, x.taps, lanes, dtype.name).handle,
        np.array([t, vector * turned, lanes]), np.array([q * factors, factors, lanes]),
        block._replace(adds=False).handle, block.handle, np.arange(s.chunk), factors, sums,
        Nested(y.outputs, x.outputs, lanes, dtype.name, shifted=True).handle,
        np.array([q * sums, sums, lanes]), np.array([along.tiles * along.step * vector, vector, lanes]),
    )  # fmt: skip
    return s, rows, w
