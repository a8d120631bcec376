"""Convolution of stride 1 with images along a vector's lanes: the way for few channels and many images.

As many images as a vector has lanes are turned into (rows, channels, columns, images). Neighbouring pixels are then
neighbouring vectors, wherever a row ends, and nothing is calculated beside the images: forward it is `vector.Strip`, whose
pixels are those of all images, by weight `vector.Dots`, by input `lanes.Scatter`. What is paid is the turning, some five
cycles for a vector each way. Lanes that no image fills at the end of a batch hold zeros.

Threads share out blocks of images, and where there are too few of these, the filters (by input: channels) of each.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads
from minigrad.kernels import conv_images_loops as loops
from minigrad.kernels.frames import Array, Geometry
from minigrad.kernels.lanes import Fold, Scatter, Turn
from minigrad.kernels.memory import empty
from minigrad.kernels.vector import Dots, Strip, machine_lanes, registers

__all__ = ["blocks_of", "by_input", "by_weight", "cuts_of", "forward", "shares_of", "squares_of", "sums_of"]

Shape = tuple[int, ...]
Type = np.dtype[Any]

#: So many products are added up lane by lane before lanes are summed, and these sums one to the other.
_CHUNK = 2048
#: A second thread is woken for so many multiply-adds.
_SHARED_FROM = 1 << 20
#: Memory of threads begins at multiples of so many bytes: a cache line, and the widest vector.
_ALIGNED = 64


def forward(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> None:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    plan = _forward_plan(x.shape, w.shape, out.shape, geometry, _lanes(out), out.dtype, get_num_threads())
    given = np.zeros(len(w), out.dtype) if bias is None else np.ascontiguousarray(bias)
    loops.forward(out.reshape(-1), x.reshape(-1), np.ascontiguousarray(w), given, *plan.arguments(out.dtype))


def by_input(dx: Array, g: Array, w: Array, geometry: Geometry) -> None:
    """The derivative by the input: each cotangent spread over the window that it came from."""
    plan = _input_plan(dx.shape, w.shape, g.shape, geometry, _lanes(dx), dx.dtype, get_num_threads())
    loops.by_input(dx.reshape(-1), g.reshape(-1), np.ascontiguousarray(w), *plan.arguments(dx.dtype))


def by_weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight: each thread sums over its images lane by lane, then lanes and threads are added in turn."""
    plan = _weight_plan(x.shape, dw.shape, g.shape, geometry, _lanes(dw), dw.dtype, get_num_threads())
    loops.by_weight(dw.reshape(-1), g.reshape(-1), x.reshape(-1), *plan.arguments(dw.dtype))


def _lanes(array: Array) -> int:
    return machine_lanes() * 4 // int(array.dtype.itemsize)


# ------------------------------------------------------------------------------------------------ plans


class _Plan(NamedTuple):
    """What follows from the shapes alone: memory for each thread (`cuts` ends its pieces), tables, and micro-kernels."""

    cuts: Array
    parts: Array
    tables: tuple[Array, ...]
    micro: tuple[Any, ...]

    def arguments(self, dtype: Type) -> tuple[Any, ...]:
        """What the loops are told, besides the arrays."""
        room = empty((len(self.parts) - 1, int(self.cuts[-1])), dtype)
        return (room, self.cuts, self.parts, *self.tables, *(each.handle for each in self.micro))


def cuts_of(*sizes: int) -> Array:
    return np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)])


class _Shares(NamedTuple):
    """Who does what: where each thread's units begin and end, and which of the jobs each piece of a block of images does."""

    parts: Array
    ranges: list[tuple[int, int]]


def shares_of(batch: int, lanes: int, threads: int, jobs: int, macs: int, pixels: int) -> _Shares:
    """For so many jobs, each of which makes so many pixels: at least as many as there are lanes belong together."""
    blocks = -(-batch // lanes)
    threads = threads if macs >= _SHARED_FROM else 1
    pieces = 1 if blocks % threads == 0 or blocks >= 4 * threads or pixels < lanes else min(threads, jobs)
    units = blocks * pieces
    threads = min(threads, units)
    cuts = [jobs * i // pieces for i in range(pieces + 1)]
    return _Shares(np.array([units * i // threads for i in range(threads + 1)]), list(itertools.pairwise(cuts)))


class _Squares(NamedTuple):
    """How pixels become vectors, lanes x lanes numbers at a time; `ends` tells the squares of each piece of the work."""

    images: Array  # where the pixels of each image begin
    places: Array  # and where the vector of each pixel lies
    ends: Array


def squares_of(ranges: Iterable[tuple[int, int]], places: Array, lanes: int) -> _Squares:
    """Squares for ranges of an image's pixels; the last of a range overlaps the one before it.

    An image of fewer pixels than lanes is taken as if it had so many: what does not exist has a place behind all others.
    """
    apart = max(len(places), lanes)
    firsts = [np.minimum(np.arange(a, b, lanes), max(b - lanes, 0)) for a, b in ranges]
    first = np.concatenate(firsts)[:, None]
    filled = np.concatenate([places, np.full(apart - len(places), places.max() + lanes)])
    ends = np.cumsum([0, *(len(each) for each in firsts)])
    return _Squares(np.arange(lanes) * apart + first, filled[first + np.arange(lanes)], ends)


def sums_of(*axes: tuple[int, int], first: int = 0) -> Array:
    """Offsets of all places: for each axis the distance of two neighbours and how many there are, the last running fastest."""
    steps, counts = zip(*axes, strict=True)
    return np.tensordot(steps, np.indices(counts), 1).reshape(-1).astype(np.int64) + first


def blocks_of(count: int, some: int) -> list[int]:
    """Where blocks of `some` begin that cover `count`; the last overlaps the one before it."""
    return [min(first, count - some) for first in range(0, count, some)]


def _cost(a: int, b: int, rounds: int) -> float:
    """Cycles: a multiply-add each, or a load, whichever is more, and two for the loop."""
    return rounds * (max(a * b, a + b) + 2)


# ------------------------------------------------------------------------------------------------ one for each kind


@functools.lru_cache(maxsize=256)
def _forward_plan(x: Shape, w: Shape, out: Shape, geometry: Geometry, lanes: int, dtype: Type, threads: int) -> _Plan:
    _, (py, px), (dy, dx), groups = geometry
    batch, channels, height, width = x
    filters, (own, r, s), (ho, wo) = w[0] // groups, w[1:], out[2:]
    line = (width + 2 * px) * lanes  # of one channel; rows of all channels follow one another
    some, columns = min(
        ((a, b) for a in range(1, filters + 1) for b in range(1, wo + 1) if a * b + b <= registers() - 3 or a == b == 1),
        key=lambda n: _cost(n[0], n[1], -(-filters // n[0]) * -(-wo // n[1])),
    )
    firsts = np.array([group * filters + first for group in range(groups) for first in blocks_of(filters, some)])
    inner = sums_of((dy * channels * line, r), (line, own), (dx * lanes, s))
    parts, ranges = shares_of(batch, lanes, threads, len(firsts), math.prod(out) * len(inner), some * ho * wo)
    into = squares_of(
        [(0, channels * height * width)],
        sums_of((line, channels), (channels * line, height), (lanes, width), first=(py * channels * line + px * lanes)),
        lanes,
    )
    plane = ho * wo
    back = squares_of(
        [(firsts[a] * plane, (firsts[b - 1] + some) * plane) for a, b in ranges], sums_of((lanes, out[1] * plane)), lanes
    )
    cuts = cuts_of(
        (height + 2 * py) * channels * line + lanes,
        (out[1] * plane + 1) * lanes,
        len(firsts) * len(inner) * some,
        back.places.size,
        lanes * max(channels * height * width, out[1] * plane, lanes),
    )
    jobs = np.array([[a, b] for a, b in ranges])
    sizes = np.array(
        [
            batch,
            channels * height * width,
            out[1] * plane,
            ho,
            wo,
            channels * line,
            lanes,
            columns,
            len(firsts) // groups,
            own * line,
        ]
    )
    lines = (firsts[:, None] + np.arange(some)) * plane * lanes
    micro = Strip(some, columns, lanes, dtype.name), Turn(False, lanes, dtype.name), Turn(True, lanes, dtype.name)
    return _Plan(cuts, parts, (sizes, jobs, inner, firsts, lines, *into[:2], *back), micro)


@functools.lru_cache(maxsize=256)
def _input_plan(x: Shape, w: Shape, g: Shape, geometry: Geometry, lanes: int, dtype: Type, threads: int) -> _Plan:
    _, (py, px), (dy, dx), groups = geometry
    batch, channels, height, width = x
    filters, (own, r, s), (ho, wo) = w[0] // groups, w[1:], g[2:]
    row, line = (width + 2 * px) * lanes, g[1] * wo * lanes
    columns, taps = min(
        (
            (a, b)
            for a in range(1, wo + 1)
            for b in range(1, s + 1)
            if s % b == 0 and (a + (b - 1) * dx + b <= registers() - 2 or a == b == 1)
        ),
        key=lambda n: _cost(n[0], n[1], -(-wo // n[0]) * (s // n[1])),
    )
    columns = -(-wo // -(-wo // columns))
    inner = sums_of((-dy * line, r), (wo * lanes, filters))
    parts, ranges = shares_of(batch, lanes, threads, channels, math.prod(g) * own * r * s, height * width)
    into = squares_of([(0, g[1] * ho * wo)], sums_of((wo * lanes, g[1]), (line, ho), (lanes, wo)), lanes)
    plane = height * width
    places = sums_of((height * row, channels), (row, height), (lanes, width), first=px * lanes)
    back = squares_of([(a * plane, b * plane) for a, b in ranges], places, lanes)
    cuts = cuts_of(
        (math.prod(g[1:]) + 1) * lanes,
        channels * height * row + lanes,
        math.prod(w),
        lanes * max(channels * plane, math.prod(g[1:]), lanes),
    )
    sizes = np.array(
        [
            batch,
            math.prod(g[1:]),
            channels * plane,
            height,
            row,
            ho,
            wo,
            line,
            lanes,
            py,
            dy,
            columns,
            taps,
            dx * lanes,
            filters * wo * lanes,
        ]
    )
    last = wo - (-(-wo // columns) - 1) * columns
    micro = (*(Scatter(n, taps, dx, lanes, dtype.name) for n in (columns, last)), Turn(False, lanes, dtype.name))
    return _Plan(cuts, parts, (sizes, np.array(ranges), inner, *into[:2], *back), micro)


@functools.lru_cache(maxsize=256)
def _weight_plan(x: Shape, w: Shape, g: Shape, geometry: Geometry, lanes: int, dtype: Type, threads: int) -> _Plan:
    _, (py, px), (dy, dx), groups = geometry
    batch, channels, height, width = x
    filters, (own, r, s), (ho, wo) = w[0] // groups, w[1:], g[2:]
    line = (width + 2 * px) * lanes
    some, together = min(
        (
            (a, b)
            for a in range(1, filters + 1)
            for b in range(1, own * r * s + 1)
            if a * b + b <= registers() - 3 or a == b == 1
        ),
        key=lambda n: _cost(n[0], n[1], -(-filters // n[0]) * -(-own * r * s // n[1])),
    )
    taps = sums_of((line, own), (dy * channels * line, r), (dx * lanes, s))
    jobs = [(n, f, t) for n in range(groups) for f in blocks_of(filters, some) for t in blocks_of(len(taps), together)]
    rows = np.array(
        [
            [*(taps[t : t + together] + n * own * line), *((n * filters + f + np.arange(some)) * ho * wo * lanes)]
            for n, f, t in jobs
        ]
    )
    inner = np.stack([sums_of((channels * line, ho), (lanes, wo)), sums_of((wo * lanes, ho), (lanes, wo))], axis=-1)
    parts, ranges = shares_of(batch, lanes, threads, len(jobs), math.prod(g) * len(taps), lanes)
    places = sums_of((line, channels), (channels * line, height), (lanes, width), first=py * channels * line + px * lanes)
    into = squares_of([(0, len(places))], places, lanes)
    other = squares_of([(0, math.prod(g[1:]))], sums_of((lanes, math.prod(g[1:]))), lanes)
    total = -(-len(jobs) * some * together // lanes) * lanes
    cuts = cuts_of(
        (height + 2 * py) * channels * line + lanes,
        (math.prod(g[1:]) + 1) * lanes,
        total * lanes,
        total,
        total,
        lanes * max(len(places), math.prod(g[1:]), lanes),
    )
    flush = max(1, _CHUNK // (ho * wo))
    sizes = np.array([batch, len(places), math.prod(g[1:]), lanes, some, together, len(taps), flush * len(ranges)])
    firsts = np.array([[n * filters + f, t] for n, f, t in jobs])
    micro = Dots(some, together, lanes, dtype.name), Turn(False, lanes, dtype.name), Fold(lanes, dtype.name)
    return _Plan(cuts, parts, (sizes, np.array(ranges), inner.reshape(-1), rows, firsts, *into[:2], *other[:2]), micro)
