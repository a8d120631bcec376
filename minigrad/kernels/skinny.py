"""Matrix products with one short side: a few rows against a large matrix, as fully-connected layers have in small batches.

They take as long as the large matrix takes to come from memory, once; BLAS, which lays its sides out anew first, takes
several times as long. Matrices are in row order, and a large one's rows are whole vectors.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minigrad.jit import get_num_threads, kernel, prange
from minigrad.kernels.memory import empty
from minigrad.kernels.vector import Dots, Strip, machine_lanes, registers, run

__all__ = ["FEW", "LEAST", "fits", "rank_update", "rows_by_columns", "rows_by_rows"]

Array = np.ndarray[Any, Any]

#: So many rows at most, and from so many numbers of the large matrix on; otherwise BLAS is as fast.
FEW, _LARGE = 12, 1 << 18
#: So no product of fewer multiply-adds is for these kernels.
LEAST = 2 * _LARGE
#: Rows of the large matrix that are gone through side by side: rows are often a multiple of 4 KB apart, and a cache has few
#: places for such. So many rows and columns are summed before their sum is added to the result, which keeps rounding small.
_PANEL, _SUM, _COLUMNS = 16, 256, 1536
#: Vectors that are summed in one go.
_RUN = 128


def fits(few: int, large: tuple[int, int], itemsize: int) -> bool:
    """Whether these kernels are for so many rows against (or making) a matrix of this shape."""
    if not 2 <= few <= FEW or large[0] * large[1] < _LARGE or large[0] < _PANEL:
        return False  # before anybody asks for lanes, which loads numba
    return large[1] % (machine_lanes() * 4 // itemsize) == 0


def rows_by_rows(few: Array, many: Array) -> Array:
    """``few @ many.T``: (M, K), (N, K) -> (M, N)."""
    out = empty((len(few), len(many)), few.dtype)
    dots = Dots(len(few), max(1, (registers() - 4) // (len(few) + 1)), _lanes(few), few.dtype.name)
    rows = np.concatenate([np.arange(dots.taps), np.arange(dots.filters)]) * few.shape[1]
    _inner_products(
        out, few, many, _cuts(len(many), dots.taps), _places(few.shape[1], dots.lanes), rows, dots.handle, dots.taps
    )
    return out


def rows_by_columns(few: Array, many: Array) -> Array:
    """``few @ many``: (M, N), (N, K) -> (M, K)."""
    out = empty((len(few), many.shape[1]), few.dtype)
    strip = _strip(len(few), many.shape[1], _lanes(few), few.dtype.name)
    inner, rows = np.arange(_PANEL) * many.shape[1], np.arange(len(few)) * strip.width
    cuts = _cuts(many.shape[1], strip.width)
    _panels(out, np.ascontiguousarray(few.T), many, cuts, inner, rows, strip.handle, strip.width)
    return out


def rank_update(left: Array, right: Array) -> Array:
    """``left.T @ right``: (M, N), (M, K) -> (N, K), a sum of M outer products."""
    (few, count), length = left.shape, right.shape[1]
    out = empty((count, length), left.dtype)
    strip = _strip(6, length, _lanes(left), left.dtype.name)
    blocks = -(-count // strip.filters)
    first = np.minimum(np.arange(blocks) * strip.filters, count - strip.filters)  # the last overlaps the one before it
    factors = np.ascontiguousarray(left.T[first[:, None] + np.arange(strip.filters)].transpose(0, 2, 1))
    inner, rows = np.arange(few) * length, np.arange(strip.filters) * length
    _outer_products(out, right, factors, first, _cuts(blocks, 1), inner, rows, strip.handle, strip.width)
    return out


def _lanes(array: Array) -> int:
    return machine_lanes() * 4 // int(array.dtype.itemsize)


def _strip(filters: int, length: int, lanes: int, dtype: str) -> Strip:
    """As many vectors as fit the registers and divide a row."""
    most = (registers() - 3) // (filters + 1)
    return Strip(filters, next(v for v in range(max(1, most), 0, -1) if length % (v * lanes) == 0), lanes, dtype)


def _cuts(count: int, unit: int) -> Array:
    """Where each thread's part begins, in whole units, and where the last one's ends."""
    threads = get_num_threads()
    return np.minimum(np.arange(threads + 1) * -(-count // (threads * unit)) * unit, count)


@functools.lru_cache(maxsize=64)
def _places(length: int, lanes: int) -> Array:
    """The vectors of a row, for both sides of an inner product."""
    return np.repeat(np.arange(0, length, lanes), 2)


@kernel(parallel=True, work=2)
def _inner_products(out, few, many, cuts, places, rows, dots, taps):  # type: ignore[no-untyped-def]
    for part in prange(len(cuts) - 1):
        _rows_of_products(out, few, many, cuts[part], cuts[part + 1], places, rows, dots, taps)


@kernel
def _rows_of_products(out, few, many, start, end, places, rows, dots, taps):  # type: ignore[no-untyped-def]
    count, length = len(few), many.shape[1]
    lanes = 2 * length // len(places)
    sums, totals = np.empty((count, taps, lanes), out.dtype), np.empty((count, taps), out.dtype)
    for block in range(start, end, taps):
        # The last block overlaps the one before it, which may be another thread's: so it is written once, when all is summed.
        n = max(0, min(block, len(many) - taps))
        totals[:] = 0
        for first in range(0, len(places) // 2, _RUN):
            some = places[2 * first : 2 * (first + _RUN)]
            sums[:] = 0
            run(dots, sums, many, n * length, some, len(some) // 2, rows, few)
            for m in range(count):
                for t in range(taps):
                    part, line = out.dtype.type(0), sums[m, t]
                    for lane in range(lanes):
                        part += line[lane]
                    totals[m, t] += part
        for m in range(count):
            for t in range(taps):
                out[m, n + t] = totals[m, t]


@kernel(parallel=True, work=2)
def _panels(out, turned, many, cuts, inner, rows, strip, width):  # type: ignore[no-untyped-def]
    for part in prange(len(cuts) - 1):
        _columns_of_panels(out, turned, many, cuts[part], cuts[part + 1], inner, rows, strip, width)


@kernel
def _columns_of_panels(out, turned, many, start, end, inner, rows, strip, width):  # type: ignore[no-untyped-def]
    count, length, chunk = turned.shape[1], many.shape[1], _COLUMNS // width * width
    sums, part = np.empty((count, width), out.dtype), np.empty((count, chunk), out.dtype)
    out[:, start:end] = 0
    for upper in range(0, len(many), _SUM):
        lower = min(upper + _SUM, len(many))
        for left in range(start, end, chunk):
            right = min(left + chunk, end)
            part[:] = 0
            for first in range(upper, lower, _PANEL):
                for x in range(left, right, width):
                    run(strip, sums, many, first * length + x, inner, min(_PANEL, lower - first), rows, turned[first:])
                    for m in range(count):
                        to, line = part[m, x - left : x - left + width], sums[m]
                        for k in range(width):
                            to[k] += line[k]
            for m in range(count):
                to, line = out[m, left:right], part[m]
                for k in range(right - left):
                    to[k] += line[k]


@kernel(parallel=True)
def _outer_products(out, right, factors, first, cuts, inner, rows, strip, width):  # type: ignore[no-untyped-def]
    for part in prange(len(cuts) - 1):
        _rows_of_sums(out, right, factors, first, cuts[part], cuts[part + 1], inner, rows, strip, width)


@kernel
def _rows_of_sums(out, right, factors, first, start, end, inner, rows, strip, width):  # type: ignore[no-untyped-def]
    numbers, length = out.reshape(-1), out.shape[1]
    for block in range(start, end):
        for x in range(0, length, width):
            run(strip, numbers[first[block] * length + x :], right, x, inner, len(inner), rows, factors[block])
