"""Batch normalisation over (N, C, L). Statistics are summed plane by plane, and the planes' sums in float64.

A thread takes a share of the channels, image after image: so what it reads of an image lies in one piece. Fewer channels at a
time would leave in the nearest cache what is read again; but memory that is read in short pieces, some KB here and some there,
comes half as fast, and that costs more. The second walk goes backwards: what was read last is still near.

A mean may have more digits than the numbers have. They are taken less the mean rounded to their type, which is exact or nearly
so where they are close to it, and what that leaves of the mean is made up for afterwards, in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.jit import get_num_threads, kernel, prange
from minigrad.kernels.rows import Vectors, over_rows

__all__ = ["batch_norm", "batch_norm_input", "batch_norm_moments"]

Array = np.ndarray[Any, Any]


# ------------------------------------------------------------------------------------------------ rows


def _about_python(row: Array, centre: float) -> tuple[float, float]:
    off = row - row.dtype.type(centre)
    return float(off.sum(dtype=np.float64)), float(np.square(off).sum(dtype=np.float64))


def _about_vectors(emit: Vectors, row: Any, centre: Any) -> tuple[list[Any], list[Any]]:
    off = emit.builder.fsub(row, centre)
    return [], [off, emit.builder.fmul(off, off)]


def _scaled_python(to: Array, row: Array, centre: float, scale: float, shift: float) -> None:
    kind = row.dtype.type
    to[:] = (row - kind(centre)) * kind(scale) + kind(shift)


def _scaled_vectors(emit: Vectors, row: Any, centre: Any, scale: Any, shift: Any) -> tuple[list[Any], list[Any]]:
    return [emit.fma(emit.builder.fsub(row, centre), scale, shift)], []


def _both_python(h: Array, row: Array, centre: float) -> tuple[float, float]:
    return float(h.sum(dtype=np.float64)), float((h * (row - row.dtype.type(centre))).sum(dtype=np.float64))


def _both_vectors(emit: Vectors, h: Any, row: Any, centre: Any) -> tuple[list[Any], list[Any]]:
    return [], [h, emit.builder.fmul(h, emit.builder.fsub(row, centre))]


def _pulled_python(to: Array, h: Array, row: Array, centre: float, flat: float, steep: float, scale: float) -> None:
    kind = row.dtype.type
    to[:] = kind(scale) * (h - kind(flat) - (row - kind(centre)) * kind(steep))


def _pulled_vectors(
    emit: Vectors, h: Any, row: Any, centre: Any, flat: Any, steep: Any, scale: Any
) -> tuple[list[Any], list[Any]]:
    builder = emit.builder
    off = builder.fmul(builder.fsub(row, centre), steep)
    return [builder.fmul(scale, builder.fsub(builder.fsub(h, flat), off))], []


#: ``sum(row)``
_total = over_rows(
    lambda row: float(row.sum(dtype=np.float64)), lambda emit, row: ([], [row]), outputs=0, inputs=1, sums=1, vectors=2
)
#: ``sum(row - centre)`` and ``sum((row - centre)^2)``
_about = over_rows(_about_python, _about_vectors, outputs=0, inputs=1, sums=2, vectors=2)
#: ``to = (row - centre) * scale + shift``
_scaled = over_rows(_scaled_python, _scaled_vectors, outputs=1, inputs=1, sums=0)
#: ``sum(h)`` and ``sum(h * (row - centre))``
_both = over_rows(_both_python, _both_vectors, outputs=0, inputs=2, sums=2, vectors=2)
#: ``to = scale * (h - flat - (row - centre) * steep)``
_pulled = over_rows(_pulled_python, _pulled_vectors, outputs=1, inputs=2, sums=0)


# ------------------------------------------------------------------------------------------------ kernels


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
            rounded, scale = np.float64(x.dtype.type(mean[c])), rstd[c] * weight[c]
            _scaled(out[i, c], x[i, c], rounded, scale, bias[c] - (mean[c] - rounded) * scale)


@kernel
def _statistics(mean, rstd, x, eps, first, end):  # type: ignore[no-untyped-def]
    """Of each channel, from sums and squares about the mean of each plane, and from these means, about the first of them.

    A plane's mean is first rounded to the type of its numbers; the sum of what they differ from it, which is little, says what
    is left of it. Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37 (1983).
    """
    n, _, length = x.shape
    within, between = np.zeros(end - first), np.zeros(end - first)
    for i in range(n):
        for c in range(first, end):
            rounded = np.float64(x.dtype.type(_total(x[i, c]) / length))
            rest, squares = _about(x[i, c], rounded)
            centre = rounded + rest / length
            within[c - first] += squares - rest * rest / length
            if i == 0:
                mean[c], rstd[c] = centre, 0
            off = centre - mean[c]
            rstd[c] += off
            between[c - first] += off * off
    for c in range(first, end):
        off = rstd[c] / n
        mean[c] += off
        variance = max(within[c - first], 0) / (n * length) + max(between[c - first] / n - off * off, 0)
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
            rounded = np.float64(x.dtype.type(mean[c]))
            a, b = _both(g[i, c], x[i, c], rounded)
            plain[c] += a
            weighted[c] += b - (mean[c] - rounded) * a
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
            rounded = np.float64(x.dtype.type(mean[c]))
            flat, steep = plain[c] / count, weighted[c] * rstd[c] / count
            flat -= (mean[c] - rounded) * steep
            _pulled(dx[i, c], g[i, c], x[i, c], rounded, flat, steep, weight[c] * rstd[c])
