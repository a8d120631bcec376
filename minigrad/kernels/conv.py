"""Convolution in two dimensions and its two derivatives: windows unrolled into columns, then one product by BLAS.

    x (N, C, H, W), w (F, C / groups, R, S) -> out (N, F, Ho, Wo)
    columns (C * R * S, images * Ho * Wo), a few images at a time so that they stay in the cache

The loops here unroll, fold back and lay out anew; they run on all cores, one row or plane a thread, and never add two
threads' results into one place, so the same thread count gives the same bits.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.workspace import scratch

__all__ = ["Geometry", "conv2d", "conv2d_input", "conv2d_weight", "output_length"]

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]

#: Columns for as many images as fit here are unrolled at a time.
_COLUMN_BYTES = 8 << 20


class Geometry(NamedTuple):
    """How windows lie on an image."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


def output_length(length: int, window: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit: ``(W - F + 2P) / S + 1``, F being the dilated window's length."""
    return (length + 2 * padding - dilation * (window - 1) - 1) // stride + 1


def conv2d(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> None:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    n, filters, pixels = out.shape[0], out.shape[1], out.shape[2] * out.shape[3]
    offset = np.zeros(filters, out.dtype) if bias is None else np.ascontiguousarray(bias)
    x, rows = np.ascontiguousarray(x), _per_group(w, geometry)  # rows: (groups, F / groups, K)
    for start, stop in _chunks(n, w, pixels, x.dtype, geometry):
        columns = _unrolled(x, start, stop, w.shape, out.shape, geometry)
        product = scratch("product", (*rows.shape[:2], columns.shape[2]), x.dtype)
        np.matmul(rows, columns, out=product)
        _rows_to_images(out, product.reshape(filters, stop - start, pixels), offset, start)


def conv2d_input(dx: Array, g: Array, w: Array, geometry: Geometry) -> None:
    """The derivative by the input: each cotangent spread over the window that it came from."""
    pixels = g.shape[2] * g.shape[3]
    g, rows = np.ascontiguousarray(g), _per_group(w, geometry)
    for start, stop in _chunks(len(dx), w, pixels, g.dtype, geometry):
        gathered = _gathered(g, start, stop, geometry)
        columns = scratch("columns", (geometry.groups, rows.shape[2], gathered.shape[2]), g.dtype)
        np.matmul(rows.transpose(0, 2, 1), gathered, out=columns)
        flat = columns.reshape(-1, stop - start, g.shape[2], g.shape[3])
        _fold(dx, flat, start, w.shape[2], w.shape[3], *geometry.stride, *geometry.padding, *geometry.dilation)


def conv2d_weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight; chunks are summed in turn, which keeps rounding errors small."""
    pixels = g.shape[2] * g.shape[3]
    g, x = np.ascontiguousarray(g), np.ascontiguousarray(x)
    total = np.zeros_like(_per_group(dw, geometry))
    for start, stop in _chunks(len(x), dw, pixels, x.dtype, geometry):
        columns = _unrolled(x, start, stop, dw.shape, g.shape, geometry)
        total += np.matmul(_gathered(g, start, stop, geometry), columns.transpose(0, 2, 1))
    dw[...] = total.reshape(dw.shape)


def _per_group(w: Array, geometry: Geometry) -> Array:
    """(F, C / groups, R, S) -> (groups, F / groups, K)."""
    groups = geometry.groups
    return np.ascontiguousarray(w).reshape(groups, w.shape[0] // groups, w.shape[1] * w.shape[2] * w.shape[3])


def _chunks(n: int, w: Array, pixels: int, dtype: np.dtype[Any], geometry: Geometry) -> list[Pair]:
    """Ranges of images whose columns fit the cache together, of nearly equal length."""
    each = w[0].size * geometry.groups * pixels * dtype.itemsize if len(w) else 0
    if not n or not each:
        return []
    parts = -(-n // max(1, _COLUMN_BYTES // each))
    edges = [n * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(edges))


def _unrolled(x: Array, start: int, stop: int, weight: tuple[int, ...], out: tuple[int, ...], geometry: Geometry) -> Array:
    """The windows of some images as columns: (groups, K, images * Ho * Wo)."""
    _, _, r, s = weight
    shape = (x.shape[1] * r * s, stop - start, out[2], out[3])
    columns = scratch("columns", shape, x.dtype)
    _unroll(columns, x, start, r, s, *geometry.stride, *geometry.padding, *geometry.dilation)
    return columns.reshape(geometry.groups, shape[0] // geometry.groups, -1)


def _gathered(g: Array, start: int, stop: int, geometry: Geometry) -> Array:
    """(N, F, Ho, Wo) -> (groups, F / groups, images * Ho * Wo) for some images."""
    _, filters, height, width = g.shape
    rows = scratch("gathered", (filters, stop - start, height * width), g.dtype)
    _images_to_rows(rows, g.reshape(len(g), filters, height * width), start)
    return rows.reshape(geometry.groups, filters // geometry.groups, -1)


@kernel
def _span(count, length, offset, stride):  # type: ignore[no-untyped-def]
    """The outputs from first to last (exclusive) whose input ``offset + i * stride`` lies in [0, length)."""
    first = max(0, (stride - 1 - offset) // stride)
    last = min(count, (length - 1 - offset) // stride + 1)
    return min(first, count), max(last, min(first, count))


@kernel(parallel=True)
def _unroll(columns, x, start, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    """One row of columns for each channel and tap: the image shifted by the tap, zeros where the window hangs over."""
    rows, images, ho, wo = columns.shape
    h, w = x.shape[2:]
    for row in prange(rows):
        c, i, j = row // (r * s), row // s % r, row % s
        shift = j * dx - px
        first, last = _span(wo, w, shift, sx)
        for n in range(images):
            plane = x[start + n, c]
            for oy in range(ho):
                line = columns[row, n, oy]
                iy = oy * sy + i * dy - py
                if iy < 0 or iy >= h:
                    for ox in range(wo):
                        line[ox] = 0
                else:
                    for ox in range(first):
                        line[ox] = 0
                    for ox in range(last, wo):
                        line[ox] = 0
                    inside, source = line[first:last], plane[iy, max(first * sx + shift, 0) :]
                    if sx == 1:
                        for ox in range(len(inside)):
                            inside[ox] = source[ox]
                    else:
                        for ox in range(len(inside)):
                            inside[ox] = source[ox * sx]


@kernel(parallel=True)
def _fold(image, columns, start, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    """The transpose of `_unroll`: each row of columns added back to where it was taken from."""
    images, ho, wo = columns.shape[1:]
    channels, h, w = image.shape[1:]
    for plane in prange(images * channels):
        n, c = plane // channels, plane % channels
        target = image[start + n, c]
        target[:] = 0
        for i in range(r):
            for j in range(s):
                shift = j * dx - px
                first, last = _span(wo, w, shift, sx)
                for oy in range(ho):
                    iy = oy * sy + i * dy - py
                    if iy >= 0 and iy < h:
                        inside = columns[(c * r + i) * s + j, n, oy, first:last]
                        line = target[iy, max(first * sx + shift, 0) :]
                        if sx == 1:
                            for ox in range(len(inside)):
                                line[ox] += inside[ox]
                        else:
                            for ox in range(len(inside)):
                                line[ox * sx] += inside[ox]


@kernel(parallel=True)
def _rows_to_images(out, rows, bias, start):  # type: ignore[no-untyped-def]
    filters, images, pixels = rows.shape
    flat = out.reshape(out.shape[0], filters, pixels)
    for plane in prange(images * filters):
        n, f = plane // filters, plane % filters
        for p in range(pixels):
            flat[start + n, f, p] = rows[f, n, p] + bias[f]


@kernel(parallel=True)
def _images_to_rows(rows, g, start):  # type: ignore[no-untyped-def]
    filters, images, pixels = rows.shape
    for f in prange(filters):
        for n in range(images):
            for p in range(pixels):
                rows[f, n, p] = g[start + n, f, p]
