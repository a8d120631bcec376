"""Convolution by columns and matrix products ('im2col'): the portable way, as fast as BLAS is on the machine.

What a window sees becomes a column, so that a group's filters times the columns are its outputs (Chellapilla, Puri and
Simard, High Performance Convolutional Neural Networks for Document Processing, 2006). Columns are laid out for a band of
output rows at a time, which stays in the cache. The derivative by the input is the turned product, its columns added back
to where they came from; by the weight it is the cotangent times the turned columns, band by band, so that sums are short.

Threads share out bands (images for the derivative by the input, whose bands overlap), with BLAS on one thread each.
"""

from __future__ import annotations

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.blas import gemm, product
from minigrad.kernels.frames import Array, Geometry, shares

__all__ = ["by_input", "by_weight", "forward"]

#: Numbers of a band of columns: half a megabyte of float32.
_BAND = 1 << 17


def forward(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> bool:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    offset = np.zeros(len(w), out.dtype) if bias is None else np.ascontiguousarray(bias)
    table, band = _table(geometry), _band(w, out)
    units = len(x) * geometry.groups * -(-out.shape[2] // band)
    _forward(out, np.ascontiguousarray(x), np.ascontiguousarray(w), offset, table, band, shares(units), gemm(out.dtype))
    return True


def by_input(dx: Array, g: Array, w: Array, geometry: Geometry) -> bool:
    """The derivative by the input: each cotangent spread over the window that it came from."""
    table, band, parts = _table(geometry), _band(w, g), shares(len(g) * geometry.groups)
    _by_input(dx, np.ascontiguousarray(g), np.ascontiguousarray(w), table, band, parts, gemm(g.dtype))
    return True


def by_weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> bool:
    """The derivative by the weight: each thread's bands in turn, then the threads'."""
    table, band = _table(geometry), _band(dw, g)
    parts = shares(len(x) * -(-g.shape[2] // band))
    total = np.zeros((len(parts) - 1, *dw.shape), dw.dtype)
    _by_weight(total, np.ascontiguousarray(g), np.ascontiguousarray(x), table, band, parts, gemm(g.dtype))
    dw[...] = total.sum(axis=0)
    return True


def _table(geometry: Geometry) -> Array:
    """Stride, padding and dilation by axis, and the groups, as kernels take them."""
    return np.array([*geometry[:3], (geometry.groups, 0)], np.int64)


def _band(w: Array, out: Array) -> int:
    """Rows of the output whose columns are laid out at a time."""
    return max(1, min(int(out.shape[2]), _BAND // int(w[0].size * out.shape[3])))


# ------------------------------------------------------------------------------------------------ loops


@kernel(parallel=True)
def _forward(out, x, w, bias, table, band, parts, gemm):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        _share_of_outputs(np.int64(part), out, x, w, bias, table, band, parts, gemm)


@kernel
def _share_of_outputs(part, out, x, w, bias, table, band, parts, gemm):  # type: ignore[no-untyped-def]
    _, filters, ho, wo = out.shape
    groups, bands = table[3, 0], (ho + band - 1) // band
    some, taps = filters // groups, w.shape[1] * w.shape[2] * w.shape[3]
    columns = np.empty(taps * band * wo, x.dtype)
    to, weights, pixels = out.reshape(-1), w.reshape(-1), x.reshape(-1)
    for unit in range(parts[part], parts[part + 1]):
        n, group, first = unit // (groups * bands), unit // bands % groups, unit % bands * band
        rows = min(band, ho - first)
        begin = (n * groups + group) * w.shape[1] * x.shape[2] * x.shape[3]
        _columns(columns, pixels, False, begin, x.shape[2:], w.shape[1:], table, first, rows, wo)
        start = ((n * filters + group * some) * ho + first) * wo
        product(
            gemm, to[start:], ho * wo, weights[group * some * taps :], taps, 0, columns, rows * wo, 0, some, rows * wo, taps
        )
        for f in range(some):
            line = to[start + f * ho * wo : start + (f * ho + rows) * wo]
            for i in range(len(line)):
                line[i] += bias[group * some + f]


@kernel(parallel=True)
def _by_input(dx, g, w, table, band, parts, gemm):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        _share_of_inputs(np.int64(part), dx, g, w, table, band, parts, gemm)


@kernel
def _share_of_inputs(part, dx, g, w, table, band, parts, gemm):  # type: ignore[no-untyped-def]
    _, filters, ho, wo = g.shape
    groups = table[3, 0]
    some, taps = filters // groups, w.shape[1] * w.shape[2] * w.shape[3]
    columns = np.empty(taps * band * wo, g.dtype)
    cotangent, weights, pixels = g.reshape(-1), w.reshape(-1), dx.reshape(-1)
    for unit in range(parts[part], parts[part + 1]):
        n, group = unit // groups, unit % groups
        each = w.shape[1] * dx.shape[2] * dx.shape[3]
        begin = unit * each
        pixels[begin : begin + each] = 0
        for first in range(0, ho, band):
            rows = min(band, ho - first)
            start = ((n * filters + group * some) * ho + first) * wo
            left, wide = weights[group * some * taps :], rows * wo
            product(gemm, columns, wide, left, taps, 1, cotangent[start:], ho * wo, 0, taps, wide, some)
            _columns(pixels, columns, True, begin, dx.shape[2:], w.shape[1:], table, first, rows, wo)


@kernel(parallel=True, work=1)
def _by_weight(total, g, x, table, band, parts, gemm):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        _share_of_sums(np.int64(part), total, g, x, table, band, parts, gemm)


@kernel
def _share_of_sums(part, total, g, x, table, band, parts, gemm):  # type: ignore[no-untyped-def]
    _, filters, ho, wo = g.shape
    groups, bands = table[3, 0], (ho + band - 1) // band
    window = total.shape[2:]
    some, taps = filters // groups, window[0] * window[1] * window[2]
    columns, found = np.empty(taps * band * wo, x.dtype), np.empty(some * taps, x.dtype)
    cotangent, sums, pixels = g.reshape(-1), total[part].reshape(-1), x.reshape(-1)
    for unit in range(parts[part], parts[part + 1]):
        n, first = unit // bands, unit % bands * band
        wide = min(band, ho - first) * wo
        for group in range(groups):
            begin = (n * groups + group) * window[0] * x.shape[2] * x.shape[3]
            _columns(columns, pixels, False, begin, x.shape[2:], window, table, first, wide // wo, wo)
            start = ((n * filters + group * some) * ho + first) * wo
            product(gemm, found, taps, cotangent[start:], ho * wo, 0, columns, wide, 1, some, taps, wide)
            own = sums[group * some * taps : (group + 1) * some * taps]
            for i in range(len(own)):
                own[i] += found[i]


# ------------------------------------------------------------------------------------------------ columns


@kernel
def _columns(to, source, adds, begin, image, window, table, first, rows, wo):  # type: ignore[no-untyped-def]
    """A row for each tap: what it sees from each place of the band, zeros beyond the image.

    From an image, whose pixels begin at `begin`, into columns; or with `adds` from columns, added to the pixels that they saw.
    """
    channels, r, s = window
    height, width = image
    at = 0
    for c in range(channels):
        for i in range(r):
            for j in range(s):
                ahead = j * table[2, 1] - table[1, 1]
                low, high = _seen(ahead, table[0, 1], width, wo)
                for y in range(first, first + rows):
                    row = y * table[0, 0] + i * table[2, 0] - table[1, 0]
                    inside = 0 <= row < height
                    if inside:
                        pixel = begin + (c * height + row) * width + low * table[0, 1] + ahead
                        _line(to, source, adds, at + low, pixel, high - low, table[0, 1])
                    if not adds:
                        to[at : at + (low if inside else wo)] = 0
                        to[at + high : at + wo] = 0
                    at += wo


@kernel
def _line(to, source, adds, column, pixel, count, stride):  # type: ignore[no-untyped-def]
    if adds:
        line, pixels = source[column : column + count], to[pixel:]
        if stride == 1:
            for k in range(len(line)):
                pixels[k] += line[k]
        else:
            for k in range(len(line)):
                pixels[k * stride] += line[k]
    else:
        line, pixels = to[column : column + count], source[pixel:]
        if stride == 1:
            for k in range(len(line)):
                line[k] = pixels[k]
        else:
            for k in range(len(line)):
                line[k] = pixels[k * stride]


@kernel
def _seen(ahead, stride, width, wo):  # type: ignore[no-untyped-def]
    """From which to which place of an output row a tap that is so far ahead sees the image."""
    low = 0 if ahead >= 0 else (-ahead + stride - 1) // stride
    high = 0 if ahead >= width else (width - 1 - ahead) // stride + 1
    low, high = min(low, wo), min(high, wo)
    return (low, high) if low < high else (0, 0)
