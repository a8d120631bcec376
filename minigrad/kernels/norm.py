"""Normalisation loops over (N, C, L). Statistics are summed in float64, whatever the arrays' type."""

from __future__ import annotations

import math

import numpy as np

from minigrad.jit import kernel, prange

__all__ = ["batch_norm", "batch_norm_input", "batch_norm_weight", "lrn", "lrn_input"]


@kernel(parallel=True)
def batch_norm(out, mean, rstd, x, weight, bias, eps):  # type: ignore[no-untyped-def]
    """Each channel less its mean, over its standard deviation, scaled and shifted; mean and 1/deviation are kept."""
    n, channels, length = x.shape
    for c in prange(channels):
        total = 0.0
        for i in range(n):
            for p in range(length):
                total += x[i, c, p]
        centre = total / (n * length)
        total = 0.0
        for i in range(n):
            for p in range(length):
                total += (x[i, c, p] - centre) ** 2
        scale = 1 / math.sqrt(total / (n * length) + eps)
        mean[c] = centre
        rstd[c] = scale
        for i in range(n):
            for p in range(length):
                out[i, c, p] = (x[i, c, p] - centre) * scale * weight[c] + bias[c]


@kernel(parallel=True)
def batch_norm_input(dx, g, x, weight, mean, rstd):  # type: ignore[no-untyped-def]
    """``w * r * (g - mean(g) - xhat * mean(g * xhat))`` in each channel."""
    n, channels, length = x.shape
    for c in prange(channels):
        plain = 0.0
        weighted = 0.0
        for i in range(n):
            for p in range(length):
                plain += g[i, c, p]
                weighted += g[i, c, p] * (x[i, c, p] - mean[c])
        count = n * length
        plain /= count
        weighted *= float(rstd[c]) * rstd[c] / count
        for i in range(n):
            for p in range(length):
                dx[i, c, p] = weight[c] * rstd[c] * (g[i, c, p] - plain - (x[i, c, p] - mean[c]) * weighted)


@kernel(parallel=True, work=1)
def batch_norm_weight(dw, g, x, mean, rstd):  # type: ignore[no-untyped-def]
    """``sum(g * xhat)`` in each channel."""
    n, channels, length = x.shape
    for c in prange(channels):
        total = 0.0
        for i in range(n):
            for p in range(length):
                total += g[i, c, p] * (x[i, c, p] - mean[c])
        dw[c] = total * rstd[c]


@kernel
def _brackets(s, x, size, alpha, k):  # type: ignore[no-untyped-def]
    """``k + alpha / size * (sum of squares over neighbouring channels)`` for one image: (C, L)."""
    channels, length = x.shape
    scale, offset = x.dtype.type(alpha / size), x.dtype.type(k)
    for c in range(channels):
        for p in range(length):
            s[c, p] = 0
        for j in range(max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1)):
            for p in range(length):
                s[c, p] += x[j, p] * x[j, p]
        for p in range(length):
            s[c, p] = offset + scale * s[c, p]


@kernel
def _power(s, beta):  # type: ignore[no-untyped-def]
    """``s ** -beta``; the paper's 3/4 by two square roots, which cost far less than a power."""
    if beta == 0.75:
        root = math.sqrt(s)
        return 1 / (root * math.sqrt(root))
    return math.pow(s, -beta)


@kernel(parallel=True)
def lrn(out, x, size, alpha, beta, k):  # type: ignore[no-untyped-def]
    """Krizhevsky et al. 2012, section 3.3, alpha divided by the size as in PyTorch."""
    n, channels, length = x.shape
    for i in prange(n):
        s = np.empty((channels, length), x.dtype)
        _brackets(s, x[i], size, alpha, k)
        for c in range(channels):
            for p in range(length):
                out[i, c, p] = x[i, c, p] * _power(s[c, p], beta)


@kernel(parallel=True)
def lrn_input(dx, g, x, size, alpha, beta, k):  # type: ignore[no-untyped-def]
    """``g_i s_i^-beta - 2 alpha/n beta a_i * sum over windows j that hold i of g_j a_j s_j^(-beta-1)``."""
    n, channels, length = x.shape
    scale = x.dtype.type(2 * alpha / size * beta)
    for i in prange(n):
        s = np.empty((channels, length), x.dtype)
        _brackets(s, x[i], size, alpha, k)
        t = np.empty((channels, length), x.dtype)
        for c in range(channels):
            for p in range(length):
                power = _power(s[c, p], beta)
                t[c, p] = g[i, c, p] * x[i, c, p] * power / s[c, p]
                s[c, p] = power
        for c in range(channels):
            for p in range(length):
                dx[i, c, p] = 0
            for j in range(max(0, c - (size - 1) // 2), min(channels, c + size // 2 + 1)):
                for p in range(length):
                    dx[i, c, p] += t[j, p]
            for p in range(length):
                own = g[i, c, p] * s[c, p]
                dx[i, c, p] = own - scale * x[i, c, p] * dx[i, c, p]
