"""Mean-pooling over fixed and over adaptive windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.kernels import pool as kernels
from minigrad.kernels.memory import empty
from minigrad.op import Op, Sample, arrays_too, register
from minigrad.ops.conv import Pair, Size, pair
from minigrad.ops.movement import squeeze, unsqueeze
from minigrad.ops.operands import same_float
from minigrad.ops.pool import planes, pooled_length, pooled_shape

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["adaptive_avg_pool2d", "avg_pool2d"]


class Windows(NamedTuple):
    """The edges of each row's and each column's window, and what each output's sum is divided by (Ho, Wo)."""

    tops: Array
    bottoms: Array
    lefts: Array
    rights: Array
    divisors: Array


def _fixed_windows(
    size: Shape,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Windows:
    edges: list[Array] = []
    counts: list[Array] = []
    for length, k, s, p in zip(size, kernel_size, stride, padding, strict=True):
        start = np.arange(pooled_length(length, k, s, p, 1, ceil_mode)) * s - p
        first, last = np.clip(start, 0, length), np.clip(start + k, 0, length)
        edges += [first, last]
        counts.append(np.minimum(start + k, length + p) - start if count_include_pad else last - first)
    divisors = np.outer(*counts) if divisor_override is None else np.full([len(c) for c in counts], divisor_override)
    return Windows(edges[0], edges[1], edges[2], edges[3], divisors.astype(np.float64))


def _adaptive_windows(size: Shape, *, output_size: Pair) -> Windows:
    edges: list[Array] = []
    for length, count in zip(size, output_size, strict=True):
        i = np.arange(count)
        edges += [i * length // count, -(-(i + 1) * length // count)]
    divisors = np.outer(edges[1] - edges[0], edges[3] - edges[2])
    return Windows(edges[0], edges[1], edges[2], edges[3], divisors.astype(np.float64))


def _means(name: str, windows: Callable[..., Windows], shape: Any, cases: Any, onnx: str) -> Op:
    """Register a mean over windows and its derivative, which is linear too: each is the other's transpose."""

    def forward(input: Array, **settings: Any) -> Array:
        size = shape(input.shape, **settings)
        out = empty((input.shape[0] * input.shape[1], *size[2:]), input.dtype)
        if out.size:
            kernels.average(out, planes(input), *windows(input.shape[2:], **settings))
        return out.reshape(size)

    def backward(g: Array, *, size: Pair, **settings: Any) -> Array:
        dx = empty((g.shape[0] * g.shape[1], *size), g.dtype)
        kernels.average_backward(dx, planes(g), *windows(size, **settings))
        return dx.reshape(*g.shape[:2], *size)

    def weights(size: Pair, **settings: Any) -> Array:
        """How much each pixel counts in each output: (Ho, Wo, H, W)."""
        tops, bottoms, lefts, rights, divisors = windows(size, **settings)
        y, x = np.arange(size[0]), np.arange(size[1])
        rows = (y >= tops[:, None]) & (y < bottoms[:, None])
        columns = (x >= lefts[:, None]) & (x < rights[:, None])
        return np.asarray(np.einsum("oh,pw->ophw", rows * 1.0, columns * 1.0) / divisors[:, :, None, None])

    def backward_shape(g: Shape, *, size: Pair, **settings: Any) -> Shape:
        input = (*g[:2], *size)
        if shape(input, **settings) != g:
            raise ShapeError(f"{name}_backward: a cotangent of {list(g)} does not come from an input of {list(input)}")
        return input

    def backward_samples(rng: np.random.Generator) -> Iterator[Sample]:
        for size, settings, why in cases:
            yield Sample((rng.normal(size=shape(size, **settings)),), {"size": size[2:], **settings}, why=why)

    def pull(g: Tensor, node_shapes: tuple[Shape, ...], settings: dict[str, Any]) -> Tensor:
        return derivative(g, size=node_shapes[0][2:], **settings)

    op = register(
        Op(
            name,
            forward,
            shape,
            {"input": arrays_too(lambda g, *, shapes, params: pull(g, shapes, params))},
            lambda x, **settings: np.einsum("nchw,ophw->ncop", x, weights(x.shape[2:], **settings)),
            lambda rng: (Sample((rng.normal(size=size),), settings, why=why) for size, settings, why in cases),
            flops=lambda out, x, **_: math.prod(x),
            family="pool",
            onnx=onnx,
        )
    )
    derivative = register(
        Op(
            f"{name}_backward",
            backward,
            backward_shape,
            {"g": lambda h, *, params: op(h, **{k: v for k, v in params.items() if k != "size"})},
            lambda g, *, size, **settings: np.einsum("ncop,ophw->nchw", g, weights(size, **settings)),
            backward_samples,
            flops=lambda out, g, **_: math.prod(out),
            family="pool",
            doc=f"The derivative of {name} by its input.",
        )
    )
    return op


def _mean_window(
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> dict[str, Any]:
    return {
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
        "divisor_override": divisor_override,
    }


def _avg_shape(
    input: Shape, *, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool, divisor_override: Any, **_: Any
) -> Shape:
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override must not be 0")
    return pooled_shape("avg_pool2d", input, kernel_size, stride, padding, (1, 1), ceil_mode)


def _adaptive_shape(input: Shape, *, output_size: Pair) -> Shape:
    if len(input) != 4 or min(output_size) < 0 or 0 in input[2:]:
        raise ShapeError(f"adaptive_avg_pool2d: input {list(input)} (N, C, H, W) to output size {output_size}")
    return (*input[:2], *output_size)


_avg_pool2d = _means(
    "avg_pool2d",
    _fixed_windows,
    _avg_shape,
    (
        ((2, 2, 4, 4), _mean_window((2, 2), (2, 2)), "windows side by side"),
        ((1, 2, 5, 6), _mean_window((3, 2), (2, 1), (1, 1)), "overlapping, padding counted"),
        ((1, 1, 5, 5), _mean_window((3, 3), (2, 2), (1, 1), count_include_pad=False), "padding not counted"),
        ((1, 1, 6, 5), _mean_window((3, 3), (2, 2), (1, 1), ceil_mode=True), "a last window that hangs over"),
        ((1, 1, 4, 4), _mean_window((2, 2), (2, 2), divisor_override=3), "a divisor given"),
        ((0, 1, 4, 4), _mean_window((2, 2), (2, 2)), "no images"),
    ),
    "AveragePool",
)
_adaptive_avg_pool2d = _means(
    "adaptive_avg_pool2d",
    _adaptive_windows,
    _adaptive_shape,
    (
        ((2, 2, 5, 7), {"output_size": (3, 2)}, "windows of unlike size that overlap"),
        ((1, 2, 4, 4), {"output_size": (1, 1)}, "the mean of all"),
        ((1, 1, 2, 3), {"output_size": (4, 3)}, "more outputs than pixels"),
    ),
    "GlobalAveragePool",
)


def avg_pool2d(
    input: TensorBase,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window, (N, C, H, W) -> (N, C, Ho, Wo); zeros of the padding count unless told otherwise."""
    if input.ndim == 3:
        settings = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return squeeze(avg_pool2d(unsqueeze(input, 0), *settings), 0)
    same_float("avg_pool2d", input=input)
    window = pair("avg_pool2d kernel_size", kernel_size)
    return _avg_pool2d(
        input,
        kernel_size=window,
        stride=window if stride is None else pair("avg_pool2d stride", stride),
        padding=pair("avg_pool2d padding", padding),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


def adaptive_avg_pool2d(input: TensorBase, output_size: Any) -> Tensor:
    """The mean over as many windows as asked for, as even as can be; None keeps a length. (N, C, H, W) -> (N, C, Ho, Wo)."""
    if input.ndim == 3:
        return squeeze(adaptive_avg_pool2d(unsqueeze(input, 0), output_size), 0)
    same_float("adaptive_avg_pool2d", input=input)
    wanted = tuple(output_size) if hasattr(output_size, "__iter__") else (output_size, output_size)
    if input.ndim != 4 or len(wanted) != 2:
        raise ShapeError(
            f"adaptive_avg_pool2d: input {list(input.shape)} to output size {output_size}; expected (C, H, W) or "
            "(N, C, H, W), and one number or two"
        )
    size = tuple(n if o is None else o for n, o in zip(input.shape[2:], wanted, strict=True))
    return _adaptive_avg_pool2d(input, output_size=pair("adaptive_avg_pool2d output_size", size))
