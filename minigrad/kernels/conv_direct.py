"""The direct ways to convolve: every product of a tap and a pixel is taken once.

Each image is first laid into a frame of zeros, so that no tap can miss. Then every product that is wanted lies at a sum of
offsets: of the pixel, of the tap, of the group. The derivative by the input is a convolution again, of the framed
cotangent with the weights turned round; with a stride it falls apart into stride x stride convolutions of it, phases, each
of which fills one pixel in so many and uses only the taps that can reach it. Without a stride it is taken the other way
round, where that is faster: each cotangent is spread over the pixels of its window, and needs no frame (`conv_spread`,
`conv_images`).

The ways differ in what lies along a vector's lanes:

    'filters'  any shape; best for many channels                    (`conv_filters`)
    'pixels'   stride 1; best for few filters                       (`conv_pixels`)
    'images'   stride 1; best for few channels and many images      (`conv_images`)

What follows from the shapes alone, tables of offsets and the shapes of micro-kernels, is found once and remembered.

Threads share out images (and blocks of filters); the weight's gradient is summed thread by thread, so there the thread
count changes rounding. The same thread count gives the same bits.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted
from minigrad.kernels import conv_filters, conv_images, conv_pixels, conv_spread
from minigrad.kernels.frames import Array, Frame, Geometry, Places, offsets
from minigrad.kernels.packing import Source
from minigrad.kernels.vector import machine_lanes

__all__ = ["by_input", "by_weight", "forward"]

Shape = tuple[int, ...]
Type = np.dtype[Any]


def forward(way: str, out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> None:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    if way == "images":
        conv_images.forward(out, x, w, bias, geometry)
        return
    offset = _nothing(len(w), out.dtype) if bias is None else np.ascontiguousarray(bias)
    shapes = out.shape, x.shape, w.shape
    plan = _forward_plan(way, *shapes, geometry, out.dtype, machine_lanes(), get_num_threads(), interpreted())
    plan.run(out, x, w, offset)


def by_input(way: str, dx: Array, g: Array, w: Array, geometry: Geometry) -> None:
    """The derivative by the input: each cotangent spread over the window that it came from."""
    g, w = np.ascontiguousarray(g), np.ascontiguousarray(w)
    if way == "images":
        conv_images.by_input(dx, g, w, geometry)
        return
    shapes = dx.shape, g.shape, w.shape
    plan = _input_plan(way, *shapes, geometry, dx.dtype, machine_lanes(), get_num_threads(), interpreted())
    plan.run(dx, g, w, _nothing(dx.shape[1], dx.dtype))


def by_weight(way: str, dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight, summed image by image."""
    g, x = np.ascontiguousarray(g), np.ascontiguousarray(x)
    if way == "images":
        conv_images.by_weight(dw, g, x, geometry)
        return
    if way == "pixels" and conv_pixels.weight(dw, g, x, geometry):
        return
    conv_filters.weight(dw, g, x, geometry)


@functools.lru_cache(maxsize=256)
def _nothing(count: int, dtype: Type) -> Array:
    return np.zeros(count, dtype)


# ------------------------------------------------------------------------------------------------ what follows from shapes

_Correlation = conv_filters.Correlation | conv_pixels.Correlation | conv_spread.Spreading


@functools.lru_cache(maxsize=1024)
def _forward_plan(
    way: str, out: Shape, x: Shape, w: Shape, geometry: Geometry, dtype: Type, lanes: int, threads: int, plain: bool
) -> _Correlation:
    stride, padding, dilation, groups = geometry
    filters, (channels, r, s) = w[0] // groups, w[1:]
    frame = Frame(x[2] + 2 * padding[0], x[3] + 2 * padding[1], *padding)
    inner = offsets(channels, np.arange(r) * dilation[0], np.arange(s) * dilation[1], frame)
    source = Source(np.arange(len(inner)), filters, len(inner), groups, filters * len(inner))
    places = Places(frame, (out[2], out[3]), (0, 0), (1, 1), stride)
    return _plan(way, out, x, [conv_filters.Phase(source, inner, places)], dtype, lanes)


@functools.lru_cache(maxsize=1024)
def _input_plan(
    way: str, dx: Shape, g: Shape, w: Shape, geometry: Geometry, dtype: Type, lanes: int, threads: int, plain: bool
) -> _Correlation:
    """Of each phase of the stride that has pixels. `plain` says whether micro-kernels are Python, which handles are then."""
    stride, groups = geometry.stride, geometry.groups
    if way == "filters" and stride == (1, 1):
        return conv_spread.Spreading.of(dx, g, w, geometry, dtype, lanes)
    filters, window = w[0] // groups, w[1] * w[2] * w[3]
    reaches = [_reaches(*each) for each in zip(dx[2:], g[2:], w[2:], *geometry[:3], strict=True)]
    (down, top, height), (along, left, width) = reaches
    frame, phases = Frame(height, width, top, left), []
    for (a, y), (b, x) in itertools.product(enumerate(down), enumerate(along)):
        taps = np.arange(w[2] * w[3]).reshape(w[2:])[y.taps, x.taps].reshape(-1)
        at = (np.arange(filters)[:, None] * window + taps).reshape(-1)
        inner = offsets(filters, y.steps + top, x.steps + left, frame)
        places = Places(frame, (y.pixels, x.pixels), (a, b), stride, (1, 1))
        phases.append(conv_filters.Phase(Source(at, w[1], w[2] * w[3], groups, filters * window), inner, places))
    return _plan(way, dx, g, phases, dtype, lanes)


def _plan(way: str, out: Shape, x: Shape, phases: list[conv_filters.Phase], dtype: Type, lanes: int) -> _Correlation:
    if way == "pixels":  # without a stride, so of one phase
        return conv_pixels.Correlation.of(out, x, *phases[0], dtype, lanes)
    return conv_filters.Correlation.of(out, x, phases, dtype, lanes)


class _Reach(NamedTuple):
    """Which taps reach one phase of an axis, from how far ahead in the cotangent, and how many pixels it has."""

    taps: slice
    steps: Array
    pixels: int


def _reaches(image: int, size: int, window: int, stride: int, padding: int, dilation: int) -> tuple[list[_Reach], int, int]:
    """All phases; where the cotangent begins in a frame in which every step from every pixel ends, and that frame's length."""
    found = [
        _Reach(*_reaching(phase, window, stride, padding, dilation), -(-(image - phase) // stride))
        for phase in range(min(stride, image))
    ]
    before = max(0, *(-int(each.steps.min(initial=0)) for each in found))
    after = max(0, *(int(each.steps.max(initial=0)) + each.pixels - size for each in found))
    return found, before, size + before + after


def _reaching(phase: int, window: int, stride: int, padding: int, dilation: int) -> tuple[slice, Array]:
    """The taps that touch input ``phase + stride * t``, and by how much output ``t + step`` is ahead of t for each."""
    distance = phase + padding - np.arange(window) * dilation
    touching = np.flatnonzero(distance % stride == 0)  # one in so many, since the remainder goes round
    if not len(touching):
        return slice(0), distance[:0]
    every = int(touching[1] - touching[0]) if len(touching) > 1 else 1
    return slice(int(touching[0]), int(touching[-1]) + 1, every), distance[touching] // stride
