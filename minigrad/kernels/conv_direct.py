"""The direct ways to convolve: every product of a tap and a pixel is taken once.

Each image is first laid into a frame of zeros, so that no tap can miss. Then every product that is wanted lies at a sum of
offsets: of the pixel, of the tap, of the group. The derivative by the input is a convolution again, of the framed
cotangent with the weights turned round; with a stride it falls apart into stride x stride convolutions, each of which
fills one pixel in so many and uses only the taps that can reach it.

The ways differ in what lies along a vector's lanes:

    'filters'  any shape; best for many channels      (`conv_filters`)
    'pixels'   stride 1; best for few filters         (`conv_pixels`)

Threads share out images (and blocks of filters); the weight's gradient is summed thread by thread, so there the thread
count changes rounding. The same thread count gives the same bits.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from minigrad.kernels import conv_filters, conv_images, conv_pixels
from minigrad.kernels.frames import Array, Frame, Geometry, Pair, frame_of, offsets

__all__ = ["by_input", "by_weight", "forward"]


def forward(way: str, out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> None:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    if way == "images":
        conv_images.forward(out, np.ascontiguousarray(x), w, bias, geometry)
        return
    stride, padding, dilation, groups = geometry
    frame = frame_of(x, padding)
    offset = np.zeros(len(w), out.dtype) if bias is None else np.ascontiguousarray(bias)
    inner = _taps(w.shape[1:], dilation, frame)
    taps = w.reshape(groups, w.shape[0] // groups, len(inner)).transpose(0, 2, 1)
    _correlate(way, out, x, taps, offset, inner, frame, out.shape[2:], (0, 0), (1, 1), stride)


def by_input(way: str, dx: Array, g: Array, w: Array, geometry: Geometry) -> None:
    """The derivative by the input: each cotangent spread over the window that it came from."""
    if way == "images":
        conv_images.by_input(dx, np.ascontiguousarray(g), w, geometry)
        return
    stride, groups = geometry.stride, geometry.groups
    nothing = np.zeros(dx.shape[1], dx.dtype)
    grouped = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for phase in itertools.product(range(min(stride[0], dx.shape[2])), range(min(stride[1], dx.shape[3]))):
        reach = _reach(phase, dx.shape[2:], g.shape[2:], grouped.shape[1], w.shape[2:], geometry[:3])
        taps = grouped[:, :, :, reach.rows, reach.columns]  # (groups, F / groups, C / groups, rows, columns)
        taps = taps.transpose(0, 1, 3, 4, 2).reshape(groups, len(reach.inner), w.shape[1])
        _correlate(way, dx, g, taps, nothing, reach.inner, reach.frame, reach.size, phase, stride, (1, 1))


def by_weight(way: str, dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight, summed image by image."""
    g, x = np.ascontiguousarray(g), np.ascontiguousarray(x)
    if way == "images":
        conv_images.by_weight(dw, g, x, geometry)
        return
    if way == "pixels":
        conv_pixels.weight(dw, g, x, geometry)
        if np.isfinite(dw).all():
            return
        # Beside the image zeros were multiplied with pixels of the next row: of an Inf they would make a NaN too many.
    conv_filters.weight(dw, g, x, geometry)


def _correlate(
    way: str,
    out: Array,
    source: Array,
    taps: Array,
    bias: Array,
    inner: Array,
    frame: Frame,
    count: tuple[int, ...],
    first: Pair,
    spacing: Pair,
    step: Pair,
) -> None:
    if not out.size or 0 in count:
        return
    source = np.ascontiguousarray(source)
    if way == "pixels":
        conv_pixels.correlate(out, source, taps, bias, inner, frame)
    else:
        conv_filters.correlate(out, source, taps, bias, inner, frame, (count[0], count[1]), first, spacing, step)


# ------------------------------------------------------------------------------------------------ tables of offsets


@functools.lru_cache(maxsize=1024)
def _taps(weight: tuple[int, int, int], dilation: Pair, frame: Frame) -> Array:
    """Where a window's taps lie in a frame."""
    channels, r, s = weight
    return offsets(channels, np.arange(r) * dilation[0], np.arange(s) * dilation[1], frame)


class _Reach(NamedTuple):
    """Which taps reach one phase of the input, from which places of the framed cotangent, for how many pixels."""

    rows: slice
    columns: slice
    inner: Array
    frame: Frame
    size: Pair


@functools.lru_cache(maxsize=1024)
def _reach(phase: Pair, image: Pair, size: Pair, filters: int, window: Pair, geometry: tuple[Pair, Pair, Pair]) -> _Reach:
    reach = [_reaching(*each) for each in zip(phase, window, *geometry, strict=True)]
    count = [-(-(n - a) // s) for n, a, s in zip(image, phase, geometry[0], strict=True)]
    (rows, steps_y), (columns, steps_x) = reach
    frame = _frame_for(size, (steps_y, steps_x), count)
    inner = offsets(filters, steps_y + frame.top, steps_x + frame.left, frame)
    return _Reach(rows, columns, inner, frame, (count[0], count[1]))


def _reaching(phase: int, window: int, stride: int, padding: int, dilation: int) -> tuple[slice, Array]:
    """The taps that touch input ``phase + stride * t``, and by how much output ``t + step`` is ahead of t for each."""
    distance = phase + padding - np.arange(window) * dilation
    touching = np.flatnonzero(distance % stride == 0)  # one in so many, since the remainder goes round
    if not len(touching):
        return slice(0), distance[:0]
    every = int(touching[1] - touching[0]) if len(touching) > 1 else 1
    return slice(int(touching[0]), int(touching[-1]) + 1, every), distance[touching] // stride


def _frame_for(size: tuple[int, ...], steps: tuple[Array, Array], count: list[int]) -> Frame:
    """The frame around a cotangent in which every step from every pixel ends."""
    before = [max(0, -int(step.min(initial=0))) for step in steps]
    after = [max(0, int(step.max(initial=0)) + n - length) for step, n, length in zip(steps, count, size, strict=True)]
    return Frame(size[0] + before[0] + after[0], size[1] + before[1] + after[1], before[0], before[1])
