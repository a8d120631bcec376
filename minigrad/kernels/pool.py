"""Pooling over planes: (N, C, H, W) as (planes, H, W); each plane is one thread's."""

from __future__ import annotations

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.windows import best_of_row, spread_row

__all__ = ["average", "average_backward", "max_pool", "pick", "scatter"]

#: Rows of fewer windows are not worth a vector's setting up.
_NARROW = 8
#: Planes that a thread takes at a time.
_PLANES = 16


@kernel(parallel=True, work=2)
def max_pool(out, taps, x, inner, layout):  # type: ignore[no-untyped-def]
    """Each window's largest and which of its taps that was. The first of a tie; NaN wins. Padding never does: a window whose
    taps all miss the image gives -inf and one tap more than there are. ``inner`` says where a window's taps lie, from its
    first one on, ``layout`` is a `Layout`: (N, C, H, W) -> (N, C, Ho, Wo).
    """
    planes = x.shape[0] * x.shape[1]
    for block in prange((planes + _PLANES - 1) // _PLANES):
        first = np.int64(block) * _PLANES
        _max_of_planes(out, taps, x, inner, layout, first, min(first + _PLANES, planes))


@kernel
def _max_of_planes(out, taps, x, inner, layout, begin, end):  # type: ignore[no-untyped-def]
    """Windows between the left and right edge row by row, without a branch on the numbers, which would be guessed wrongly
    half of the time; others one by one.
    """
    (_, _, h, w), (_, _, ho, wo) = x.shape, out.shape
    r, s, sy, sx, py, px, dy, dx = layout[:8]
    between = layout[8:]
    best, which, values = out.reshape(-1), taps.reshape(-1), x.reshape(-1)
    fours = r == 2 and s == 2 and sx == 2 and dy == 1 and dx == 1 and py == 0 and (ho - 1) * sy + 2 <= h
    if wo < _NARROW and fours and between[0] == 0 and between[1] == wo:
        for plane in range(begin, end):
            for oy in range(ho):
                _max_of_fours(best, which, values, (plane * ho + oy) * wo, (plane * h + oy * sy) * w, w, wo)
        return
    for line in range(begin * ho, end * ho):
        plane, oy = line // ho, line % ho
        at, y, left, right = line * wo, oy * sy - py, between[0], between[1]
        above, below = _within(y, h, r, dy)
        if above < below:
            start = (plane * h + y) * w - px
            best_of_row(best, which, at + left, values, start + left * sx, right - left, sx, inner, above * s, below * s)
        else:
            left = right = wo
        for ox in range(left):
            _max_at_edge(best, which, at + ox, values, plane * h * w, h, w, y, ox * sx - px, r, s, dy, dx)
        for ox in range(right, wo):
            _max_at_edge(best, which, at + ox, values, plane * h * w, h, w, y, ox * sx - px, r, s, dy, dx)


@kernel
def _max_of_fours(best, taps, values, at, start, w, count):  # type: ignore[no-untyped-def]
    """A row of 2x2 windows side by side, too short for vectors: window by window, the best so far staying in a register."""
    one, below, at, start = np.uint64(1), np.uint64(w), np.uint64(at), np.uint64(start)
    for k in range(np.uint64(count)):
        place = start + k + k
        known, which = _better(values[place], 0, values[place + one], 1)
        known, which = _better(known, which, values[place + below], 2)
        known, which = _better(known, which, values[place + below + one], 3)
        best[at + k], taps[at + k] = known, which


@kernel
def _better(known, which, value, tap):  # type: ignore[no-untyped-def]
    """The larger of two and its tap; the first of a tie and of two NaN."""
    wins = (value > known) | ((value != value) & (known == known))
    return (value if wins else known), (tap if wins else which)


@kernel
def _within(start, length, window, dilation):  # type: ignore[no-untyped-def]
    """The first tap that lies within the image, and the one behind the last."""
    if start >= 0 and start + (window - 1) * dilation < length:  # divisions take longer than a row of small windows
        return 0, window
    first = (max(0, -start) + dilation - 1) // dilation
    return first, min(window, (length - 1 - start) // dilation + 1)


@kernel
def _max_at_edge(best, taps, at, values, base, h, w, y, x, r, s, dy, dx):  # type: ignore[no-untyped-def]
    """One window of which some taps may miss the image."""
    (above, below), (first, last) = _within(y, h, r, dy), _within(x, w, s, dx)
    known, which = values.dtype.type(-np.inf), r * s
    for i in range(above, below):
        for j in range(first, last):
            value = values[base + (y + i * dy) * w + x + j * dx]
            if which == r * s or value > known or (value != value and known == known):
                known, which = value, i * s + j
    best[at], taps[at] = known, which


@kernel(parallel=True)
def scatter(dx, g, taps, inner, layout):  # type: ignore[no-untyped-def]
    """Each cotangent added to the place that its output was taken from: (N, C, Ho, Wo) -> (N, C, H, W)."""
    planes = g.shape[0] * g.shape[1]
    for block in prange((planes + _PLANES - 1) // _PLANES):
        first = np.int64(block) * _PLANES
        _scatter_planes(dx, g, taps, inner, layout, first, min(first + _PLANES, planes))


@kernel
def _scatter_planes(to, g, taps, inner, layout, begin, end):  # type: ignore[no-untyped-def]
    (_, _, h, w), (_, _, ho, wo) = to.shape, g.shape
    r, s, sy, sx, py, px, dy, dx = layout[:8]
    flat, which, values = to.reshape(-1), taps.reshape(-1), g.reshape(-1)
    # Windows of two columns, side by side and none over an edge: a row of them is written at once.
    pairs = s == 2 and sx == 2 and sy == r and dy == 1 and dx == 1 and py == 0 and px == 0 and 2 * wo <= w and r * ho <= h
    pairs = pairs and wo >= _NARROW
    if not pairs or 2 * wo < w or r * ho < h:
        flat[begin * h * w : end * h * w] = 0
    for plane in range(begin, end):
        for oy in range(ho):
            at, start = (plane * ho + oy) * wo, (plane * h + oy * sy - py) * w - px
            if pairs:
                for i in range(r):
                    spread_row(flat, start + i * w, values, which, at, wo, 2 * i)
            else:
                for ox in range(wo):
                    tap = which[np.uint64(at + ox)]
                    if tap < np.uint64(r * s):
                        flat[np.uint64(start + ox * sx + inner[tap])] += values[np.uint64(at + ox)]


@kernel(parallel=True)
def pick(out, x, taps, inner, layout):  # type: ignore[no-untyped-def]
    """The elements at the places that outputs were taken from: (N, C, H, W) -> (N, C, Ho, Wo)."""
    for plane in prange(x.shape[0] * x.shape[1]):
        _pick_plane(out, x, taps, inner, layout, np.int64(plane))


@kernel
def _pick_plane(out, x, taps, inner, layout, plane):  # type: ignore[no-untyped-def]
    (_, _, h, w), (_, _, ho, wo) = x.shape, out.shape
    r, s, sy, sx, py, px = layout[:6]
    best, which, values = out.reshape(-1), taps.reshape(-1), x.reshape(-1)
    for oy in range(ho):
        at, start = (plane * ho + oy) * wo, (plane * h + oy * sy - py) * w - px
        for ox in range(wo):
            tap = which[at + ox]
            best[at + ox] = values[start + ox * sx + inner[tap]] if tap < r * s else 0


@kernel(parallel=True)
def average(out, x, tops, bottoms, lefts, rights, divisors):  # type: ignore[no-untyped-def]
    """The sum over each window, given by its edges, over its divisor."""
    planes, ho, wo = out.shape
    for plane in prange(planes):
        for oy in range(ho):
            for ox in range(wo):
                total = np.float64(0)  # in plain Python, too
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
