"""Convolution in two dimensions and its two derivatives: windows unrolled into columns, then one product by BLAS.

    x (N, C, H, W), w (F, C / groups, R, S) -> out (N, F, Ho, Wo)
    columns (groups, C / groups * R * S, Ho * Wo) for one image

Each thread takes its share of the images and does everything for one image while its columns are in the cache. BLAS runs
on one thread inside (`jit.serial_blas`): two layers of threads would fight. No two threads add into one place, so the
same thread count gives the same bits; the weight's gradient is summed thread by thread, so its rounding depends on it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, kernel, prange, serial_blas

__all__ = ["Geometry", "conv2d", "conv2d_input", "conv2d_weight", "output_length"]

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How windows lie on an image."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def flat(self) -> tuple[int, ...]:
        """The six numbers as kernels take them."""
        return (*self.stride, *self.padding, *self.dilation)


def output_length(length: int, window: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit: ``(W - F + 2P) / S + 1``, F being the dilated window's length."""
    return (length + 2 * padding - dilation * (window - 1) - 1) // stride + 1


def conv2d(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> None:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    offset = np.zeros(len(w), out.dtype) if bias is None else np.ascontiguousarray(bias)
    if out.size and w.size:
        serial_blas()
        images = _by_group(out, geometry.groups)
        _forward(
            images,
            np.ascontiguousarray(x),
            _rows(w, geometry),
            offset,
            _shares(x),
            *out.shape[2:],
            *w.shape[2:],
            *geometry.flat,
        )


def conv2d_input(dx: Array, g: Array, w: Array, geometry: Geometry) -> None:
    """The derivative by the input: each cotangent spread over the window that it came from."""
    if g.size and w.size:
        serial_blas()
        images = _by_group(np.ascontiguousarray(g), geometry.groups)
        _backward(dx, images, _rows(w, geometry), _shares(g), *g.shape[2:], *w.shape[2:], *geometry.flat)


def conv2d_weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight: each thread sums over its images, then the threads' sums are added in turn."""
    shares = _shares(x)
    partial = np.zeros((len(shares) - 1, *_rows(dw, geometry).shape), dw.dtype)
    if g.size and dw.size:
        serial_blas()
        images = _by_group(np.ascontiguousarray(g), geometry.groups)
        _weight(partial, images, np.ascontiguousarray(x), shares, *g.shape[2:], *dw.shape[2:], *geometry.flat)
    dw[...] = partial.sum(axis=0).reshape(dw.shape)


def _rows(w: Array, geometry: Geometry) -> Array:
    """(F, C / groups, R, S) -> (groups, F / groups, K)."""
    groups = geometry.groups
    return np.ascontiguousarray(w).reshape(groups, w.shape[0] // groups, w.shape[1] * w.shape[2] * w.shape[3])


def _by_group(images: Array, groups: int) -> Array:
    """(N, F, Ho, Wo) -> (N, groups, F / groups, Ho * Wo), a view."""
    n, filters, height, width = images.shape
    return images.reshape(n, groups, filters // groups, height * width)


def _shares(x: Array) -> Array:
    """Where each thread's images begin, and where the last one's end."""
    threads = max(1, min(get_num_threads(), len(x)))
    return np.array([len(x) * i // threads for i in range(threads + 1)])


@kernel(parallel=True)
def _forward(out, x, rows, bias, shares, ho, wo, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    groups, filters, taps = rows.shape
    for part in prange(len(shares) - 1):
        columns = np.empty((groups, taps, ho * wo), x.dtype)
        for n in range(shares[part], shares[part + 1]):
            _unroll(columns.reshape(groups * taps, ho, wo), x[n], r, s, sy, sx, py, px, dy, dx)
            for group in range(groups):
                np.dot(rows[group], columns[group], out[n, group])
                for f in range(filters):
                    row = out[n, group, f]
                    for p in range(len(row)):
                        row[p] += bias[group * filters + f]


@kernel(parallel=True)
def _backward(image, g, rows, shares, ho, wo, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    groups, _, taps = rows.shape
    for part in prange(len(shares) - 1):
        columns = np.empty((groups, taps, ho * wo), g.dtype)
        for n in range(shares[part], shares[part + 1]):
            for group in range(groups):
                np.dot(rows[group].T, g[n, group], columns[group])
            _fold(image[n], columns.reshape(groups * taps, ho, wo), r, s, sy, sx, py, px, dy, dx)


@kernel(parallel=True, work=1)
def _weight(total, g, x, shares, ho, wo, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    _, groups, filters, taps = total.shape
    for part in prange(len(shares) - 1):
        columns = np.empty((groups, taps, ho * wo), x.dtype)
        one = np.empty((filters, taps), x.dtype)
        for n in range(shares[part], shares[part + 1]):
            _unroll(columns.reshape(groups * taps, ho, wo), x[n], r, s, sy, sx, py, px, dy, dx)
            for group in range(groups):
                np.dot(g[n, group], columns[group].T, one)
                for f in range(filters):
                    for k in range(taps):
                        total[part, group, f, k] += one[f, k]


@kernel
def _span(count, length, offset, stride):  # type: ignore[no-untyped-def]
    """The outputs from first to last (exclusive) whose input ``offset + i * stride`` lies in [0, length)."""
    first = max(0, (stride - 1 - offset) // stride)
    last = min(count, (length - 1 - offset) // stride + 1)
    return min(first, count), max(last, min(first, count))


@kernel
def _unroll(columns, image, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    """One row of columns for each channel and tap: the image shifted by the tap, zeros where the window hangs over."""
    rows, ho, wo = columns.shape
    h, w = image.shape[1:]
    for row in range(rows):
        c, i, j = row // (r * s), row // s % r, row % s
        shift = j * dx - px
        first, last = _span(wo, w, shift, sx)
        for oy in range(ho):
            line = columns[row, oy]
            iy = oy * sy + i * dy - py
            if iy < 0 or iy >= h:
                for ox in range(wo):
                    line[ox] = 0
            else:
                for ox in range(first):
                    line[ox] = 0
                for ox in range(last, wo):
                    line[ox] = 0
                inside, source = line[first:last], image[c, iy, max(first * sx + shift, 0) :]
                if sx == 1:
                    for ox in range(len(inside)):
                        inside[ox] = source[ox]
                else:
                    for ox in range(len(inside)):
                        inside[ox] = source[ox * sx]


@kernel
def _fold(image, columns, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    """The transpose of `_unroll`: each row of columns added back to where it was taken from."""
    rows, ho, wo = columns.shape
    h, w = image.shape[1:]
    image[:] = 0
    for row in range(rows):
        c, i, j = row // (r * s), row // s % r, row % s
        shift = j * dx - px
        first, last = _span(wo, w, shift, sx)
        for oy in range(ho):
            iy = oy * sy + i * dy - py
            if iy >= 0 and iy < h:
                inside = columns[row, oy, first:last]
                line = image[c, iy, max(first * sx + shift, 0) :]
                if sx == 1:
                    for ox in range(len(inside)):
                        line[ox] += inside[ox]
                else:
                    for ox in range(len(inside)):
                        line[ox * sx] += inside[ox]
