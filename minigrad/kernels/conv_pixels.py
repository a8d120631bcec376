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

from minigrad.jit import kernel, prange
from minigrad.kernels.frames import Array, Frame, Geometry, lay, offsets, shares
from minigrad.kernels.vector import Dots, Strip, copy_row, machine_lanes, registers, run

__all__ = ["correlate", "weight"]

#: So many vectors of pixels at least are summed in one run by the weight's gradient, so that accumulators stay where they are.
_LONG = 64


def correlate(out: Array, source: Array, taps: Array, bias: Array, inner: Array, frame: Frame) -> None:
    """``out[n, f, y, x] = bias[f] + sum over k of taps[k, f] * source[n, y * width + x + inner[k]]``, framed.

    ``taps`` is (groups, K, outputs).
    """
    groups, _, outputs = taps.shape
    positions = (out.shape[2] - 1) * frame.width + out.shape[3]
    strip = _strip(outputs, positions, _lanes(out), out.dtype)
    blocks = -(-outputs // strip.filters)
    weights = np.zeros((groups, blocks, len(inner), strip.filters), out.dtype)
    for b in range(blocks):
        part = taps[:, :, b * strip.filters : (b + 1) * strip.filters]
        weights[:, b, :, : part.shape[2]] = part
    parts = shares(len(out) * groups * blocks)
    _planes(out.reshape(-1), source, weights, bias, inner, parts, positions, *out.shape[1:], *frame, strip.width, strip.handle)


def weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight: each thread sums over its images lane by lane, then lanes and threads are added in turn."""
    plan = _plan(dw.shape, g.shape, x.shape, geometry, _lanes(dw), dw.dtype)
    parts = shares(len(x))
    total = np.empty((len(parts) - 1, *plan.rows.shape[:3], plan.dots.filters, plan.dots.taps), dw.dtype)
    _inner_products(
        total, x, g, parts, plan.inner, plan.rows, plan.images, *plan.frame, plan.plane, plan.lanes, plan.dots.handle
    )
    sums = total.sum(axis=0).transpose(0, 1, 3, 2, 4)  # (groups, blocks of filters, filters, blocks of taps, taps)
    groups, blocks, filters, *taps = sums.shape
    wide = sums.reshape(groups, blocks * filters, taps[0] * taps[1])
    dw[...] = wide[:, : len(dw) // groups, : dw[0].size].reshape(dw.shape)


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
    """Tables of the weight's gradient: places of pixels, of taps and planes; images laid out together; a plane's length."""

    dots: Dots
    inner: Array
    rows: Array  # (groups, blocks of filters, blocks of taps, taps + filters)
    images: int
    frame: Frame
    plane: int
    lanes: int


@functools.lru_cache(maxsize=256)
def _plan(
    dw: tuple[int, ...], g: tuple[int, ...], x: tuple[int, ...], geometry: Geometry, lanes: int, dtype: np.dtype[Any]
) -> _Plan:
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
    return _Plan(dots, inner, rows, images, frame, plane, lanes)


# ------------------------------------------------------------------------------------------------ loops


@kernel(parallel=True)
def _planes(out, source, weights, bias, inner, parts, positions, filters, ho, wo, fh, fw, top, left, width, strip):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        share = np.int64(part)
        _strips(share, out, source, weights, bias, inner, parts, positions, filters, ho, wo, fh, fw, top, left, width, strip)


@kernel
def _strips(part, out, source, weights, bias, inner, parts, positions, filters, ho, wo, fh, fw, top, left, width, strip):  # type: ignore[no-untyped-def]
    """One thread's part; a function of its own, because numba compiles what stands in a parallel loop twice."""
    groups, blocks, taps, some = weights.shape
    outputs, area = filters // groups, source.shape[1] // groups * fh * fw
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
                copy_row(out, ((n * filters + at) * ho + y) * wo, plane, f * length + y * fw, wo, bias[at])


@kernel(parallel=True, work=1)
def _inner_products(total, x, g, parts, inner, rows, together, fh, fw, top, left, plane, lanes, dots):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        _share_of_products(np.int64(part), total, x, g, parts, inner, rows, together, fh, fw, top, left, plane, lanes, dots)


@kernel
def _share_of_products(part, total, x, g, parts, inner, rows, together, fh, fw, top, left, plane, lanes, dots):  # type: ignore[no-untyped-def]
    _, groups, blocks, pieces, some, taps = total.shape
    image, planes = x.shape[1] * fh * fw, g.shape[1] * plane
    per_image = len(inner) // (2 * together)
    frames = np.zeros(together * image + plane, x.dtype)
    framed = np.zeros(together * planes, g.dtype)
    sums = np.zeros((groups, blocks, pieces, some, taps, lanes), x.dtype)
    for n in range(parts[part], parts[part + 1], together):
        images = min(together, parts[part + 1] - n)
        for i in range(images):
            lay(frames, i * image, fh, fw, top, left, x[n + i])
            _spread(framed, i * planes, plane, fw, g[n + i])
        for group in range(groups):
            for b in range(blocks):
                for t in range(pieces):
                    run(dots, sums[group, b, t], frames, 0, inner, images * per_image, rows[group, b, t], framed)
    lanewise, to = sums.reshape(-1), total[part].reshape(-1)
    for i in range(len(to)):
        to[i] = 0
        for lane in range(lanes):
            to[i] += lanewise[i * lanes + lane]


@kernel
def _spread(to, start, plane, fw, g):  # type: ignore[no-untyped-def]
    """Planes (F, Ho, Wo) into rows as long as a frame's, with zeros between."""
    filters, height, width = g.shape
    numbers = g.reshape(-1)
    for f in range(filters):
        for y in range(height):
            copy_row(to, start + f * plane + y * fw, numbers, (f * height + y) * width, width, 0)
