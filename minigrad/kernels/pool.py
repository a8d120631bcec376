"""Pooling over planes: (N, C, H, W) as (planes, H, W); each plane is one thread's."""

from __future__ import annotations

import numpy as np

from minigrad.jit import kernel, prange

__all__ = ["average", "average_backward", "max_pool", "pick", "scatter"]


@kernel(parallel=True)
def max_pool(out, indices, x, r, s, sy, sx, py, px, dy, dx):  # type: ignore[no-untyped-def]
    """Each window's largest and its place in the plane (row order). The first of a tie; NaN wins. Padding never does:
    a window whose taps all miss the image gives -inf and the place -1.
    """
    planes, ho, wo = out.shape
    _, h, w = x.shape
    for plane in prange(planes):
        for oy in range(ho):
            for ox in range(wo):
                best = x.dtype.type(-np.inf)
                place = -1
                for i in range(r):
                    iy = oy * sy - py + i * dy
                    if iy >= 0 and iy < h:
                        for j in range(s):
                            ix = ox * sx - px + j * dx
                            if ix >= 0 and ix < w:
                                value = x[plane, iy, ix]
                                if place < 0 or value > best or (value != value and best == best):
                                    best = value
                                    place = iy * w + ix
                out[plane, oy, ox] = best
                indices[plane, oy, ox] = place


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
