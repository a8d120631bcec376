"""Convolution in two dimensions and its two derivatives.

    x (N, C, H, W), w (F, C / groups, R, S) -> out (N, F, Ho, Wo)

There are several ways to calculate them, a module each; the table in `conv_table` chooses by the task, unless an algorithm
is asked for. Transforms, Winograd's and Fourier's, carry an Inf or NaN (or an overflow) into neighbours that don't see it:
where their result is not finite, the direct way calculates it again.
"""

from __future__ import annotations

import functools
from typing import Any

from minigrad.kernels import conv_columns, conv_direct, conv_fourier, conv_winograd, conv_winograd_images
from minigrad.kernels.conv_table import ALGORITHMS, Task, choose, limits
from minigrad.kernels.frames import Array, Geometry, output_length
from minigrad.kernels.vector import machine_lanes

__all__ = [
    "ALGORITHMS",
    "Geometry",
    "Task",
    "choose",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "limits",
    "output_length",
    "task_of",
]

Shape = tuple[int, ...]

#: What is not direct. Each gives False where its result is not finite, which may have spread from where it belongs.
_OTHERS: dict[str, Any] = {
    "winograd-channels": conv_winograd,
    "winograd-images": conv_winograd_images,
    "im2col": conv_columns,
    "fft": conv_fourier,
}


def conv2d(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry, algorithm: str | None = None) -> None:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    if out.size and w.size:
        way, direct = _ways("forward", x.shape, w.shape, out.shape, geometry, x.itemsize, machine_lanes(), algorithm)
        if way not in _OTHERS or not _OTHERS[way].forward(out, x, w, bias, geometry):
            conv_direct.forward(direct, out, x, w, bias, geometry)
    elif out.size:  # no channels, nothing to sum
        out[...] = 0 if bias is None else bias[:, None, None]


def conv2d_input(dx: Array, g: Array, w: Array, geometry: Geometry, algorithm: str | None = None) -> None:
    """The derivative by the input: each cotangent spread over the window that it came from."""
    if dx.size and w.size:
        way, direct = _ways("input", dx.shape, w.shape, g.shape, geometry, g.itemsize, machine_lanes(), algorithm)
        if way not in _OTHERS or not _OTHERS[way].by_input(dx, g, w, geometry):
            conv_direct.by_input(direct, dx, g, w, geometry)
    else:
        dx[...] = 0


def conv2d_weight(dw: Array, g: Array, x: Array, geometry: Geometry, algorithm: str | None = None) -> None:
    """The derivative by the weight, summed over images and pixels."""
    if g.size and x.size and dw.size:
        way, direct = _ways("weight", x.shape, dw.shape, g.shape, geometry, g.itemsize, machine_lanes(), algorithm)
        if way not in _OTHERS or not _OTHERS[way].by_weight(dw, g, x, geometry):
            conv_direct.by_weight(direct, dw, g, x, geometry)
    else:
        dw[...] = 0


def task_of(kind: str, x: Shape, w: Shape, out: Shape, geometry: Geometry, itemsize: int = 4) -> Task:
    """The task between arrays of these shapes, on this machine."""
    filters = w[0] // geometry.groups
    image, window, size = (x[2], x[3]), (w[2], w[3]), (out[2], out[3])
    return Task(kind, x[0], w[1], filters, window, image, size, geometry, itemsize, machine_lanes())


@functools.lru_cache(maxsize=4096)
def _ways(
    kind: str, x: Shape, w: Shape, out: Shape, geometry: Geometry, itemsize: int, lanes: int, algorithm: str | None
) -> tuple[str, str]:
    """What `choose` says, and the direct way that stands in for it, found by shapes: making a task takes longer."""
    task = task_of(kind, x, w, out, geometry, itemsize)
    way = choose(task, algorithm)
    return way, choose(task, "direct") if way in _OTHERS else way
