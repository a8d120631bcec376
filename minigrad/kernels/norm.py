"""Batch normalisation over (N, C, L). Statistics are summed plane by plane, and the planes' sums in float64."""

from __future__ import annotations

import math

from minigrad.jit import kernel, prange

__all__ = ["batch_norm", "batch_norm_input", "batch_norm_weight"]


@kernel(parallel=True, work=3)
def batch_norm(out, mean, rstd, x, weight, bias, eps):  # type: ignore[no-untyped-def]
    """Each channel less its mean, over its standard deviation, scaled and shifted; mean and 1/deviation are kept."""
    n, channels, length = x.shape
    kind = x.dtype.type
    for c in prange(channels):
        total = 0.0
        for i in range(n):
            row, part = x[i, c], kind(0)
            for p in range(length):
                part += row[p]
            total += part
        mean[c] = total / (n * length)
        centre = kind(mean[c])
        total = 0.0
        for i in range(n):
            row, part = x[i, c], kind(0)
            for p in range(length):
                part += (row[p] - centre) * (row[p] - centre)
            total += part
        rstd[c] = 1 / math.sqrt(total / (n * length) + eps)
        scale, shift = kind(rstd[c] * weight[c]), bias[c]
        for i in range(n):
            row, to = x[i, c], out[i, c]
            for p in range(length):
                to[p] = (row[p] - centre) * scale + shift


@kernel
def _moments(g, x, c, centre):  # type: ignore[no-untyped-def]
    """Sums over a channel of g and of ``g * (x - centre)``."""
    kind = x.dtype.type
    plain = weighted = 0.0
    for i in range(x.shape[0]):
        row, h = x[i, c], g[i, c]
        a, b = kind(0), kind(0)
        for p in range(len(row)):
            a += h[p]
            b += h[p] * (row[p] - centre)
        plain += a
        weighted += b
    return plain, weighted


@kernel(parallel=True)
def batch_norm_input(dx, g, x, weight, mean, rstd):  # type: ignore[no-untyped-def]
    """``w * r * (g - mean(g) - xhat * mean(g * xhat))`` in each channel."""
    n, channels, length = x.shape
    kind = x.dtype.type
    for c in prange(channels):
        centre, count = kind(mean[c]), n * length
        plain, weighted = _moments(g, x, c, centre)
        flat, steep = kind(plain / count), kind(weighted * rstd[c] * rstd[c] / count)
        scale = kind(weight[c] * rstd[c])
        for i in range(n):
            row, h, to = x[i, c], g[i, c], dx[i, c]
            for p in range(length):
                to[p] = scale * (h[p] - flat - (row[p] - centre) * steep)


@kernel(parallel=True, work=1)
def batch_norm_weight(dw, g, x, mean, rstd):  # type: ignore[no-untyped-def]
    """``sum(g * xhat)`` in each channel."""
    for c in prange(x.shape[1]):
        dw[c] = _moments(g, x, c, x.dtype.type(mean[c]))[1] * rstd[c]
