"""Winograd's convolution turned round: the derivative by the weight."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted, kernel, prange
from minigrad.kernels.frames import Array, Geometry, not_finite, room_for
from minigrad.kernels.vector import Block, machine_lanes, registers, run
from minigrad.kernels.vector_nested import Nested
from minigrad.kernels.winograd_matrices import transforms, transposed
from minigrad.kernels.winograd_points import (
    CHUNK,
    Tiles,
    distance,
    size_of_chunks,
    tiles_of,
    to_points,
    vectors_for,
)
from minigrad.kernels.winograd_tiles import Axis, regions, share

__all__ = ["by_weight"]

#: At least and at most so many bytes the points of inputs and cotangents take in the derivative by the weight: the last cache
#: should hold them, and they should be no less than the sums to which their products are added.
_POINTS = 1 << 23, 1 << 24


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
            to_points(np.int64(part), parts, x_points, scratch[part], x, row, some, group, s)
            to_points(np.int64(part), parts, g_points, scratch[part], g, row, some, group, c)
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
        doubt += not_finite(to)
    return doubt


def by_weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> bool:
    """The derivative by the weight: the sum over all tiles of an input tile's points times a cotangent tile's."""
    g, x = np.ascontiguousarray(g), np.ascontiguousarray(x)
    parts, groups, result = get_num_threads(), geometry.groups, dw if dw.flags.c_contiguous else np.empty(dw.shape, dw.dtype)
    doubt = np.zeros(parts, dw.dtype)
    for i, (down, along) in enumerate(regions(g.shape[2:], dw.shape[2:], len(x))):
        s, c, many, p = _by_weight(x.shape, g.shape, dw.shape, geometry, down, along, dw.dtype, machine_lanes(), interpreted())
        x_points, g_points = (room_for((n.chunks * n.points * n.apart,), dw.dtype) for n in (s, c))
        units = p.blocks * s.chunks if many < len(x) * down.tiles else parts
        totals = room_for((units, s.points * p.apart), dw.dtype)
        lines = max(n.reach_y * ((n.columns - 1) * n.step_x + n.reach_x) * n.chunk for n in (s, c))
        scratch = room_for((parts, max(lines, 2 * s.chunk * p.taps * p.vector)), dw.dtype)
        arrays = result.reshape(-1), x.reshape(-1), g.reshape(-1), totals, x_points, g_points, scratch
        for group in range(groups):
            _sum_weight(*arrays, doubt, group, many, i > 0, s, c, p)
    if result is not dw:
        dw[...] = result
    return bool(np.isfinite(doubt).all())


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
) -> tuple[Tiles, Tiles, int, Products]:
    """The tables for one region, and how many rows of tiles are taken together."""
    filters, channels, r, c = dw_shape
    filters //= geometry.groups
    y, x = transforms(down.step, r), transforms(along.step, c)
    points, lanes = y.products * x.products, machine * 4 // dtype.itemsize
    vectors, chunk = vectors_for(filters, lanes), size_of_chunks(channels, lanes)
    vector = vectors * lanes
    blocks = -(-filters // vector)
    tile = points * (blocks * vector + -(-channels // chunk) * chunk) * dtype.itemsize
    space = min(max(_POINTS[0], points * channels * filters * dtype.itemsize), _POINTS[1])
    rows = share(x_shape[0] * down.tiles, max(1, space // (tile * along.tiles)))
    room, most = rows * along.tiles, (registers() - 3 - vectors) // vectors
    together = next(n for n in range(min(most, chunk), 0, -1) if chunk % n == 0)
    top, left = geometry.padding
    s = tiles_of(x_shape, channels, down, along, (y.inputs, x.inputs), (-top, -left), chunk, room, lanes, dtype)
    maps = transposed(y.outputs), transposed(x.outputs)
    cotangents = tiles_of(g_shape, filters, down, along, maps, (0, 0), vector, room, lanes, dtype)
    apart = distance(chunk * vector, lanes)
    block = Block(1, together, 1, lanes, vectors, dtype.name)
    return s, cotangents, rows, Products(
        filters, r * c, vector, blocks, together, block._replace(adds=False).handle, block.handle, np.arange(CHUNK) * chunk,
        cotangents.apart, apart,
        Nested(transposed(y.taps), transposed(x.taps), lanes, dtype.name).handle,
        np.array([x.products * apart, apart, lanes]), np.array([c * vector, vector, lanes]),
    )  # fmt: skip
