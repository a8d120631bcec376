"""Images moved, turned and stretched: (N, C, H, W), each image by a map of its own."""

from __future__ import annotations

import math

from minigrad.jit import kernel, prange

__all__ = ["affine"]


@kernel
def _pixel(plane, y, x, fill):  # type: ignore[no-untyped-def]
    """The pixel, or `fill` beside the image."""
    if y < 0 or x < 0 or y >= plane.shape[0] or x >= plane.shape[1]:
        return fill
    return plane[y, x]


@kernel(parallel=True)
def affine(out, images, maps, fill):  # type: ignore[no-untyped-def]
    """``out[n, c, y, x] = images[n, c] at maps[n] @ (y, x, 1)``, between pixels bilinear, beside the image `fill`.

    `maps` (N, 2, 3) leads from a place in the output to one in the input; `fill` has the images' type. No two of the arrays
    may share memory.
    """
    count, channels, height, width = out.shape
    for n in prange(count):
        for c in range(channels):
            plane = images[n, c]
            for y in range(height):
                for x in range(width):
                    from_y = maps[n, 0, 0] * y + maps[n, 0, 1] * x + maps[n, 0, 2]
                    from_x = maps[n, 1, 0] * y + maps[n, 1, 1] * x + maps[n, 1, 2]
                    top, left = math.floor(from_y), math.floor(from_x)
                    down, right = from_y - top, from_x - left
                    above = _pixel(plane, top, left, fill) * (1 - right) + _pixel(plane, top, left + 1, fill) * right
                    below = _pixel(plane, top + 1, left, fill) * (1 - right) + _pixel(plane, top + 1, left + 1, fill) * right
                    out[n, c, y, x] = above * (1 - down) + below * down
