"""Batch normalisation over (N, C, L). Statistics are summed plane by plane, and the planes' sums in float64.

A thread takes a share of the channels, image after image: so what it reads of an image lies in one piece. Fewer channels at a
time would leave in the nearest cache what is read again; but memory that is read in short pieces, some KB here and some there,
comes half as fast, and that costs more. The second walk goes backwards: what was read last is still near.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.jit import get_num_threads, kernel, prange
from minigrad.kernels.rows import over_rows

__all__ = ["batch_norm", "batch_norm_input", "batch_norm_moments"]

Array = np.ndarray[Any, Any]

def _centred(emit, row, centre):  # type: ignore[no-untyped-def]
    return emit.builder.fsub(row, centre)


_total = over_rows(
    lambda row: float(row.sum(dtype=np.float64)), lambda emit, row: ([], [row]), outputs=0, inputs=1, sums=1, vectors=2
)
_squares = over_rows(
    lambda row, centre: float(np.square(row - row.dtype.type(centre)).sum(dtype=np.float64)),
    lambda emit, row, centre: ([], [emit.builder.fmul(*[_centred(emit, row, centre)] * 2)]),
    outputs=0,
    inputs=1,
    sums=1,
    vectors=2,
)


def _scaled_python(to, row, centre, scale, shift):  # type: ignore[no-untyped-def]
    kind = row.dtype.type
    to[:] = (row - kind(centre)) * kind(scale) + kind(shift)


_scaled = over_rows(
    _scaled_python,
    lambda emit, row, centre, scale, shift: ([emit.fma(_centred(emit, row, centre), scale, shift)], []),
    outputs=1,
    inputs=1,
    sums=0,
)


def _both_python(h, row, centre):  # type: ignore[no-untyped-def]
    return float(h.sum(dtype=np.float64)), float((h * (row - row.dtype.type(centre))).sum(dtype=np.float64))


_both = over_rows(
    _both_python,
    lambda emit, h, row, centre: ([], [h, emit.builder.fmul(h, _centred(emit, row, centre))]),
    outputs=0,
    inputs=2,
    sums=2,
    vectors=2,
)


def _pulled_python(to, h, row, centre, flat, steep, scale):  # type: ignore[no-untyped-def]
    kind = row.dtype.type
    to[:] = kind(scale) * (h - kind(flat) - (row - kind(centre)) * kind(steep))


def _pulled_vectors(emit, h, row, centre, flat, steep, scale):  # type: ignore[no-untyped-def]
    builder = emit.builder
    off = builder.fsub(builder.fsub(h, flat), builder.fmul(_centred(emit, row, centre), steep))
    return [builder.fmul(scale, off)], []


_pulled = over_rows(_pulled_python, _pulled_vectors, outputs=1, inputs=2, sums=0)


def batch_norm(out: Array, mean: Array, rstd: Array, x: Array, weight: Array, bias: Array, eps: float) -> None:
    """Each channel less its mean, over its standard deviation, scaled and shifted; mean and 1/deviation are kept."""
    _batch_norm(out, mean, rstd, x, weight, bias, eps, get_num_threads())


def batch_norm_moments(plain: Array, weighted: Array, g: Array, x: Array, mean: Array, rstd: Array) -> None:
    """``sum(g)`` and ``sum(g * xhat)`` in each channel."""
    _batch_norm_moments(plain, weighted, g, x, mean, rstd, get_num_threads())


def batch_norm_input(
    dx: Array, plain: Array, weighted: Array, g: Array, x: Array, weight: Array, mean: Array, rstd: Array
) -> None:
    """``w * r * (g - mean(g) - xhat * mean(g * xhat))`` in each channel, and those sums."""
    _batch_norm_input(dx, plain, weighted, g, x, weight, mean, rstd, get_num_threads())


@kernel(parallel=True, work=3)
def _batch_norm(out, mean, rstd, x, weight, bias, eps, threads):  # type: ignore[no-untyped-def]
    channels = x.shape[1]
    for thread in prange(threads):
        part = np.int64(thread)
        _norm(out, mean, rstd, x, weight, bias, eps, channels * part // threads, channels * (part + 1) // threads)


@kernel
def _norm(out, mean, rstd, x, weight, bias, eps, first, end):  # type: ignore[no-untyped-def]
    _statistics(mean, rstd, x, eps, first, end)
    for i in range(len(x) - 1, -1, -1):
        for c in range(first, end):
            _scaled(out[i, c], x[i, c], mean[c], rstd[c] * weight[c], bias[c])


@kernel
def _statistics(mean, rstd, x, eps, first, end):  # type: ignore[no-untyped-def]
    """Of each channel, from sums and squares about the mean of each plane, and from these means, about the first of them.

    Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37 (1983).
    """
    n, _, length = x.shape
    within, between = np.zeros(end - first), np.zeros(end - first)
    for i in range(n):
        for c in range(first, end):
            centre = _total(x[i, c]) / length
            within[c - first] += _squares(x[i, c], centre)
            if i == 0:
                mean[c], rstd[c] = centre, 0
            off = centre - mean[c]
            rstd[c] += off
            between[c - first] += off * off
    for c in range(first, end):
        off = rstd[c] / n
        mean[c] += off
        variance = within[c - first] / (n * length) + max(between[c - first] / n - off * off, 0)
        rstd[c] = 1 / math.sqrt(variance + eps)


@kernel(parallel=True, work=2)
def _batch_norm_moments(plain, weighted, g, x, mean, rstd, threads):  # type: ignore[no-untyped-def]
    channels = x.shape[1]
    for thread in prange(threads):
        part = np.int64(thread)
        _moments(plain, weighted, g, x, mean, rstd, channels * part // threads, channels * (part + 1) // threads)


@kernel
def _moments(plain, weighted, g, x, mean, rstd, first, end):  # type: ignore[no-untyped-def]
    plain[first:end] = 0
    weighted[first:end] = 0
    for i in range(x.shape[0]):
        for c in range(first, end):
            a, b = _both(g[i, c], x[i, c], mean[c])
            plain[c] += a
            weighted[c] += b
    for c in range(first, end):
        weighted[c] *= rstd[c]


@kernel(parallel=True)
def _batch_norm_input(dx, plain, weighted, g, x, weight, mean, rstd, threads):  # type: ignore[no-untyped-def]
    channels = x.shape[1]
    for thread in prange(threads):
        first, end = channels * np.int64(thread) // threads, channels * (np.int64(thread) + 1) // threads
        _moments(plain, weighted, g, x, mean, rstd, first, end)
        _pull(dx, plain, weighted, g, x, weight, mean, rstd, first, end)


@kernel
def _pull(dx, plain, weighted, g, x, weight, mean, rstd, first, end):  # type: ignore[no-untyped-def]
    n, _, length = x.shape
    count = n * length
    for i in range(n - 1, -1, -1):
        for c in range(first, end):
            flat, steep = plain[c] / count, weighted[c] * rstd[c] / count
            _pulled(dx[i, c], g[i, c], x[i, c], mean[c], flat, steep, weight[c] * rstd[c])
