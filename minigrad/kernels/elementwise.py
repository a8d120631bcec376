"""Activation loops over flat contiguous arrays. The first argument says where the answer goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.exponential import elus, sigmoids
from minigrad.kernels.memory import empty_like

__all__ = ["elu", "gate", "leaky", "maxout", "of_one", "of_two", "rectify", "shut", "sigmoid"]

Array = np.ndarray[Any, Any]

#: Elements that a thread takes at a time.
_CHUNK = 16384
#: Loops that only compare and choose take seven elements a nanosecond: 250,000 of them while a second thread wakes.
_LIGHT = 8


def of_one(kernel: Any, x: Array, *settings: float) -> Array:
    """Run an elementwise kernel over an array; the output is new and contiguous."""
    out = empty_like(x)
    kernel(out.ravel(), x.ravel(), *settings)
    return out


def of_two(kernel: Any, g: Array, x: Array, *settings: float) -> Array:
    """Run one over two arrays of one shape and type."""
    out = empty_like(g)
    kernel(out.ravel(), g.ravel(), x.ravel(), *settings)
    return out


@kernel(parallel=True, light=_LIGHT)
def rectify(out, x):  # type: ignore[no-untyped-def]
    """``x`` where positive or NaN, else 0: also where it is -Inf, which times 0 would be NaN."""
    zero = x.dtype.type(0)
    for part in prange((x.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        o, v = out[here], x[here]  # slices compile to vector instructions, an index from start to end does not
        for i in range(v.size):
            o[i] = zero if v[i] <= 0 else v[i]


@kernel(parallel=True, light=_LIGHT)
def leaky(out, x, slope):  # type: ignore[no-untyped-def]
    """``x`` where positive, else ``slope * x``; NaN stays NaN."""
    scale = x.dtype.type(slope)  # a Python number is cheaper to pass than one of the array's type
    for part in prange((x.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        o, v = out[here], x[here]
        for i in range(v.size):
            o[i] = v[i] if v[i] > 0 else v[i] * scale


@kernel(parallel=True, light=_LIGHT)
def shut(out, g, x):  # type: ignore[no-untyped-def]
    """``g`` where ``x`` is positive or NaN, else 0, whatever ``g`` is."""
    zero = g.dtype.type(0)
    for part in prange((x.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        o, h, v = out[here], g[here], x[here]
        for i in range(v.size):
            o[i] = zero if v[i] <= 0 else h[i]


@kernel(parallel=True, light=_LIGHT)
def gate(out, g, x, slope):  # type: ignore[no-untyped-def]
    """``g`` where ``x`` is positive or NaN, else ``slope * g``; with a slope of 0 exactly 0, also for an infinite g."""
    scale = g.dtype.type(slope)
    for part in prange((x.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        o, h, v = out[here], g[here], x[here]
        if slope == 0:
            for i in range(v.size):
                o[i] = 0 if v[i] <= 0 else h[i]
        else:
            for i in range(v.size):
                o[i] = h[i] * scale if v[i] <= 0 else h[i]


@kernel(parallel=True)
def sigmoid(out, x):  # type: ignore[no-untyped-def]
    """``1 / (1 + exp(-x))``."""
    for part in prange((x.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        sigmoids(out[here], x[here])


@kernel(parallel=True)
def elu(out, x, alpha):  # type: ignore[no-untyped-def]
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    for part in prange((x.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        elus(out[here], x[here], alpha)


@kernel(parallel=True)
def maxout(out, chosen, x):  # type: ignore[no-untyped-def]
    """The largest of each row's pieces and which it was: (N, C, K, L) -> (N, C, L); the first of a tie, NaN wins."""
    n, c, pieces, length = x.shape
    for row in prange(n * c):
        i, j = row // c, row % c
        for at in range(length):
            best = x[i, j, 0, at]
            which = 0
            for k in range(1, pieces):
                value = x[i, j, k, at]
                if value > best or (value != value and best == best):
                    best = value
                    which = k
            out[i, j, at] = best
            chosen[i, j, at] = which
