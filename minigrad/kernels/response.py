"""Local response normalisation over (N, C, L): Krizhevsky et al. 2012, section 3.3, alpha divided by the size as in PyTorch.

Each image is walked once, channel after channel, in stretches of pixels so short that the rows of a window stay in the
cache. Those rows lie in a ring: the newest takes the place of the one that leaves the window, and a window's sum is that of
the whole ring, formed anew each time (a running sum, from which what leaves is taken away, would lose digits).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.rows import Vectors, over_rows

__all__ = ["lrn", "lrn_input"]

Array = np.ndarray[Any, Any]

#: Pixels of a stretch, at most; rows that are added in one go.
_STRETCH, _TOGETHER = 1024, 5


# ------------------------------------------------------------------------------------------------ rows


def _add(emit: Vectors, rows: tuple[Any, ...]) -> Any:
    total = rows[0]
    for row in rows[1:]:
        total = emit.builder.fadd(total, row)
    return total


def _inverse_root(emit: Vectors, s: Any) -> Any:
    """One over the root. LLVM makes an estimate and a Newton step of it, which would make NaN of Inf."""
    flags = ("reassoc", "contract", "arcp")
    root = emit.call(f"llvm.sqrt.{emit.suffix}", emit.kind, s, flags=flags)
    inverse = emit.builder.fdiv(emit.number(1.0), root, flags=flags)
    return emit.builder.select(emit.builder.fcmp_ordered("==", s, emit.number(math.inf)), emit.number(0.0), inverse)


def _power(emit: Vectors, rows: tuple[Any, ...], scale: Any, offset: Any) -> tuple[Any, Any]:
    """``s^-1/2`` and ``s^-3/4``, by roots, which cost far less than a power."""
    inverse = _inverse_root(emit, emit.fma(scale, _add(emit, rows), offset))
    root = emit.call(f"llvm.sqrt.{emit.suffix}", emit.kind, inverse)
    return inverse, emit.builder.fmul(inverse, root)


def _normed(emit: Vectors, *given: Any) -> tuple[list[Any], list[Any]]:
    *rows, x, scale, offset = given
    return [emit.builder.fmul(x, _power(emit, tuple(rows), scale, offset)[1])], []


def _terms(emit: Vectors, *given: Any) -> tuple[list[Any], list[Any]]:
    *rows, g, x, scale, offset = given
    inverse, power = _power(emit, tuple(rows), scale, offset)
    own = emit.builder.fmul(g, power)
    return [own, emit.builder.fmul(emit.builder.fmul(own, x), emit.builder.fmul(inverse, inverse))], []


def _less(emit: Vectors, *given: Any) -> tuple[list[Any], list[Any]]:
    *rows, own, x, steep = given
    return [emit.builder.fsub(own, emit.builder.fmul(emit.builder.fmul(steep, x), _add(emit, tuple(rows))))], []


def _normed_python(
    to: Array, s: Array, a: Array, b: Array, c: Array, d: Array, e: Array, x: Array, scale: float, offset: float
) -> None:
    to[:] = x * (offset + scale * (s + a + b + c + d + e)) ** -0.75


def _terms_python(
    own: Array, term: Array, s: Array, a: Array, b: Array, c: Array, d: Array, e: Array, g: Array, x: Array,
    scale: float, offset: float,
) -> None:  # fmt: skip
    bracket = offset + scale * (s + a + b + c + d + e)
    own[:] = g * bracket**-0.75
    term[:] = own * x / bracket


def _less_python(
    to: Array, s: Array, a: Array, b: Array, c: Array, d: Array, e: Array, own: Array, x: Array, steep: float
) -> None:
    to[:] = own - steep * x * (s + a + b + c + d + e)


def _square_python(to: Array, x: Array) -> None:
    np.multiply(x, x, out=to)


#: ``to = x^2``
_square = over_rows(_square_python, lambda emit, x: ([emit.builder.fmul(x, x)], []), outputs=1, inputs=1, sums=0)
#: ``to = x s^-3/4``, s being ``offset + scale * (the sum of six rows)``
_normed_34 = over_rows(_normed_python, _normed, outputs=1, inputs=7, sums=0)
#: ``own = g s^-3/4`` and ``term = g x s^-7/4``
_terms_34 = over_rows(_terms_python, _terms, outputs=2, inputs=8, sums=0)
#: ``to = own - steep * x * (the sum of six rows)``
_less_sum = over_rows(_less_python, _less, outputs=1, inputs=8, sums=0)


@kernel
def _ring(size, length, x):  # type: ignore[no-untyped-def]
    """Rows of zeros; those behind the window's stay so."""
    return np.zeros(((size + _TOGETHER - 1) // _TOGETHER * _TOGETHER, length), x.dtype)


@kernel
def _newest(row, x, c, begin, end):  # type: ignore[no-untyped-def]
    """A channel's squares, of one behind the last zeros."""
    if c >= len(x):
        row[:] = 0
    else:
        _square(row, x[c, begin:end])


@kernel
def _sum(s, ring):  # type: ignore[no-untyped-def]
    """The sum of the ring's rows without the last five, which are added on the way."""
    if len(ring) > _TOGETHER:
        s[:] = 0
    for j in range(0, len(ring) - _TOGETHER, _TOGETHER):
        a, b, c, d, e = ring[j], ring[j + 1], ring[j + 2], ring[j + 3], ring[j + 4]
        for p in range(len(s)):
            s[p] += a[p] + b[p] + c[p] + d[p] + e[p]


@kernel
def _brackets(to, s, ring, scale, offset):  # type: ignore[no-untyped-def]
    """What is raised to a power that is not made of roots."""
    a, b, c, d, e = ring[-5], ring[-4], ring[-3], ring[-2], ring[-1]
    for p in range(len(to)):
        to[p] = offset + scale * (s[p] + (a[p] + b[p] + c[p] + d[p] + e[p]))


# ------------------------------------------------------------------------------------------------ kernels


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
    ring, s = _ring(size, end - begin, x), np.zeros(end - begin, x.dtype)
    for newest in range(len(x) + ahead):
        _newest(ring[newest % size], x, newest, begin, end)
        c = newest - ahead
        if c >= 0:
            row, to = x[c, begin:end], out[c, begin:end]
            _sum(s, ring)
            if beta == 0.75:
                _normed_34(to, s, ring[-5], ring[-4], ring[-3], ring[-2], ring[-1], row, scale, offset)
            else:
                _brackets(to, s, ring, scale, offset)
                for p in range(len(row)):
                    to[p] = row[p] * math.pow(to[p], -beta)


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
    ring, terms = _ring(size, end - begin, x), _ring(size, end - begin, x)
    s, t = np.zeros(end - begin, x.dtype), np.zeros(end - begin, x.dtype)
    for newest in range(channels + ahead + behind):
        _newest(ring[newest % size], x, newest, begin, end)
        c, done = newest - ahead, newest - ahead - behind
        if 0 <= c < channels:
            own, term, h, row = dx[c, begin:end], terms[c % size], g[c, begin:end], x[c, begin:end]
            _sum(s, ring)
            if beta == 0.75:
                _terms_34(own, term, s, ring[-5], ring[-4], ring[-3], ring[-2], ring[-1], h, row, scale, offset)
            else:
                _brackets(term, s, ring, scale, offset)
                for p in range(len(row)):
                    own[p] = h[p] * math.pow(term[p], -beta)
                    term[p] = own[p] * row[p] / term[p]
        elif c >= channels:
            terms[c % size] = 0
        if done >= 0:
            own, row = dx[done, begin:end], x[done, begin:end]
            _sum(t, terms)
            _less_sum(own, t, terms[-5], terms[-4], terms[-3], terms[-2], terms[-1], own, row, steep)
