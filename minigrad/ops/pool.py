"""Max-pooling with the places it took from, and how pooling windows lie (means are in `mean_pool`)."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.kernels import pool as kernels
from minigrad.kernels.memory import empty
from minigrad.op import Op, Sample, register
from minigrad.ops.conv import Pair, Size, pair
from minigrad.ops.movement import squeeze, unsqueeze

if TYPE_CHECKING:
    pass

__all__ = ["max_pool2d"]

_PLACE = np.dtype(np.int32)


def planes(x: Array) -> Array:
    """(N, C, H, W) -> (N * C, H, W), contiguous."""
    return np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def pooled_length(length: int, window: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """As PyTorch counts: rounded up, a window may hang over the end but must start within the image or its left padding."""
    room = length + 2 * padding - dilation * (window - 1) - 1
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= length + padding else count


@functools.lru_cache(maxsize=1024)
def pooled_shape(
    name: str, input: Shape, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Shape:
    """The output's shape, by the rule of `pooled_length`; ShapeError where the windows don't fit."""
    if len(input) != 4:
        raise ShapeError(f"{name}: input of shape {list(input)}; expected (N, C, H, W)")
    if min(*kernel_size, *stride, *dilation) < 1 or any(p < 0 or 2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
        raise ShapeError(
            f"{name}: window {kernel_size}, stride {stride} and dilation {dilation} must be at least 1, "
            f"padding {padding} from 0 to half the window"
        )
    lengths = tuple(
        pooled_length(*each, ceil_mode) for each in zip(input[2:], kernel_size, stride, padding, dilation, strict=True)
    )
    if min(lengths) < 1:
        raise ShapeError(
            f"{name}: a window of {kernel_size} (dilation {dilation}, padding {padding}) "
            f"does not fit an image of {list(input[2:])}"
        )
    return (*input[:2], *lengths)


# ------------------------------------------------------------------------------------------------ max


def _max_shape(input: Shape, **settings: Any) -> Shape:
    return pooled_shape("max_pool2d", input, **settings)


def _max_forward(
    input: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    shape = pooled_shape("max_pool2d", input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    (n, c, h, w), (ho, wo) = input.shape, shape[2:]
    out, indices = empty(shape, input.dtype), empty(shape, _PLACE)
    flat = [a.reshape(n * c, -1) if a.size else a.reshape(n * c, 0) for a in (out, indices, np.ascontiguousarray(input))]
    kernels.max_pool(*flat, h, w, ho, wo, *kernel_size, *stride, *padding, *dilation)
    return out, indices


def _max_reference(
    input: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    shape = pooled_shape("max_pool2d", input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    out, indices = empty(shape, input.dtype), np.empty(shape, np.int32)
    rows, columns = (np.arange(k) * d for k, d in zip(kernel_size, dilation, strict=True))
    for n, c, y, x in np.ndindex(shape):
        iy, ix = np.meshgrid(rows + y * stride[0] - padding[0], columns + x * stride[1] - padding[1], indexing="ij")
        inside = (iy >= 0) & (iy < input.shape[2]) & (ix >= 0) & (ix < input.shape[3])
        values = input[n, c, iy[inside], ix[inside]]
        at = int(np.argmax(values))
        out[n, c, y, x] = values[at]
        indices[n, c, y, x] = iy[inside][at] * input.shape[3] + ix[inside][at]
    return out, indices


def _window(
    kernel_size: Pair, stride: Pair, padding: Pair = (0, 0), dilation: Pair = (1, 1), ceil_mode: bool = False
) -> dict[str, Any]:
    return {
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": ceil_mode,
    }


_MAX_CASES: tuple[tuple[Shape, dict[str, Any], str], ...] = (
    ((2, 2, 4, 4), _window((2, 2), (2, 2)), "windows side by side"),
    ((1, 2, 5, 7), _window((3, 3), (2, 2)), "overlapping windows"),
    ((1, 1, 5, 4), _window((3, 2), (1, 2), (1, 1)), "padding"),
    ((1, 1, 6, 6), _window((2, 2), (2, 1), (0, 0), (3, 2)), "dilation"),
    ((1, 1, 5, 5), _window((2, 2), (2, 2), ceil_mode=True), "a last window that hangs over"),
    ((0, 2, 4, 4), _window((2, 2), (2, 2)), "no images"),
)


def _max_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, settings, why in _MAX_CASES:
        yield Sample((rng.permutation(math.prod(shape)).reshape(shape) * 0.1 - 1.0,), settings, why=why)
    tie = np.zeros((1, 1, 2, 2))
    first = {"input": np.array([1.0, 0, 0, 0]).reshape(tie.shape)}
    yield Sample((tie,), _window((2, 2), (2, 2)), kink=first, why="the first of a tie, in row order")


def _places(rng: np.random.Generator) -> Iterator[tuple[Shape, Array]]:
    """Shapes of inputs and the places that an overlapping pooling took from."""
    for shape, settings, _ in _MAX_CASES:
        yield shape, _max_reference(rng.normal(size=shape), **settings)[1]


def _take(x: Array, indices: Array) -> Array:
    flat, places = (a.reshape(*a.shape[:2], a.shape[2] * a.shape[3]) for a in (x, indices))
    return np.take_along_axis(flat, places.astype(np.int64), 2).reshape(indices.shape)


def _pick_forward(x: Array, indices: Array) -> Array:
    out = empty(indices.shape, x.dtype)
    kernels.pick(*(a.reshape(len(a), a.shape[1] * a.shape[2]) for a in map(planes, (out, x, indices))))
    return out


def _scatter_forward(g: Array, indices: Array, *, size: Pair) -> Array:
    dx = empty((g.shape[0] * g.shape[1], size[0] * size[1]), g.dtype)
    kernels.scatter(dx, *(planes(a).reshape(len(dx), g.shape[2] * g.shape[3]) for a in (g, indices)))
    return dx.reshape(*g.shape[:2], *size)


def _scatter_reference(g: Array, indices: Array, *, size: Pair) -> Array:
    dx = np.zeros((*g.shape[:2], size[0] * size[1]), g.dtype)
    for place in np.ndindex(g.shape):
        dx[(*place[:2], indices[place])] += g[place]
    return dx.reshape(*g.shape[:2], *size)


_max_pool2d = register(
    Op(
        "max_pool2d",
        _max_forward,
        _max_shape,
        {"input": lambda g, indices, *, shapes: _max_pool2d_scatter(g, indices, size=shapes[0][2:])},
        _max_reference,
        _max_samples,
        flops=lambda out, x, *, kernel_size, **_: math.prod(out) * (math.prod(kernel_size) - 1),
        outputs=("out", "indices"),
        family="pool",
        onnx="MaxPool",
    )
)
_max_pool2d_scatter: Op = register(
    Op(
        "max_pool2d_scatter",
        _scatter_forward,
        lambda g, indices, *, size: (*g[:2], *size),
        {"g": lambda h, indices: _max_pool2d_pick(h, indices)},
        _scatter_reference,
        lambda rng: (Sample((rng.normal(size=i.shape), i), {"size": shape[2:]}) for shape, i in _places(rng)),
        flops=lambda out, g, *_, **__: math.prod(g),
        family="pool",
        doc="Each cotangent added to the place that max_pool2d took its output from.",
    )
)
_max_pool2d_pick: Op = register(
    Op(
        "max_pool2d_pick",
        _pick_forward,
        lambda x, indices: indices,
        {"x": lambda h, indices, *, shapes: _max_pool2d_scatter(h, indices, size=shapes[0][2:])},
        _take,
        lambda rng: (Sample((rng.normal(size=shape), i)) for shape, i in _places(rng)),
        family="pool",
        doc="The elements at the places that max_pool2d took its outputs from.",
    )
)


def max_pool2d(
    input: TensorBase,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window, (N, C, H, W) -> (N, C, Ho, Wo); with `return_indices` also its place, int64.

    The stride is the window unless given. Of a tie the first in row order is taken; NaN wins.
    Raises ShapeError where the window does not fit.
    """
    if input.ndim == 3:
        batch = max_pool2d(unsqueeze(input, 0), kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return tuple(squeeze(part, 0) for part in batch) if return_indices else squeeze(batch, 0)
    window = pair("max_pool2d kernel_size", kernel_size)
    out, indices = _max_pool2d.apply(
        input,
        kernel_size=window,
        stride=window if stride is None else pair("max_pool2d stride", stride),
        padding=pair("max_pool2d padding", padding),
        dilation=pair("max_pool2d dilation", dilation),
        ceil_mode=ceil_mode,
    )
    return (out, indices.long()) if return_indices else out
