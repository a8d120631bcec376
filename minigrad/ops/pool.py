"""Max-pooling with the places it took from, and how pooling windows lie (means are in `mean_pool`)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minigrad.core import Array, TensorBase, make_tensor
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.kernels import pool as kernels
from minigrad.kernels.memory import empty
from minigrad.op import Op, Sample, arrays_too, register
from minigrad.ops.conv import Pair, Size, pair
from minigrad.ops.movement import squeeze, unsqueeze
from minigrad.ops.operands import same_float

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["max_pool2d"]


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


class Window(NamedTuple):
    """How pooling windows lie."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool


class _Plan(NamedTuple):
    """What a shape and a window settle: the output's shape, the taps' type, and what the kernels read."""

    shape: Shape
    taps: np.dtype[Any]
    inner: Array  # where the window's taps lie in a plane, from its first one on
    layout: Array  # window, stride, padding, dilation; then which columns of windows lie within the image


@functools.lru_cache(maxsize=1024)
def _plan(input: Shape, *settings: Any) -> _Plan:
    """For an input of this shape, and the fields of a `Window`."""
    window = Window(*settings)
    shape = pooled_shape("max_pool2d", input, *window)
    (r, s), dilation = window.kernel_size, window.dilation
    inner = np.arange(r)[:, None] * (dilation[0] * input[3]) + np.arange(s) * dilation[1]
    left = min(-(-window.padding[1] // window.stride[1]), shape[3])
    right = (input[3] - 1 - (s - 1) * dilation[1] + window.padding[1]) // window.stride[1] + 1
    layout = [*itertools.chain(*window[:4]), left, max(left, min(right, shape[3]))]
    taps = np.dtype(np.uint8 if r * s < 256 else np.int32)
    return _Plan(shape, taps, inner.ravel().astype(np.int64), np.array(layout, np.int64))


def _max_shape(input: Shape, **settings: Any) -> Shape:
    return pooled_shape("max_pool2d", input, **settings)


def _max_forward(
    input: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    plan = _plan(input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    out, taps = empty(plan.shape, input.dtype), empty(plan.shape, plan.taps)
    kernels.max_pool(out, taps, np.ascontiguousarray(input), plan.inner, plan.layout)
    return out, taps


def _places(taps: Array, image: Pair, window: Window) -> Array:
    """The places in a plane, in row order, that these taps stand for; -1 where all of a window's taps missed the image."""
    rows, columns = np.divmod(taps.astype(np.int64), window.kernel_size[1])
    y = np.arange(taps.shape[2])[:, None] * window.stride[0] - window.padding[0] + rows * window.dilation[0]
    x = np.arange(taps.shape[3]) * window.stride[1] - window.padding[1] + columns * window.dilation[1]
    return np.where(rows < window.kernel_size[0], y * image[1] + x, -1)


def _max_reference(
    input: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    shape = pooled_shape("max_pool2d", input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    out, taps = empty(shape, input.dtype), np.empty(shape, np.int32)
    rows, columns = (np.arange(k) * d for k, d in zip(kernel_size, dilation, strict=True))
    for n, c, y, x in np.ndindex(shape):
        iy, ix = np.meshgrid(rows + y * stride[0] - padding[0], columns + x * stride[1] - padding[1], indexing="ij")
        inside = (iy >= 0) & (iy < input.shape[2]) & (ix >= 0) & (ix < input.shape[3])
        values = input[n, c, iy[inside], ix[inside]]
        at = int(np.argmax(values))
        out[n, c, y, x] = values[at]
        taps[n, c, y, x] = np.flatnonzero(inside)[at]
    return out, taps


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


def _taken(rng: np.random.Generator) -> Iterator[tuple[Shape, Array, dict[str, Any]]]:
    """Shapes of inputs, the taps that poolings took, and how those lay."""
    for shape, settings, _ in _MAX_CASES:
        taps = _max_reference(rng.normal(size=shape), **settings)[1]
        yield shape, taps, {"size": shape[2:], "window": Window(**settings)}


def _pick_forward(x: Array, taps: Array, *, size: Pair, window: Window) -> Array:
    plan = _plan(x.shape, *window)
    out = empty(taps.shape, x.dtype)
    kernels.pick(out, np.ascontiguousarray(x), np.ascontiguousarray(taps), plan.inner, plan.layout)
    return out


def _pick_reference(x: Array, taps: Array, *, size: Pair, window: Window) -> Array:
    flat, places = (a.reshape(*a.shape[:2], a.shape[2] * a.shape[3]) for a in (x, _places(taps, size, window)))
    return np.where(places < 0, 0, np.take_along_axis(flat, places, 2)).reshape(taps.shape)


def _scatter_forward(g: Array, taps: Array, *, size: Pair, window: Window) -> Array:
    dx = empty((*g.shape[:2], *size), g.dtype)
    plan = _plan(dx.shape, *window)
    kernels.scatter(dx, np.ascontiguousarray(g), np.ascontiguousarray(taps), plan.inner, plan.layout)
    return dx


def _scatter_reference(g: Array, taps: Array, *, size: Pair, window: Window) -> Array:
    dx, places = np.zeros((*g.shape[:2], size[0] * size[1]), g.dtype), _places(taps, size, window)
    for at in np.ndindex(g.shape):
        dx[(*at[:2], places[at])] += g[at]
    return dx.reshape(*g.shape[:2], *size)


@arrays_too
def _pull(g: Tensor, taps: Tensor, *, shapes: tuple[Shape, ...], params: dict[str, Any]) -> Tensor:
    return _max_pool2d_scatter(g, taps, size=shapes[0][2:], window=Window(**params))


_max_pool2d = register(
    Op(
        "max_pool2d",
        _max_forward,
        _max_shape,
        {"input": _pull},
        _max_reference,
        _max_samples,
        flops=lambda out, x, *, kernel_size, **_: math.prod(out) * (math.prod(kernel_size) - 1),
        outputs=("out", "taps"),
        family="pool",
        onnx="MaxPool",
    )
)
_max_pool2d_scatter: Op = register(
    Op(
        "max_pool2d_scatter",
        _scatter_forward,
        lambda g, taps, *, size, window: (*g[:2], *size),
        {"g": lambda h, taps, *, params: _max_pool2d_pick(h, taps, **params)},
        _scatter_reference,
        lambda rng: (Sample((rng.normal(size=taps.shape), taps), settings) for _, taps, settings in _taken(rng)),
        flops=lambda out, g, *_, **__: math.prod(g),
        family="pool",
        doc="Each cotangent added to the place that max_pool2d took its output from.",
    )
)
_max_pool2d_pick: Op = register(
    Op(
        "max_pool2d_pick",
        _pick_forward,
        lambda x, taps, **_: taps,
        {"x": lambda h, taps, *, params: _max_pool2d_scatter(h, taps, **params)},
        _pick_reference,
        lambda rng: (Sample((rng.normal(size=shape), taps), settings) for shape, taps, settings in _taken(rng)),
        family="pool",
        doc="The elements at the places that max_pool2d took its outputs from.",
    )
)


def _settings(kernel_size: Size, stride: Size | None, padding: Size, dilation: Size, ceil_mode: bool) -> dict[str, Any]:
    window = pair("max_pool2d kernel_size", kernel_size)
    return Window(
        window,
        window if stride is None else pair("max_pool2d stride", stride),
        pair("max_pool2d padding", padding),
        pair("max_pool2d dilation", dilation),
        ceil_mode,
    )._asdict()


_known_settings = functools.lru_cache(maxsize=256, typed=True)(_settings)


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
    same_float("max_pool2d", input=input)
    if input.ndim == 3:
        batch = max_pool2d(unsqueeze(input, 0), kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return tuple(squeeze(part, 0) for part in batch) if return_indices else squeeze(batch, 0)
    plain = type(kernel_size) is int and type(stride) in (int, type(None)) and type(padding) is int and type(dilation) is int
    settings = (_known_settings if plain else _settings)(kernel_size, stride, padding, dilation, ceil_mode)
    out, taps = _max_pool2d.apply(input, **settings)
    if not return_indices:
        return out
    return out, make_tensor(_places(taps.array, (input.shape[2], input.shape[3]), Window(**settings)))
