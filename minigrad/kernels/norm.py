"""Batch normalisation over (N, C, L). Statistics are summed plane by plane, and the planes' sums in float64.

A thread takes a few neighbouring channels at a time: then what it reads of an image lies in one piece, which the processor
fetches ahead, and what it reads again is still in its cache.
"""

from __future__ import annotations

import math

import numpy as np

from minigrad.jit import kernel, prange

__all__ = ["batch_norm", "batch_norm_input", "batch_norm_moments"]

#: Bytes that are read again, at most; and channels that are taken together, at most.
_CACHED, _TOGETHER = 1 << 19, 8


@kernel
def _together(x, arrays):  # type: ignore[no-untyped-def]
    """How many channels of so many arrays like `x` to take together."""
    n, channels, length = x.shape
    fitting = _CACHED // max(1, n * length * x.itemsize * arrays)
    return max(1, min(_TOGETHER, min(fitting, channels // 4)))


@kernel(parallel=True, work=3)
def batch_norm(out, mean, rstd, x, weight, bias, eps):  # type: ignore[no-untyped-def]
    """Each channel less its mean, over its standard deviation, scaled and shifted; mean and 1/deviation are kept."""
    channels, step = x.shape[1], _together(x, 1)
    for block in prange((channels + step - 1) // step):
        _norm(out, mean, rstd, x, weight, bias, eps, block * step, min(channels, (block + 1) * step))


@kernel
def _norm(out, mean, rstd, x, weight, bias, eps, first, end):  # type: ignore[no-untyped-def]
    n, _, length = x.shape
    kind, count = x.dtype.type, n * length
    totals = np.zeros(end - first)
    for i in range(n):
        for c in range(first, end):
            row, part = x[i, c], kind(0)
            for p in range(length):
                part += row[p]
            totals[c - first] += part
    for c in range(first, end):
        mean[c] = totals[c - first] / count
    totals[:] = 0
    for i in range(n):
        for c in range(first, end):
            row, part, centre = x[i, c], kind(0), kind(mean[c])
            for p in range(length):
                part += (row[p] - centre) * (row[p] - centre)
            totals[c - first] += part
    for c in range(first, end):
        rstd[c] = 1 / math.sqrt(totals[c - first] / count + eps)
    for i in range(n):
        for c in range(first, end):
            row, to = x[i, c], out[i, c]
            centre, scale, shift = kind(mean[c]), kind(rstd[c] * weight[c]), bias[c]
            for p in range(length):
                to[p] = (row[p] - centre) * scale + shift


@kernel(parallel=True, work=2)
def batch_norm_moments(plain, weighted, g, x, mean, rstd):  # type: ignore[no-untyped-def]
    """``sum(g)`` and ``sum(g * xhat)`` in each channel."""
    channels = x.shape[1]
    step = max(1, min(_TOGETHER, channels // 4))
    for block in prange((channels + step - 1) // step):
        _moments(plain, weighted, g, x, mean, rstd, block * step, min(channels, (block + 1) * step))


@kernel
def _moments(plain, weighted, g, x, mean, rstd, first, end):  # type: ignore[no-untyped-def]
    kind = x.dtype.type
    plain[first:end] = 0
    weighted[first:end] = 0
    for i in range(x.shape[0]):
        for c in range(first, end):
            row, h, centre = x[i, c], g[i, c], kind(mean[c])
            a, b = kind(0), kind(0)
            for p in range(len(row)):
                a += h[p]
                b += h[p] * (row[p] - centre)
            plain[c] += a
            weighted[c] += b
    for c in range(first, end):
        weighted[c] *= rstd[c]


@kernel(parallel=True)
def batch_norm_input(dx, plain, weighted, g, x, weight, mean, rstd):  # type: ignore[no-untyped-def]
    """``w * r * (g - mean(g) - xhat * mean(g * xhat))`` in each channel, and those sums."""
    channels, step = x.shape[1], _together(x, 2)
    for block in prange((channels + step - 1) // step):
        first, end = block * step, min(channels, (block + 1) * step)
        _moments(plain, weighted, g, x, mean, rstd, first, end)
        _pull(dx, plain, weighted, g, x, weight, mean, rstd, first, end)


@kernel
def _pull(dx, plain, weighted, g, x, weight, mean, rstd, first, end):  # type: ignore[no-untyped-def]
    n, _, length = x.shape
    kind, count = x.dtype.type, n * length
    for i in range(n):
        for c in range(first, end):
            row, h, to, centre = x[i, c], g[i, c], dx[i, c], kind(mean[c])
            flat, steep, scale = kind(plain[c] / count), kind(weighted[c] * rstd[c] / count), kind(weight[c] * rstd[c])
            for p in range(length):
                to[p] = scale * (h[p] - flat - (row[p] - centre) * steep)
