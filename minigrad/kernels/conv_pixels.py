"""Convolution of stride 1 with pixels along a vector's lanes (`vector.Strip` and `vector.Dots`): the way for few filters.

A frame's rows follow one another in memory, so neighbouring outputs are read from neighbouring places, also across the end
of a row; what is calculated for the places between two rows of the output is left out. Results come out plane by plane,
as they are wanted: nothing is turned round.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted, kernel, prange
from minigrad.kernels.frames import Array, Frame, Geometry, Places, lay, offsets, shares
from minigrad.kernels.lanes import Fold
from minigrad.kernels.packing import Packing, Source, pack
from minigrad.kernels.vector import Dots, Strip, copy_row, machine_lanes, registers, run

__all__ = ["Correlation", "weight"]

Shape = tuple[int, ...]
Type = np.dtype[Any]

#: So many vectors of pixels at least are summed in one run by the weight's gradient, so that accumulators stay where they are.
_LONG = 64


class Correlation(NamedTuple):
    """``out[n, f, y, x] = bias[f] + sum over k of weights[k, f] * source[n, y * width + x + inner[k]]``, framed."""

    packing: Packing
    inner: Array
    parts: Array
    sizes: Array
    strip: Any  # a `Strip`'s handle

    @classmethod
    def of(cls, out: Shape, x: Shape, source: Source, inner: Array, places: Places, dtype: Type, lanes: int) -> Correlation:
        """For arrays of these shapes."""
        frame = places.frame
        positions = (out[2] - 1) * frame.width + out[3]
        strip = _strip(source.outputs, positions, lanes * 4 // dtype.itemsize, dtype)
        packing = Packing.of(source, strip.filters)
        parts = shares(out[0] * packing.shape[0] * packing.shape[1])
        sizes = np.array([positions, source.outputs, *out[2:], *frame, strip.width])
        return cls(packing, inner, parts, sizes, strip.handle)

    def run(self, out: Array, source: Array, w: Array, bias: Array) -> None:
        """Run it; all arrays in row order."""
        _planes(out.reshape(-1), source, pack(w, self.packing), bias, self.inner, self.parts, self.sizes, self.strip)


def weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> bool:
    """The derivative by the weight: each thread sums over its images lane by lane, then lanes and threads are added in turn.

    Says whether all sums are finite. What is not may be wrong: beside the image zeros were multiplied with pixels of the next
    row, and of an Inf they make a NaN too many.
    """
    plan = _plan(dw.shape, g.shape, x.shape, geometry, _lanes(dw), dw.dtype, get_num_threads(), interpreted())
    total = np.empty(plan.total, dw.dtype)
    _inner_products(total, x, g, plan.parts, plan.inner, plan.rows, plan.sizes, plan.dots, plan.fold)
    return bool(_add_up(dw.reshape(len(dw), -1), total))


# ------------------------------------------------------------------------------------------------ shapes


def _lanes(array: Array) -> int:
    return machine_lanes() * 4 // int(array.dtype.itemsize)


def _shapes(first: int, second: int) -> Iterator[tuple[int, int]]:
    """How many values may be multiplied with how many others, so that the accumulators and one side stay in registers."""
    most = registers() - 3
    for a in range(1, min(first, most) + 1):
        for b in range(1, min(second, most) + 1):
            if a * b + b <= most:
                yield a, b


def _cost(a: int, b: int, rounds: int) -> float:
    """Cycles: a multiply-add each, or half a load, whichever is more, and two for the loop."""
    return rounds * (max(a * b, (a + b) / 2) + 2)


@functools.lru_cache(maxsize=1024)
def _strip(outputs: int, positions: int, lanes: int, dtype: np.dtype[Any]) -> Strip:
    """The strip that covers so many planes of so many places at the least cost."""

    def cost(shape: tuple[int, int]) -> float:
        return _cost(*shape, rounds=-(-outputs // shape[0]) * -(-positions // (shape[1] * lanes)))

    filters, vectors = min(_shapes(outputs, -(-positions // lanes)), key=cost)
    return Strip(filters, vectors, lanes, dtype.name)


class _Plan(NamedTuple):
    """Tables of the weight's gradient: places of pixels, of taps and planes; images laid out together, and the frame."""

    dots: Any  # handles of a `Dots` and a `Fold`
    fold: Any
    total: tuple[int, ...]  # threads, groups, blocks of filters, blocks of taps, filters, taps
    parts: Array
    inner: Array
    rows: Array  # (groups, blocks of filters, blocks of taps, taps + filters)
    sizes: Array


@functools.lru_cache(maxsize=256)
def _plan(dw: Shape, g: Shape, x: Shape, geometry: Geometry, lanes: int, dtype: Type, threads: int, plain: bool) -> _Plan:
    """`plain` says whether micro-kernels are Python, which their handles are then."""
    _, padding, dilation, groups = geometry
    filters, channels, r, s = dw
    filters //= groups
    frame = Frame(x[2] + 2 * padding[0], x[3] + 2 * padding[1], *padding)
    taps = offsets(channels, np.arange(r) * dilation[0], np.arange(s) * dilation[1], frame)
    some, together = min(
        _shapes(filters, len(taps)), key=lambda n: _cost(n[0], n[1], -(-filters // n[0]) * -(-len(taps) // n[1]))
    )
    dots = Dots(some, together, lanes, dtype.name)
    vectors = -(-((g[2] - 1) * frame.width + g[3]) // lanes)
    plane, area = vectors * lanes, frame.height * frame.width
    images = max(1, min(-(-_LONG // vectors), x[0]))
    image, vector = np.arange(images)[:, None], np.arange(vectors) * lanes
    inner = np.stack([image * (x[1] * area) + vector, image * (g[1] * plane) + vector], axis=-1).reshape(-1)
    rows = np.zeros((groups, -(-filters // some), -(-len(taps) // together), together + some), np.int64)
    for group, block, part in np.ndindex(rows.shape[:3]):
        own = taps[part * together : (part + 1) * together]
        rows[group, block, part, : len(own)] = own + group * channels * area
        planes = np.arange(block * some, min((block + 1) * some, filters)) + group * filters
        rows[group, block, part, together : together + len(planes)] = planes * plane
    parts = shares(x[0])
    total = (len(parts) - 1, *rows.shape[:3], some, together)
    sizes = np.array([images, *frame, plane, lanes])
    return _Plan(dots.handle, Fold(lanes, dtype.name).handle, total, parts, inner, rows, sizes)


# ------------------------------------------------------------------------------------------------ loops


@kernel(parallel=True)
def _planes(out, source, weights, bias, inner, parts, sizes, strip):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        _strips(np.int64(part), out, source, weights, bias, inner, parts, sizes, strip)


@kernel
def _strips(part, out, source, weights, bias, inner, parts, sizes, strip):  # type: ignore[no-untyped-def]
    """One thread's part of the planes."""
    positions, outputs, ho, wo = sizes[0], sizes[1], sizes[2], sizes[3]
    fh, fw, top, left, width = sizes[4], sizes[5], sizes[6], sizes[7], sizes[8]
    groups, blocks, taps, some = weights.shape
    area = source.shape[1] // groups * fh * fw
    length = (positions + width - 1) // width * width
    frame = np.zeros(groups * area + width, source.dtype)
    plane = np.empty(some * length, source.dtype)
    lines = np.arange(some) * length
    image = -1
    for unit in range(parts[part], parts[part + 1]):
        n, group, b = unit // (groups * blocks), unit // blocks % groups, unit % blocks
        if n != image:
            lay(frame, 0, fh, fw, top, left, source[n])
            image = n
        for p in range(0, positions, width):
            run(strip, plane[p:], frame, group * area + p, inner, taps, lines, weights[group, b])
        for f in range(min(some, outputs - b * some)):
            at = group * outputs + b * some + f
            for y in range(ho):
                copy_row(out, ((n * groups * outputs + at) * ho + y) * wo, plane, f * length + y * fw, wo, bias[at])


@kernel(parallel=True, work=1)
def _inner_products(total, x, g, parts, inner, rows, sizes, dots, fold):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        _share_of_products(np.int64(part), total, x, g, parts, inner, rows, sizes, dots, fold)


@kernel
def _share_of_products(part, total, x, g, parts, inner, rows, sizes, dots, fold):  # type: ignore[no-untyped-def]
    together, fh, fw, top, left, plane, lanes = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6]
    _, groups, blocks, pieces, some, taps = total.shape
    image, planes = x.shape[1] * fh * fw, g.shape[1] * plane
    per_image = len(inner) // (2 * together)
    frames = np.zeros(together * image + plane, x.dtype)
    framed = np.zeros(together * planes, g.dtype)
    numbers = groups * blocks * pieces * some * taps
    squares = (numbers + lanes - 1) // lanes
    sums, folded = np.zeros(squares * lanes * lanes, x.dtype), np.empty(squares * lanes, x.dtype)
    each = some * taps * lanes
    for n in range(parts[part], parts[part + 1], together):
        images = min(together, parts[part + 1] - n)
        for i in range(images):
            lay(frames, i * image, fh, fw, top, left, x[n + i])
            _spread(framed, i * planes, plane, fw, g[n + i])
        for group in range(groups):
            for b in range(blocks):
                for t in range(pieces):
                    to = ((group * blocks + b) * pieces + t) * each
                    run(dots, sums[to : to + each], frames, 0, inner, images * per_image, rows[group, b, t], framed)
    run(fold, folded, sums, 0, inner, squares, inner, sums)
    total[part].reshape(-1)[:] = folded[:numbers]


@kernel
def _add_up(dw, total):  # type: ignore[no-untyped-def]
    """The threads' sums, and the result in its own order: (F, C / groups * R * S); whether all are finite."""
    threads, groups, blocks, pieces, some, together = total.shape
    outputs, taps = len(dw) // groups, dw.shape[1]
    suspect = dw.dtype.type(0)
    for group in range(groups):
        for b in range(blocks):
            for f in range(min(some, outputs - b * some)):
                line = dw[group * outputs + b * some + f]
                for piece in range(pieces):
                    for t in range(min(together, taps - piece * together)):
                        value = total[0, group, b, piece, f, t]
                        for part in range(1, threads):
                            value += total[part, group, b, piece, f, t]
                        line[piece * together + t] = value
                        suspect += value - value  # 0 of what is finite, else NaN
    return suspect == suspect


@kernel
def _spread(to, start, plane, fw, g):  # type: ignore[no-untyped-def]
    """Planes (F, Ho, Wo) into rows as long as a frame's, with zeros between."""
    filters, height, width = g.shape
    numbers = g.reshape(-1)
    for f in range(filters):
        for y in range(height):
            copy_row(to, start + f * plane + y * fw, numbers, (f * height + y) * width, width, 0)
