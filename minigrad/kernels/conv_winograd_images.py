"""Winograd's convolution with images along a vector's lanes: the way for few channels and many images.

Where channels are few, those of `conv_winograd` would leave lanes empty. Here images lie along the lanes as in `conv_images`:
no number is turned between a transform and the products, and every step adds or multiplies whole vectors.

    a row of tiles     image -> lines       the transform of columns, for whole lines of all channels
    a tile, its row i  lines -> points      the transform of rows
                       points -> sums       products, summed over channels, and the way back from a row's points
    a tile             sums -> result       the way back from the columns' points

So what lies between two steps is small: a tile's sums take some 40 KB. The window's points (100 KB at LeNet's second layer)
are made by each thread; threads share out blocks of images, and where these are few, the planes of the result.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted, kernel, prange
from minigrad.kernels.conv_images import blocks_of, cuts_of, shares_of, squares_of, sums_of
from minigrad.kernels.conv_images_loops import biases, into_lanes, out_of_lanes
from minigrad.kernels.frames import Array, Geometry
from minigrad.kernels.lanes import Turn
from minigrad.kernels.vector import machine_lanes, registers, run
from minigrad.kernels.vector_nested import Mixing, Nested, Transpose
from minigrad.kernels.winograd_matrices import Transforms, transforms
from minigrad.kernels.winograd_points import not_finite, room_for
from minigrad.kernels.winograd_tiles import tiling

__all__ = ["forward"]

Shape = tuple[int, ...]
Type = np.dtype[Any]
_ONE = transforms(1, 1).taps  # the matrix that changes nothing


class Sizes(NamedTuple):
    """The numbers that loops need."""

    batch: int
    groups: int
    channels: int  # of a group
    outputs: int  # planes of the result, of a group
    source: int  # pixels of an image
    result: int  # and of its result
    plane: int
    width: int  # of a line in the frame
    lanes: int
    taps: int
    pitch: int  # numbers from one point of the window to the next
    points: int  # numbers of a group's windows
    together: int  # planes in a block


class Ways(NamedTuple):
    """Micro-kernels for each kind of tile: by rows, by columns or by both."""

    down: Array
    across: Array
    taps: Array
    mixing: Array
    back: Array
    turn_window: Any
    turn: Any
    turn_back: Any


class Tables(NamedTuple):
    """Where tiles lie, and where their numbers: kinds of tiles are (first, step, tiles, reach, points)."""

    rows: Array
    columns: Array
    windows: Array  # for each kind, where its points begin in a group's
    window_steps: Array
    window_strides: Array
    line_steps: Array  # from row to row of an image in lanes, or of lines
    tile_steps: Array  # from column to column, and from channel to channel
    tile_strides: Array  # likewise of points
    mixed: Array  # how many channels, and how far apart planes lie in a tile
    result_steps: Array  # from row to row of a tile
    jobs: Array  # which blocks of planes each piece of a block of images makes
    firsts: Array  # the first plane of each block
    images: Array
    places: Array
    out_images: Array
    out_places: Array
    ends: Array


@kernel(parallel=True, shell=True)
def _correlate(out, source, weights, bias, room, cuts, parts, doubt, s, ways, t):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        share = np.int64(part)
        _share(out, source, weights, bias, room[share], cuts, parts[share : share + 2], doubt[share:], s, ways, t)


@kernel
def _share(out, source, weights, bias, own, cuts, span, doubt, s, ways, t):  # type: ignore[no-untyped-def]
    frame, made, windows = own[: cuts[1]], own[cuts[1] : cuts[2]], own[cuts[2] : cuts[3]]
    work, plus, spare = own[cuts[3] : cuts[4]], own[cuts[4] : cuts[5]], own[cuts[5] :]
    for group in range(s.groups):
        _windows(windows[group * s.points :], work, weights, group, s, ways, t)
    biases(plus, bias, t.out_images, s.plane)
    frame[:] = 0
    inside = -1
    for unit in range(span[0], span[1]):
        n, piece = unit // len(t.jobs) * s.lanes, unit % len(t.jobs)
        if n != inside:
            into_lanes(frame, source, n, s.batch, s.source, t.images, t.places, spare, ways.turn)
            inside = n
        doubt[0] += _tiles(made, frame, windows, work, t.jobs[piece], s, ways, t)
        a, b = t.ends[piece], t.ends[piece + 1]
        images, places = t.out_images[a:b], t.out_places[a:b]
        out_of_lanes(out, made, n, s.batch, s.result, images, places, spare, ways.turn_back, plus[a * s.lanes :])


@kernel
def _windows(windows, turned, weights, group, s, ways, t):  # type: ignore[no-untyped-def]
    """The points of a group's windows, for each kind of tile: (rows of points, channels, points of a row, planes)."""
    turned[: s.channels * s.taps * s.pitch] = 0
    squares = np.array([s.channels * s.taps, s.pitch, s.channels * s.taps])
    run(ways.turn_window, turned, weights, group * s.outputs * s.channels * s.taps, squares, s.outputs, squares, turned)
    for i in range(len(t.rows)):
        for j in range(len(t.columns)):
            for c in range(s.channels):
                to = windows[t.windows[i, j] + c * t.columns[j, 4] * s.pitch :]
                at = c * s.taps * s.pitch
                run(ways.taps[i, j], to, turned, at, t.window_steps, s.pitch // s.lanes, t.window_strides[j], turned)


@kernel
def _tiles(made, frame, windows, work, jobs, s, ways, t):  # type: ignore[no-untyped-def]
    """All tiles of a block of images, for some planes of the result; NaN if one of its numbers is not finite."""
    line, done, doubt = s.groups * s.channels * s.width * s.lanes, 0, 0.0
    blocks = len(t.firsts) // s.groups
    for i in range(len(t.rows)):
        first, step, tiles, _, points = t.rows[i]
        lines, rest = work[: points * line], work[points * line :]
        for ty in range(tiles):
            at = (first + ty * step) * line
            run(ways.down[i], lines, frame, at, t.line_steps, line // s.lanes, t.line_steps, lines)
            for j in range(len(t.columns)):
                for tx in range(t.columns[j, 2]):
                    each = step * s.outputs * t.columns[j, 1] * s.lanes
                    for group in range(s.groups):
                        a, b = max(jobs[0], group * blocks), min(jobs[1], (group + 1) * blocks)
                        if a < b:
                            to, own = made[done:], windows[group * s.points + t.windows[i, j] :]
                            doubt += _tile(to, lines, own, rest, i, j, tx, group, t.firsts[a:b], s, ways, t)
                        done += each
    return doubt


@kernel
def _tile(made, lines, windows, work, i, j, tx, group, firsts, s, ways, t):  # type: ignore[no-untyped-def]
    """One tile of a group's planes: (rows, planes, columns) of the result."""
    first, step, _, _, across = t.columns[j]
    down, height = t.rows[i, 4], t.rows[i, 1]
    row = s.outputs * step * s.lanes
    sums, points = work[: down * row], work[down * row :]
    for r in range(down):
        start = ((r * s.groups + group) * s.channels * s.width + first + tx * step) * s.lanes
        run(ways.across[j], points, lines, start, t.tile_steps, s.channels, t.tile_strides[j], lines)
        own = windows[r * s.channels * across * s.pitch :]
        run(ways.mixing[j], sums[r * row :], points, 0, t.mixed[j], len(firsts), firsts, own)
    begin, end = firsts[0], firsts[len(firsts) - 1] + s.together
    at, count = begin * step * s.lanes, (end - begin) * step
    run(ways.back[i], made[at:], sums, at, t.result_steps[j], count, t.result_steps[j], sums)
    doubt = 0.0
    for y in range(height):
        doubt += not_finite(made[y * row + at : y * row + at + count * s.lanes])
    return doubt


def forward(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> bool:
    """Cross-correlation, as `conv_direct.forward`; whether the result is finite, without which it may not be right."""
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    given = np.zeros(len(w), out.dtype) if bias is None else np.ascontiguousarray(bias)
    lanes = machine_lanes() * 4 // out.itemsize
    plan = _plan(out.shape, x.shape, w.shape, geometry, lanes, out.dtype, get_num_threads(), interpreted())
    doubt = np.zeros(len(plan.parts) - 1, out.dtype)
    room = room_for((len(doubt), int(plan.cuts[-1])), out.dtype)
    flat = out.reshape(-1), x.reshape(-1), w.reshape(-1)
    _correlate(*flat, given, room, plan.cuts, plan.parts, doubt, plan.sizes, plan.ways, plan.tables)
    return bool(np.isfinite(doubt).all())


# ------------------------------------------------------------------------------------------------ what follows from shapes


class _Plan(NamedTuple):
    cuts: Array  # of a thread's memory
    parts: Array  # where each thread's units begin
    sizes: Sizes
    ways: Ways
    tables: Tables


@functools.lru_cache(maxsize=256)
def _plan(out: Shape, x: Shape, w: Shape, geometry: Geometry, lanes: int, dtype: Type, threads: int, plain: bool) -> _Plan:
    """`plain` says whether micro-kernels are Python, which their handles are then."""
    _, (top, left), _, groups = geometry
    batch, (outputs, channels), taps = x[0], (w[0] // groups, w[1]), math.prod(w[2:])
    (rows, down), (columns, along) = (_kinds(n, r) for n, r in zip(out[2:], w[2:], strict=True))
    height, width = (
        max(n + 2 * padding, max(first + (tiles - 1) * step + reach for first, step, tiles, reach, _ in kinds))
        for n, padding, kinds in zip(x[2:], (top, left), (rows, columns), strict=True)
    )
    line, pitch = x[1] * width * lanes, -(-outputs // lanes) * lanes
    points = np.outer(rows[:, 4], columns[:, 4]) * channels * pitch
    together = min(max(1, (registers() - 3) // int(columns[:, 4].max())), outputs)
    firsts, plane = np.array(blocks_of(outputs, together)), math.prod(out[2:])
    begins = (np.arange(groups)[:, None] * outputs + firsts).reshape(-1)
    macs = batch * w[0] * channels * math.prod(int(kinds[:, 2] @ kinds[:, 4]) for kinds in (rows, columns))
    parts, ranges = shares_of(batch, lanes, threads, len(begins), macs, together * plane)
    first = (top * x[1] * width + left) * lanes
    images = squares_of(
        [(0, math.prod(x[1:]))], sums_of((width * lanes, x[1]), (line, x[2]), (lanes, x[3]), first=first), lanes
    )
    spans = [(begins[a] * plane, (begins[b - 1] + together) * plane) for a, b in ranges]
    results = squares_of(spans, _places(rows, columns, out, groups) * lanes, lanes)
    work = [n * (line + outputs * columns[:, 1].max() * lanes) + channels * columns[:, 4].max() * lanes for n in rows[:, 4]]
    cuts = cuts_of(
        height * line + lanes,
        (math.prod(int(kinds[:, 1] @ kinds[:, 2]) for kinds in (rows, columns)) * out[1] + 1) * lanes,
        groups * int(points.sum()),
        int(max(*work, channels * taps * pitch)),
        results.places.size,
        lanes * max(math.prod(x[1:]), out[1] * plane, lanes),
    )
    sizes = Sizes(
        batch, groups, channels, outputs, math.prod(x[1:]), out[1] * plane, plane, width, lanes,
        taps, pitch, int(points.sum()), together,
    )  # fmt: skip
    tables = Tables(
        rows, columns, np.cumsum([0, *points.reshape(-1)])[:-1].reshape(points.shape),
        np.array([w[3] * pitch, pitch, lanes]), np.array([[channels * q * pitch, pitch, lanes] for q in columns[:, 4]]),
        np.array([line, 0, lanes]), np.array([0, lanes, width * lanes]),
        np.array([[0, lanes, q * lanes] for q in columns[:, 4]]),
        np.array([[channels, step * lanes] for step in columns[:, 1]]),
        np.array([[outputs * step * lanes, 0, lanes] for step in columns[:, 1]]),
        np.array(ranges), np.tile(firsts, groups), *images[:2], *results,
    )  # fmt: skip
    return _Plan(cuts, parts, sizes, _ways(down, along, together, pitch, lanes, dtype.name), tables)


def _kinds(length: int, taps: int) -> tuple[Array, list[Transforms]]:
    """The kinds of tiles along an axis, as `Tables` has them, and what they go through."""
    axes = tiling(length, taps)
    maps = [transforms(axis.step, taps) for axis in axes]
    return np.array([[*axis, len(each.inputs[0]), each.products] for axis, each in zip(axes, maps, strict=True)]), maps


def _ways(down: list[Transforms], along: list[Transforms], together: int, pitch: int, lanes: int, name: str) -> Ways:
    return Ways(
        _handles([Nested(each.inputs, _ONE, lanes, name) for each in down]),
        _handles([Nested(_ONE, each.inputs, lanes, name) for each in along]),
        _handles([Nested(a.taps, b.taps, lanes, name) for a in down for b in along]).reshape(len(down), len(along)),
        _handles([Mixing(each.outputs, together, pitch, lanes, name) for each in along]),
        _handles([Nested(each.outputs, _ONE, lanes, name) for each in down]),
        Transpose(lanes, name).handle, Turn(False, lanes, name).handle, Turn(True, lanes, name).handle,
    )  # fmt: skip


def _handles(kernels: list[Any]) -> Array:
    """Of micro-kernels the addresses; or themselves, where they are Python."""
    found = np.empty(len(kernels), object if interpreted() else np.int64)
    for i, each in enumerate(kernels):
        found[i] = each.handle
    return found


def _places(y: Array, x: Array, out: Shape, groups: int) -> Array:
    """Where each number of the result is made: tile by tile, group by group, in rows of all planes' columns."""
    places, outputs = np.empty(out[1:], np.int64), out[1] // groups
    at = 0
    for first_y, step_y, tiles_y, *_ in y:
        for top in range(first_y, first_y + step_y * tiles_y, step_y):
            for first_x, step_x, tiles_x, *_ in x:
                for left in range(first_x, first_x + step_x * tiles_x, step_x):
                    for group in range(groups):
                        made = np.arange(at, at + step_y * outputs * step_x).reshape(step_y, outputs, step_x)
                        to = places[group * outputs : (group + 1) * outputs, top : top + step_y, left : left + step_x]
                        to[...] = made.swapaxes(0, 1)[:, : to.shape[1], : to.shape[2]]
                        at += made.size
    return places.reshape(-1)
