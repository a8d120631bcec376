"""Local response normalisation over (N, C, L): Krizhevsky et al. 2012, section 3.3, alpha divided by the size as in PyTorch.

Each image is walked once, channel after channel, in stretches of pixels so short that the rows of a window stay in the
cache. Those rows lie in a ring: the newest takes the place of the one that leaves the window, and a window's sum is that of
the whole ring, formed anew each time (a running sum, from which what leaves is taken away, would lose digits). Rows of the
ring are whole vectors, so that the loop with the square roots has no remainder in which they are taken one by one.
"""

from __future__ import annotations

import math

import numpy as np

from minigrad.jit import kernel, prange

__all__ = ["lrn", "lrn_input"]

#: Pixels of a stretch, at most; what the length of a ring's rows is a multiple of; rows that are added in one go.
_STRETCH, _WHOLE, _TOGETHER = 1024, 64, 5


@kernel(parallel=True)
def lrn(out, x, size, alpha, beta, k):  # type: ignore[no-untyped-def]
    """``x_i s_i^-beta``, s being ``k + alpha / size * (sum of squares over neighbouring channels)``."""
    n, _, length = x.shape
    parts = (length + _STRETCH - 1) // _STRETCH
    for unit in prange(n * parts):
        begin, end = length * (unit % parts) // parts, length * (unit % parts + 1) // parts
        _lrn(out[unit // parts], x[unit // parts], begin, end, size, alpha, beta, k)


@kernel
def _lrn(out, x, begin, end, size, alpha, beta, k):  # type: ignore[no-untyped-def]
    scale, offset, ahead = x.dtype.type(alpha / size), x.dtype.type(k), (size - 1) // 2
    ring = _ring(size, end - begin, x)
    s = np.empty(ring.shape[1], x.dtype)
    for newest in range(len(x) + ahead):
        _square(ring[newest % size], x, newest, begin, end)
        c = newest - ahead
        if c >= 0:
            _powers(s, ring, scale, offset, beta)
            row, to = x[c, begin:end], out[c, begin:end]
            for p in range(len(row)):
                to[p] = row[p] * s[p]


@kernel
def _ring(size, length, x):  # type: ignore[no-untyped-def]
    """Rows of zeros; those behind the window's stay so."""
    rows = (size + _TOGETHER - 1) // _TOGETHER * _TOGETHER
    return np.zeros((rows, (length + _WHOLE - 1) // _WHOLE * _WHOLE), x.dtype)


@kernel
def _square(row, x, c, begin, end):  # type: ignore[no-untyped-def]
    """A channel's squares, of one behind the last zeros."""
    if c >= len(x):
        row[:] = 0
    else:
        values = x[c, begin:end]
        for p in range(len(values)):
            row[p] = values[p] * values[p]


@kernel
def _sum(s, ring, rows):  # type: ignore[no-untyped-def]
    """The sum of the ring's first rows, a multiple of five."""
    s[:] = 0
    for j in range(0, rows, _TOGETHER):
        a, b, c, d, e = ring[j], ring[j + 1], ring[j + 2], ring[j + 3], ring[j + 4]
        for p in range(len(s)):
            s[p] += a[p] + b[p] + c[p] + d[p] + e[p]


@kernel
def _inverse_root(s, one):  # type: ignore[no-untyped-def]
    """One, of the same type, over the root. LLVM makes an estimate and a Newton step of it, which would make NaN of Inf."""
    inverse = one / math.sqrt(s)
    return one - one if s == np.inf else inverse


@kernel
def _powers(s, squares, scale, offset, beta):  # type: ignore[no-untyped-def]
    """``s^-beta``; the paper's 3/4 by square roots, which cost far less than a power."""
    _sum(s, squares, len(squares) - _TOGETHER)  # the last rows are added on the way
    a, b, c, d, e = squares[-5], squares[-4], squares[-3], squares[-2], squares[-1]
    one = s.dtype.type(1)
    if beta == 0.75:
        for p in range(len(s)):
            inverse = _inverse_root(offset + scale * (s[p] + (a[p] + b[p] + c[p] + d[p] + e[p])), one)
            s[p] = inverse * math.sqrt(inverse)
    else:
        for p in range(len(s)):
            s[p] = math.pow(offset + scale * (s[p] + (a[p] + b[p] + c[p] + d[p] + e[p])), -beta)


@kernel(parallel=True)
def lrn_input(dx, g, x, size, alpha, beta, k):  # type: ignore[no-untyped-def]
    """``g_i s_i^-beta - 2 alpha/n beta x_i * sum over windows j that hold i of g_j x_j s_j^(-beta-1)``."""
    n, _, length = x.shape
    parts = (length + _STRETCH - 1) // _STRETCH
    for unit in prange(n * parts):
        begin, end = length * (unit % parts) // parts, length * (unit % parts + 1) // parts
        i = unit // parts
        _lrn_input(dx[i], g[i], x[i], begin, end, size, alpha, beta, k)


@kernel
def _lrn_input(dx, g, x, begin, end, size, alpha, beta, k):  # type: ignore[no-untyped-def]
    """A second ring holds the terms that are summed over windows; the other term waits in `dx` meanwhile."""
    scale, offset, steep = x.dtype.type(alpha / size), x.dtype.type(k), x.dtype.type(2 * alpha / size * beta)
    channels, ahead, behind = len(x), (size - 1) // 2, size // 2
    squares, terms = _ring(size, end - begin, x), _ring(size, end - begin, x)
    s, t = np.empty(squares.shape[1], x.dtype), np.empty(squares.shape[1], x.dtype)
    for newest in range(channels + ahead + behind):
        _square(squares[newest % size], x, newest, begin, end)
        c, done = newest - ahead, newest - ahead - behind
        if 0 <= c < channels:
            _both_powers(s, t, squares, scale, offset, beta)
            _pull(dx[c, begin:end], terms[c % size], g[c, begin:end], x[c, begin:end], s, t)
        elif c >= channels:
            terms[c % size] = 0
        if done >= 0:
            _sum(s, terms, len(terms))
            row, to = x[done, begin:end], dx[done, begin:end]
            for p in range(len(row)):
                to[p] -= steep * row[p] * s[p]


@kernel
def _both_powers(s, t, squares, scale, offset, beta):  # type: ignore[no-untyped-def]
    """``s^-beta`` and ``s^(-beta-1)``."""
    _sum(s, squares, len(squares) - _TOGETHER)  # the last rows are added on the way
    a, b, c, d, e = squares[-5], squares[-4], squares[-3], squares[-2], squares[-1]
    one = s.dtype.type(1)
    if beta == 0.75:
        for p in range(len(s)):
            inverse = _inverse_root(offset + scale * (s[p] + (a[p] + b[p] + c[p] + d[p] + e[p])), one)
            s[p] = inverse * math.sqrt(inverse)
            t[p] = s[p] * (inverse * inverse)
    else:
        for p in range(len(s)):
            bracket = offset + scale * (s[p] + (a[p] + b[p] + c[p] + d[p] + e[p]))
            s[p] = math.pow(bracket, -beta)
            t[p] = s[p] / bracket


@kernel
def _pull(own, terms, g, x, s, t):  # type: ignore[no-untyped-def]
    for p in range(len(g)):
        own[p] = g[p] * s[p]
        terms[p] = g[p] * x[p] * t[p]
