"""Pooling over planes: (N, C, H, W) as (planes, H, W); each plane is one thread's."""

from __future__ import annotations

import numpy as np

from minigrad.jit import kernel, prange

__all__ = ["average", "average_backward", "max_pool", "pick", "scatter"]


@kernel(parallel=True, work=2)
def max_pool(out, indices, x, h, w, ho, wo, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    """Each window's largest and its place in the plane (row order). The first of a tie; NaN wins. Padding never does:
    a window whose taps all miss the image gives -inf and the place -1. Planes are flat: (planes, h * w) -> (planes, ho * wo).

    Without a branch on the numbers, which would be guessed wrongly half of the time: tap by tap over a row of windows, or
    (the usual four pixels side by side) window by window, the best so far staying in a register.
    """
    fours = r == 2 and s == 2 and sy == 2 and sx == 2 and dy == 1 and dx == 1 and 2 * ho <= h and 2 * wo <= w
    for plane in prange(len(x)):
        if fours and py == 0 and px == 0:
            _max_of_fours(out[plane], indices[plane], x[plane], w, ho, wo)
        else:
            _max_of_plane(out[plane], indices[plane], x[plane], h, w, ho, wo, r, s, sy, sx, py, px, dy, dx)


@kernel
def _max_of_fours(best, place, values, w, ho, wo):  # type: ignore[no-untyped-def]
    """Windows of 2x2, side by side and all within the image."""
    one, below = np.uint64(1), np.uint64(w)
    for oy in range(ho):
        row, begin = np.uint64(oy * wo), np.uint64(2 * oy * w)
        for k in range(np.uint64(wo)):
            at = begin + k + k
            known, where = values[at], at
            known, where = _better(known, where, values[at + one], at + one)
            known, where = _better(known, where, values[at + below], at + below)
            known, where = _better(known, where, values[at + below + one], at + below + one)
            best[row + k] = known
            place[row + k] = where


@kernel
def _better(known, where, value, at):  # type: ignore[no-untyped-def]
    """The larger of two and its place; the first of a tie and of two NaN."""
    wins = (value > known) | ((value != value) & (known == known))
    return (value if wins else known), (at if wins else where)


@kernel
def _max_of_plane(best, place, values, h, w, ho, wo, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    for at in range(ho * wo):
        best[at] = -np.inf
        place[at] = -1
    for oy in range(ho):
        for i in range(r):
            iy = oy * sy - py + i * dy
            if iy >= 0 and iy < h:
                for j in range(s):
                    left = j * dx - px  # of the first window's tap; those that miss the image are left out
                    first = max(0, -(left // sx))
                    end = min(wo, (w - 1 - left) // sx + 1)
                    if first < end:
                        begin = iy * w + first * sx + left
                        if sx == 2:  # said as a number, so that it becomes plain loads and a shuffle
                            _larger(best, place, values, oy * wo + first, begin, 2, end - first)
                        else:
                            _larger(best, place, values, oy * wo + first, begin, sx, end - first)


@kernel
def _larger(best, place, values, start, begin, step, count):  # type: ignore[no-untyped-def]
    """Compare `count` windows' best with their next taps. Indices without a sign cost no look at whether they are negative."""
    start, begin, step = np.uint64(start), np.uint64(begin), np.uint64(step)
    for k in range(np.uint64(count)):
        value, known = values[begin + k * step], best[start + k]
        wins = (value > known) | (place[start + k] < 0) | ((value != value) & (known == known))
        best[start + k] = value if wins else known
        place[start + k] = begin + k * step if wins else place[start + k]


@kernel(parallel=True)
def scatter(dx, g, indices):  # type: ignore[no-untyped-def]
    """Each cotangent added to the place its output was taken from: (planes, outputs) -> (planes, pixels)."""
    planes, outputs = g.shape
    for plane in prange(planes):
        for i in range(dx.shape[1]):
            dx[plane, i] = 0
        for i in range(outputs):
            if indices[plane, i] >= 0:
                dx[plane, indices[plane, i]] += g[plane, i]


@kernel(parallel=True)
def pick(out, x, indices):  # type: ignore[no-untyped-def]
    """The elements at these places: (planes, pixels) -> (planes, outputs)."""
    planes, outputs = out.shape
    for plane in prange(planes):
        for i in range(outputs):
            out[plane, i] = x[plane, indices[plane, i]] if indices[plane, i] >= 0 else 0


@kernel(parallel=True)
def average(out, x, tops, bottoms, lefts, rights, divisors):  # type: ignore[no-untyped-def]
    """The sum over each window, given by its edges, over its divisor."""
    planes, ho, wo = out.shape
    for plane in prange(planes):
        for oy in range(ho):
            for ox in range(wo):
                total = x[0, 0, 0] * 0
                for iy in range(tops[oy], bottoms[oy]):
                    for ix in range(lefts[ox], rights[ox]):
                        total += x[plane, iy, ix]
                out[plane, oy, ox] = total / divisors[oy, ox]


@kernel(parallel=True)
def average_backward(dx, g, tops, bottoms, lefts, rights, divisors):  # type: ignore[no-untyped-def]
    """Each cotangent over its divisor added to all of its window."""
    planes, ho, wo = g.shape
    for plane in prange(planes):
        for iy in range(dx.shape[1]):
            for ix in range(dx.shape[2]):
                dx[plane, iy, ix] = 0
        for oy in range(ho):
            for ox in range(wo):
                share = g[plane, oy, ox] / divisors[oy, ox]
                for iy in range(tops[oy], bottoms[oy]):
                    for ix in range(lefts[ox], rights[ox]):
                        dx[plane, iy, ix] += share
