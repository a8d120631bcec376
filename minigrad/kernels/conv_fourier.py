"""Convolution as a product of spectra ('fft'): for large windows, whose size costs nothing here.

The transform of a cross-correlation is one spectrum times the other's conjugate (Mathieu, Henaff and LeCun, Fast Training
of Convolutional Networks through FFTs, 2014). Frequency by frequency channels are summed by a matrix product. A stride is
a subsampled result, or a cotangent with zeros between; a dilation is a window with zeros between.

Rounding is relative to the largest numbers of a plane and not to each result: direct sums are more exact. A NaN or Inf would
spread over its plane; where a result is not finite, whoever calls asks the direct way.
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any

import numpy as np

from minigrad.jit import get_num_threads, kernel, prange
from minigrad.kernels.blas import gemm, product
from minigrad.kernels.frames import Array, Geometry, Pair, shares

__all__ = ["by_input", "by_weight", "forward"]

#: Images are transformed together as long as their spectra have no more complex numbers than this.
_TOGETHER = 1 << 22


def forward(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> bool:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    (sy, sx), padding, dilation, groups = geometry
    size, count = _lengths(x, padding), out.shape[2:]
    weights = np.conj(_spectrum(_spread(w, dilation), size)).swapaxes(1, 2)  # (frequencies, C / groups, F)
    for here in _chunks(x.shape[0], max(x.shape[1], out.shape[1]), size):
        images = _spectrum(_framed(x[here], padding), size)
        made = _plane(_by_group(images, weights, groups, columns=True), size)
        out[here] = made[:, :, : sy * count[0] : sy, : sx * count[1] : sx]
    if bias is not None:
        out += bias[:, None, None]
    return bool(np.isfinite(out).all())


def by_input(dx: Array, g: Array, w: Array, geometry: Geometry) -> bool:
    """The derivative by the input: the product of spectra as they are, which is a convolution."""
    stride, padding, dilation, groups = geometry
    size = _lengths(dx, padding)
    weights = _spectrum(_spread(w, dilation), size)  # (frequencies, F, C / groups)
    for here in _chunks(g.shape[0], max(g.shape[1], dx.shape[1]), size):
        cotangents = _spectrum(_spread(g[here], stride), size)
        made = _plane(_by_group(cotangents, weights, groups, columns=False), size)
        dx[here] = made[:, :, padding[0] : padding[0] + dx.shape[2], padding[1] : padding[1] + dx.shape[3]]
    return bool(np.isfinite(dx).all())


def by_weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> bool:
    """The derivative by the weight: images seen from the cotangents, as far as the window reaches."""
    stride, padding, (down, right), groups = geometry
    size, channels, filters = _lengths(x, padding), dw.shape[1], len(dw) // groups
    total = np.zeros(dw.shape, dw.dtype)
    for here in _chunks(x.shape[0], max(x.shape[1], g.shape[1]), size):
        images = _spectrum(_framed(x[here], padding), size)
        cotangents = np.conj(_spectrum(_spread(g[here], stride), size)).swapaxes(1, 2)
        for group in range(groups):
            own, seen = slice(group * filters, (group + 1) * filters), slice(group * channels, (group + 1) * channels)
            made = _plane(_products(cotangents[:, own], images[:, :, seen]), size)
            total[own] += made[:, :, : down * dw.shape[2] : down, : right * dw.shape[3] : right]
    dw[...] = total
    return bool(np.isfinite(dw).all())


# ------------------------------------------------------------------------------------------------ planes and spectra


@functools.cache
def _transforms() -> Any:
    return importlib.import_module("scipy.fft")  # late: few ask for it, and it keeps float32


def _lengths(x: Array, padding: Pair) -> Pair:
    """Lengths that hold a framed image and that are quick to transform: nothing that is wanted wraps round."""
    quick = _transforms().next_fast_len
    return tuple(quick(n + 2 * p, real=True) for n, p in zip(x.shape[2:], padding, strict=True))


def _chunks(images: int, planes: int, size: Pair) -> list[slice]:
    several = max(1, _TOGETHER // (planes * size[0] * (size[1] // 2 + 1)))
    return [slice(at, at + several) for at in range(0, images, several)]


def _framed(x: Array, padding: Pair) -> Array:
    return np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding))) if any(padding) else x


def _spread(x: Array, step: Pair) -> Array:
    """With zeros between, so that neighbours are `step` apart."""
    if step == (1, 1):
        return x
    rows, columns = ((n - 1) * d + 1 for n, d in zip(x.shape[2:], step, strict=True))
    wide = np.zeros((*x.shape[:2], rows, columns), x.dtype)
    wide[:, :, :: step[0], :: step[1]] = x
    return wide


def _spectrum(planes: Array, size: Pair) -> Array:
    """(A, B, H, W) -> (frequencies, A, B)."""
    made = _transforms().rfft2(planes, size, workers=get_num_threads())
    return np.ascontiguousarray(made.reshape(*made.shape[:2], -1).transpose(2, 0, 1))


def _plane(spectrum: Array, size: Pair) -> Array:
    """(frequencies, A, B) -> (A, B, H, W)."""
    made = np.ascontiguousarray(spectrum.transpose(1, 2, 0)).reshape(*spectrum.shape[1:], size[0], size[1] // 2 + 1)
    return np.asarray(_transforms().irfft2(made, size, workers=get_num_threads()))


# ------------------------------------------------------------------------------------------------ products


def _by_group(images: Array, weights: Array, groups: int, columns: bool) -> Array:
    """(frequencies, N, A) times weights, whose filters are the columns or the rows, group by group."""
    if groups == 1:
        return _products(images, weights)
    filters = weights.shape[2 if columns else 1] // groups
    parts = []
    for group in range(groups):
        own = slice(group * filters, (group + 1) * filters)
        part = weights[:, :, own] if columns else weights[:, own]
        inner = part.shape[1]
        parts.append(_products(images[:, :, group * inner : (group + 1) * inner], part))
    return np.concatenate(parts, axis=2)


def _products(a: Array, b: Array) -> Array:
    """``a @ b`` of complex matrices, (frequencies, M, K) times (frequencies, K, N), on all threads."""
    frequencies, m, k = a.shape
    n = b.shape[2]
    out = np.empty((frequencies, m, n), a.dtype)
    real: Any = out.real.dtype
    left, right = (np.ascontiguousarray(part).view(real).reshape(-1) for part in (a, b))
    sizes = np.array([m, k, n, math.prod((m, k)) * 2, math.prod((k, n)) * 2])
    _frequencies(out.view(real).reshape(-1), left, right, sizes, shares(frequencies), gemm(real))
    return out


@kernel(parallel=True)
def _frequencies(out, a, b, sizes, parts, gemm):  # type: ignore[no-untyped-def]
    for part in prange(len(parts) - 1):
        _share_of_frequencies(np.int64(part), out, a, b, sizes, parts, gemm)


@kernel
def _share_of_frequencies(part, out, a, b, sizes, parts, gemm):  # type: ignore[no-untyped-def]
    """Complex numbers lie as two real ones; times (c + di) is times a 2x2 matrix, (c, d) over (-d, c)."""
    m, k, n, from_a, from_b = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    wide = np.empty(4 * k * n, a.dtype)
    for frequency in range(parts[part], parts[part + 1]):
        right = b[frequency * from_b : (frequency + 1) * from_b]
        for i in range(k):
            upper, lower = wide[4 * i * n : (4 * i + 2) * n], wide[(4 * i + 2) * n : (4 * i + 4) * n]
            row = right[2 * i * n : 2 * (i + 1) * n]
            for j in range(n):
                upper[2 * j], upper[2 * j + 1] = row[2 * j], row[2 * j + 1]
                lower[2 * j], lower[2 * j + 1] = -row[2 * j + 1], row[2 * j]
        at = out[2 * frequency * m * n :]
        product(gemm, at, 2 * n, a[frequency * from_a :], 2 * k, 0, wide, 2 * n, 0, m, 2 * n, 2 * k)
