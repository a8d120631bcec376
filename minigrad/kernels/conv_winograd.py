"""Winograd's convolution for stride 1: small tiles of the output from fewer products than taps times pixels.

    out tile = outputs @ (sum over c of (taps @ w @ taps^T) * (inputs @ x tile @ inputs^T)) @ outputs^T

What stands between the transforms (`winograd_matrices`) is, for each of their points, a matrix product over channels, made
by `vector.Block`. The derivative by the input is the same with the window turned round and channels for filters. The
derivative by the weight turns the trilinear form: cotangent tiles go through outputs^T, the sum runs over tiles, and taps^T
comes last, once.

Lanes are channels, then filters: so transforms are additions of whole vectors, whatever the tiles' size, and images are
turned round (`vector_turn.Turn`) as they are read and written. Tiles are taken together by some dozens, so that their
points stay in the cache; the window's points are made anew for each such chunk, which costs less than to fetch them. An image is
cut into regions, each with its own kind of tiles, so that little hangs over its edge.

Every number is the sum of its products in the same order whatever the number of threads.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted, kernel, prange
from minigrad.kernels.frames import Array, Geometry, Pair
from minigrad.kernels.memory import empty
from minigrad.kernels.vector import Block, machine_lanes, registers, run
from minigrad.kernels.vector_turn import Nested, Turn
from minigrad.kernels.winograd_matrices import SIZES, Matrix, transforms, transposed

__all__ = ["by_input", "by_weight", "forward"]

#: So many products at most are summed in one run before they are added to the others, for the sake of accuracy.
_CHUNK = 48
#: Fewer tiles than these for each thread are not shared out, but the planes of the result are.
_APART = 32
#: Up to so many bytes the window's points are kept, if they are used again.
_READY = 1 << 23
#: At least and at most so many bytes the points of inputs and cotangents take in the derivative by the weight: the last cache
#: should hold them, and they should be no less than the sums to which their products are added.
_POINTS = 1 << 22, 1 << 24


class Spread(NamedTuple):
    """How images become points of tiles: (N, C, H, W) -> (chunks of channels, points, tiles, channels of a chunk)."""

    images: int
    planes: int  # of an image, all groups together
    channels: int  # of a group
    height: int
    width: int
    rows: int  # of tiles in an image
    columns: int
    step_y: int  # from one tile to the next
    step_x: int
    reach_y: int  # of a tile
    reach_x: int
    first_y: int  # the place of the first tile in the image; negative in the padding
    first_x: int
    chunk: int
    chunks: int
    points: int
    room: int  # tiles for which there is place
    apart: int  # numbers from one point to the next
    lanes: int
    turn: Any
    nested: Any
    steps: Array  # of the nested map in the lines
    strides: Array  # and in the points


@kernel
def spread(part, parts, points, lines, source, row, rows, group, s):  # type: ignore[no-untyped-def]
    """One thread's part of so many rows of tiles from `row` on, counted through all images."""
    across = (s.columns - 1) * s.step_x + s.reach_x
    line = across * s.chunk
    left, right = max(0, -s.first_x), min(across, s.width - s.first_x)
    lines[: s.reach_y * line] = 0
    squares = np.array([s.height * s.width, s.chunk, right - left])
    units = rows * s.chunks
    for unit in range(units * part // parts, units * (part + 1) // parts):
        n, ty = (row + unit // s.chunks) // s.rows, (row + unit // s.chunks) % s.rows
        piece, tile = unit % s.chunks, unit // s.chunks * s.columns
        some = min(s.chunk, s.channels - piece * s.chunk)
        plane = n * s.planes + group * s.channels + piece * s.chunk
        for i in range(s.reach_y):
            y = s.first_y + ty * s.step_y + i
            if y < 0 or y >= s.height:
                lines[i * line : (i + 1) * line] = 0
            elif right > left:
                at = (plane * s.height + y) * s.width + s.first_x + left
                run(s.turn, lines[i * line + left * s.chunk :], source, at, squares, some, squares, lines)
        for tx in range(s.columns):
            to = points[piece * s.points * s.apart + (tile + tx) * s.chunk :]
            run(s.nested, to, lines, tx * s.step_x * s.chunk, s.steps, (some + s.lanes - 1) // s.lanes, s.strides, lines)


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
            spread(0, 1, points, scratch, source, row, some, group, s)
            doubt[own] += _multiply(part, parts, out, weights, ready, bias, points, scratch, row, some, group, s, w)


@kernel
def _multiply(part, parts, out, weights, ready, bias, points, scratch, row, rows, group, s, w):  # type: ignore[no-untyped-def]
    """One thread's part of the products, and the way back: blocks of the result's planes, or of rows of tiles if blocks are few."""
    pieces = parts if w.blocks % parts else 1
    sums = scratch[: s.points * w.sums]
    own = scratch[len(sums) :][: s.points * w.factors]
    turned = scratch[len(sums) + len(own) :]
    none, doubt = np.zeros(1, np.int64), out[0] * 0
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


@kernel
def not_finite(numbers):  # type: ignore[no-untyped-def]
    """0, or NaN if there is an Inf or NaN among the numbers."""
    total = numbers[0] * 0
    for i in range(len(numbers)):
        total += numbers[i] * 0
    return total


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
        points = _room((parts, s.chunks * s.points * s.apart + v.together * s.chunk), out.dtype)
        lines = s.reach_y * ((s.columns - 1) * s.step_x + s.reach_x) * s.chunk
        turned = max(s.chunk * v.taps, v.step_y * v.step_x * s.columns) * v.vector
        scratch = _room((parts, max(lines, s.points * (v.sums + v.factors) + turned)), out.dtype)
        units = v.blocks * s.chunks
        again = rows > many and groups * units * s.points * v.factors * out.itemsize <= _READY
        ready = _room((groups, units, s.points * v.factors) if again else (0, 0, 0), out.dtype)
        if again:
            _prepare(ready, w.reshape(-1), scratch, s, v)
        flat = out.reshape(-1), source.reshape(-1), w.reshape(-1)
        _correlate(*flat, ready, shift, points, scratch, doubt, apart, groups, many, s, v)
    return bool(np.isfinite(doubt).all())


# ------------------------------------------------------------------------------------------------ by weight


class Products(NamedTuple):
    """How points of inputs and of cotangents are summed over tiles, and become a window's derivative."""

    filters: int  # of a group
    taps: int
    vector: int  # filters that are calculated together
    blocks: int
    together: int  # channels in a micro-kernel
    begin: Any
    go_on: Any
    inner: Array
    cotangents: int  # numbers from one point to the next
    apart: int  # and of the sums
    back: Any
    back_steps: Array
    back_strides: Array


@kernel(parallel=True, work=1)
def _sum_weight(dw, x, g, totals, x_points, g_points, scratch, doubt, group, rows, adds, s, c, p):  # type: ignore[no-untyped-def]
    end, parts = s.images * s.rows, len(doubt)
    for row in range(0, end, rows):
        some = min(rows, end - row)
        for part in prange(parts):
            spread(np.int64(part), parts, x_points, scratch[part], x, row, some, group, s)
            spread(np.int64(part), parts, g_points, scratch[part], g, row, some, group, c)
        for part in prange(parts):
            _sums(np.int64(part), dw, totals, x_points, g_points, scratch[part], doubt, group, row, some, adds, s, p)


@kernel
def _sums(part, dw, totals, x_points, g_points, scratch, doubt, group, row, rows, adds, s, p):  # type: ignore[no-untyped-def]
    """One thread's part of the products of points: some blocks of filters with some chunks of channels."""
    none, units, tiles, parts = np.zeros(1, np.int64), p.blocks * s.chunks, rows * s.columns, len(doubt)
    for unit in range(units * part // parts, units * (part + 1) // parts):
        block, c = unit // s.chunks, unit % s.chunks
        some = min(s.chunk, s.channels - c * s.chunk)
        total = totals[unit if len(totals) == units else part]
        for q in range(s.points):
            for t in range(0, tiles, len(p.inner)):
                count = min(len(p.inner), tiles - t)
                at = (block * s.points + q) * p.cotangents + t * p.vector
                factor = g_points[at:][: count * p.vector].reshape(count, p.vector)
                kernel = p.go_on if row + t else p.begin
                at = (c * s.points + q) * s.apart + t * s.chunk
                for k in range(0, some, p.together):
                    to = total[q * p.apart + k * p.vector :][: p.together * p.vector]
                    run(kernel, to, x_points, at + k, p.inner, count, none, factor)
        if row + rows == s.images * s.rows:
            doubt[part] += _write_weight(dw, total, scratch, block, c, group, adds, s, p)


@kernel
def _write_weight(dw, total, scratch, block, c, group, adds, s, p):  # type: ignore[no-untyped-def]
    """Sums of points become taps, filter by filter; for all regions but the first they are added."""
    some = min(s.chunk, s.channels - c * s.chunk)
    outs, length = min(p.vector, p.filters - block * p.vector), some * p.taps
    for k in range(some):
        to = scratch[k * p.taps * p.vector :]
        run(p.back, to, total, k * p.vector, p.back_steps, p.vector // s.lanes, p.back_strides, scratch)
    first = ((group * p.filters + block * p.vector) * s.channels + c * s.chunk) * p.taps
    each = s.channels * p.taps
    doubt = not_finite(scratch[: length * p.vector])
    if not adds:
        squares = np.array([p.vector, each, outs])
        run(s.turn, dw[first:], scratch, 0, squares, length, squares, scratch)
        return doubt
    turned = scratch[length * p.vector :]
    squares = np.array([p.vector, length, outs])
    run(s.turn, turned, scratch, 0, squares, length, squares, scratch)
    for f in range(outs):
        to, more = dw[first + f * each :][:length], turned[f * length : (f + 1) * length]
        for i in range(len(to)):
            to[i] += more[i]
    return doubt


def by_weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> bool:
    """The derivative by the weight: the sum over all tiles of an input tile's points times a cotangent tile's."""
    g, x = np.ascontiguousarray(g), np.ascontiguousarray(x)
    parts, groups, result = get_num_threads(), geometry.groups, np.empty(dw.shape, dw.dtype)
    doubt = np.zeros(parts, dw.dtype)
    for i, (down, along) in enumerate(regions(g.shape[2:], dw.shape[2:], len(x))):
        s, c, many, p = _by_weight(
            x.shape, g.shape, dw.shape, geometry, down, along, dw.dtype, machine_lanes(), interpreted()
        )
        x_points, g_points = (_room((n.chunks * n.points * n.apart,), dw.dtype) for n in (s, c))
        units = p.blocks * s.chunks if many < len(x) * down.tiles else parts
        totals = _room((units, s.points * p.apart), dw.dtype)
        lines = max(n.reach_y * ((n.columns - 1) * n.step_x + n.reach_x) * n.chunk for n in (s, c))
        scratch = _room((parts, max(lines, 2 * s.chunk * p.taps * p.vector)), dw.dtype)
        arrays = result.reshape(-1), x.reshape(-1), g.reshape(-1), totals, x_points, g_points, scratch
        for group in range(groups):
            _sum_weight(*arrays, doubt, group, many, i > 0, s, c, p)
    dw[...] = result
    return bool(np.isfinite(doubt).all() and np.isfinite(result).all())


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Memory for points; what lies there stays in lanes that nobody reads, but numpy would warn of its NaN."""
    return np.zeros(shape, dtype) if interpreted() else empty(shape, dtype)


# ------------------------------------------------------------------------------------------------ plans


class Axis(NamedTuple):
    """A stretch of a result's rows or columns: where it begins, how many outputs a tile has, how many tiles there are."""

    first: int
    step: int
    tiles: int


def _tiles_for(taps: int) -> list[int]:
    """How many outputs a tile may have; six outputs of three taps take hardly fewer products than four, and much more memory."""
    return [1, *(n - taps + 1 for n in SIZES if 1 < taps < n and not (taps < 4 and n > 6))]


@functools.lru_cache(maxsize=1024)
def regions(size: Pair, window: Pair, batch: int) -> list[tuple[Axis, Axis]]:
    """Tilings of rows and of columns whose combinations cost the least.

    A point costs a product for each tile, and some additions for the window's transform.
    """

    def cost(down: tuple[Axis, ...], along: tuple[Axis, ...]) -> float:
        total = 0.0
        for y, x in itertools.product(down, along):
            points = math.prod(transforms(a.step, taps).products for a, taps in zip((y, x), window, strict=True))
            tiles = batch * y.tiles * x.tiles
            total += points * max(tiles, 8) + (100 + 3.5 * points) * math.ceil(tiles / _together(points))
        return total

    best = min(itertools.product(*map(_tilings, size, window)), key=lambda pair: cost(*pair))
    return list(itertools.product(*map(_shortened, best)))


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
    return [
        Axis(a.first + at * a.step, a.step, min(most, a.tiles - at)) for a in axes for at in range(0, a.tiles, most)
    ]


def _together(points: int) -> int:
    """How many tiles are taken together: their points should stay in the second cache."""
    return max(24, min(128, 3200 // points))


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
) -> tuple[Spread, int, Windows]:
    """The tables for one region, and how many rows of tiles are taken together."""
    y, x = transforms(down.step, window[0]), transforms(along.step, window[1])
    points, lanes = y.products * x.products, machine * 4 // dtype.itemsize
    rows = _share(-(-source[0] * down.tiles // parts), max(1, _together(points) // along.tiles))
    vectors = _vectors(outputs, lanes)
    vector, tiles = vectors * lanes, rows * along.tiles
    together = _evenly(tiles, (registers() - 3 - vectors) // vectors)
    room = -(-tiles // together) * together
    s = _spread(source, inputs, down, along, (y.inputs, x.inputs), origin, _chunk(inputs, lanes), room, lanes, dtype)
    taps = window[0] * window[1]
    turned = -1 if across else 1
    block = Block(1, together, s.chunk, lanes, vectors, dtype.name)
    q, t = x.products, window[1] * vector * turned
    factors, sums = _apart(s.chunk * vector, lanes), _apart(room * vector, lanes)
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


@functools.lru_cache(maxsize=1024)
def _by_weight(
    x_shape: tuple[int, ...],
    g_shape: tuple[int, ...],
    dw_shape: tuple[int, ...],
    geometry: Geometry,
    down: Axis,
    along: Axis,
    dtype: np.dtype[Any],
    machine: int,
    plain: bool,
) -> tuple[Spread, Spread, int, Products]:
    """The tables for one region, and how many rows of tiles are taken together."""
    filters, channels, r, c = dw_shape
    filters //= geometry.groups
    y, x = transforms(down.step, r), transforms(along.step, c)
    points, lanes = y.products * x.products, machine * 4 // dtype.itemsize
    vectors, chunk = _vectors(filters, lanes), _chunk(channels, lanes)
    vector = vectors * lanes
    blocks = -(-filters // vector)
    tile = points * (blocks * vector + -(-channels // chunk) * chunk) * dtype.itemsize
    space = min(max(_POINTS[0], points * channels * filters * dtype.itemsize), _POINTS[1])
    rows = _share(x_shape[0] * down.tiles, max(1, space // (tile * along.tiles)))
    room, most = rows * along.tiles, (registers() - 3 - vectors) // vectors
    together = next(n for n in range(min(most, chunk), 0, -1) if chunk % n == 0)
    top, left = geometry.padding
    s = _spread(x_shape, channels, down, along, (y.inputs, x.inputs), (-top, -left), chunk, room, lanes, dtype)
    maps = transposed(y.outputs), transposed(x.outputs)
    cotangents = _spread(g_shape, filters, down, along, maps, (0, 0), vector, room, lanes, dtype)
    apart = _apart(chunk * vector, lanes)
    block = Block(1, together, 1, lanes, vectors, dtype.name)
    return s, cotangents, rows, Products(
        filters, r * c, vector, blocks, together, block._replace(adds=False).handle, block.handle, np.arange(_CHUNK) * chunk,
        cotangents.apart, apart,
        Nested(transposed(y.taps), transposed(x.taps), lanes, dtype.name).handle,
        np.array([x.products * apart, apart, lanes]), np.array([c * vector, vector, lanes]),
    )  # fmt: skip


def _spread(
    shape: tuple[int, ...],
    channels: int,
    down: Axis,
    along: Axis,
    maps: tuple[Matrix, Matrix],
    origin: Pair,
    chunk: int,
    room: int,
    lanes: int,
    dtype: np.dtype[Any],
) -> Spread:
    y, x = maps
    line, apart = ((along.tiles - 1) * along.step + len(x[0])) * chunk, _apart(room * chunk, lanes)
    return Spread(
        *shape[:2], channels, *shape[2:], down.tiles, along.tiles, down.step, along.step, len(y[0]), len(x[0]),
        origin[0] + down.first, origin[1] + along.first, chunk, -(-channels // chunk), len(y) * len(x), room, apart, lanes,
        Turn(lanes, dtype.name).handle, Nested(y, x, lanes, dtype.name).handle,
        np.array([line, chunk, lanes]), np.array([len(x) * apart, apart, lanes]),
    )  # fmt: skip


def _chunk(channels: int, lanes: int) -> int:
    """How many channels are summed in one run: whole vectors, few runs, few zeros."""
    vectors = -(-channels // lanes)
    return lanes * min(range(1, _CHUNK // lanes + 1), key=lambda n: -(-vectors // n) * (n * lanes + 10))


def _apart(numbers: int, lanes: int) -> int:
    """A distance between points: a power of two would put all of them into the same few places of a cache."""
    return numbers + lanes


def _share(total: int, most: int) -> int:
    """The size of equal shares of at most so many."""
    return -(-total // -(-total // most))


def _evenly(total: int, most: int) -> int:
    """The same, for a micro-kernel's tile."""
    return _share(total, most)


def _vectors(outputs: int, lanes: int) -> int:
    """How many vectors of the result are calculated together: as few zeros as may be, then two."""
    return min((2, 3, 1), key=lambda v: -(-outputs // (v * lanes)) * v * (1.1 if v == 1 else 1))
