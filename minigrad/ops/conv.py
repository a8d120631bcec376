"""Convolution and its two derivatives, each an operation: together they are closed under differentiation.

    conv2d         (N, C, H, W) * (F, C/groups, R, S) -> (N, F, Ho, Wo)
    conv2d_input   (N, F, Ho, Wo) * (F, C/groups, R, S) -> (N, C, H, W)
    conv2d_weight  (N, F, Ho, Wo) * (N, C, H, W) -> (F, C/groups, R, S)

The three are one trilinear form, seen from each of its arguments: the derivative of any of them is the other two.
A layer's convolution is cross-correlation; the window is not turned round.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.kernels import conv as kernels
from minigrad.kernels.conv import Geometry, output_length
from minigrad.kernels.memory import empty
from minigrad.op import Op, Sample, arrays_too, register
from minigrad.ops.movement import pad, squeeze, unsqueeze
from minigrad.ops.operands import same_float
from minigrad.ops.reduce import sum_over

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["conv1d", "conv2d"]

Pair = tuple[int, int]
Size = int | Sequence[int]

# ------------------------------------------------------------------------------------------------ shapes


@functools.lru_cache(maxsize=1024)
def _conv2d_shape(
    input: Shape,
    weight: Shape,
    bias: Shape = (),
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str | None = None,
) -> Shape:
    shown = f"conv2d: input {list(input)} (N, C, H, W), weight {list(weight)} (F, C/groups, R, S)"
    if len(input) != 4 or len(weight) != 4:
        raise ShapeError(f"{shown}: both need four axes")
    if groups < 1 or min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise ShapeError(
            f"conv2d: stride {stride}, dilation {dilation} and groups {groups} must be at least 1, padding {padding} at least 0"
        )
    if weight[0] % groups or input[1] != weight[1] * groups:
        raise ShapeError(
            f"{shown}, groups {groups}: the input must have {weight[1] * groups} channels, "
            f"and the {weight[0]} filters must be a multiple of {groups}"
        )
    if bias and bias != weight[:1]:
        raise ShapeError(f"{shown}: bias of shape {list(bias)}, where [{weight[0]}] would fit")
    out = (input[0], weight[0], *_windows(input[2:], weight[2:], stride, padding, dilation))
    if algorithm is not None:
        _check_algorithm(algorithm, kernels.task_of("forward", input, weight, out, Geometry(stride, padding, dilation, groups)))
    return out


def _check_algorithm(algorithm: str, task: kernels.Task) -> None:
    if algorithm not in kernels.ALGORITHMS:
        raise ValueError(f"conv2d: algorithm {algorithm!r}; there are {', '.join(map(repr, kernels.ALGORITHMS))}")
    if limits := kernels.limits(algorithm, task):
        raise ValueError(
            f"conv2d: algorithm {algorithm!r} can do {limits}; here are {task.geometry} and a window of {task.window}"
        )


def _windows(image: Shape, window: Shape, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    ho, wo = (output_length(*lengths) for lengths in zip(image, window, stride, padding, dilation, strict=True))
    if min(*window, ho, wo) < 1:
        reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True))
        raise ShapeError(
            f"conv2d: a window of {list(window)} (reaching over {list(reach)} with dilation {dilation}) "
            f"does not fit an image of {list(image)} with padding {padding}"
        )
    return ho, wo


@functools.lru_cache(maxsize=1024)
def _input_shape(g: Shape, weight: Shape, *, size: Pair, groups: int, **geometry: Any) -> Shape:
    shape = (g[0], weight[1] * groups, *size)
    if _conv2d_shape(shape, weight, groups=groups, **geometry) != g:
        raise ShapeError(f"conv2d_input: a cotangent of {list(g)} does not come from an input of {list(shape)}")
    return shape


@functools.lru_cache(maxsize=1024)
def _weight_shape(g: Shape, input: Shape, *, window: Pair, groups: int, **geometry: Any) -> Shape:
    shape = (g[1], input[1] // groups, *window)
    if _conv2d_shape(input, shape, groups=groups, **geometry) != g:
        raise ShapeError(f"conv2d_weight: a cotangent of {list(g)} does not come from a weight of {list(shape)}")
    return shape


# ------------------------------------------------------------------------------------------------ forward


def _conv2d_forward(input: Array, weight: Array, bias: Array | None = None, **settings: Any) -> Array:
    shape, geometry, algorithm = _forward_way(input.shape, weight.shape, () if bias is None else bias.shape, **settings)
    out = empty(shape, input.dtype)
    kernels.conv2d(out, input, weight, bias, geometry, algorithm)
    return out


def _input_forward(g: Array, weight: Array, *, size: Pair, **settings: Any) -> Array:
    shape, geometry, algorithm = _input_way(g.shape, weight.shape, size=size, **settings)
    dx = empty(shape, g.dtype)
    kernels.conv2d_input(dx, g, weight, geometry, algorithm)
    return dx


def _weight_forward(g: Array, input: Array, *, window: Pair, **settings: Any) -> Array:
    shape, geometry, algorithm = _weight_way(g.shape, input.shape, window=window, **settings)
    dw = empty(shape, g.dtype)
    kernels.conv2d_weight(dw, g, input, geometry, algorithm)
    return dw


def _way(rule: Callable[..., Shape]) -> Callable[..., tuple[Shape, Geometry, str | None]]:
    """From shapes and settings the result's shape, how windows lie, and which of the kernels was asked for."""

    @functools.lru_cache(maxsize=1024)
    def way(*shapes: Shape, algorithm: str | None = None, **settings: Any) -> tuple[Shape, Geometry, str | None]:
        shape = rule(*shapes, algorithm=algorithm, **settings)
        return shape, Geometry(**{name: settings[name] for name in Geometry._fields}), algorithm

    return way


_forward_way, _input_way, _weight_way = map(_way, (_conv2d_shape, _input_shape, _weight_shape))


# ------------------------------------------------------------------------------------------------ references, samples


def _links(
    out: Shape, weight: Shape, image: Pair, *, stride: Pair, padding: Pair, dilation: Pair, groups: int, **_: Any
) -> Any:
    """Every (filter, channel, tap, output pixel, input pixel) that multiply: the trilinear form, written out."""
    per_group = weight[0] // groups
    for f, c, r, s in np.ndindex(weight):
        for y, x in np.ndindex(out[2:]):
            iy = y * stride[0] + r * dilation[0] - padding[0]
            ix = x * stride[1] + s * dilation[1] - padding[1]
            if 0 <= iy < image[0] and 0 <= ix < image[1]:
                yield (f, c, r, s), (y, x), (f // per_group * weight[1] + c, iy, ix)


def _conv2d_reference(x: Array, w: Array, bias: Array | None = None, **settings: Any) -> Array:
    out = np.zeros(_conv2d_shape(x.shape, w.shape, **settings), x.dtype)
    for tap, (oy, ox), (c, iy, ix) in _links(out.shape, w.shape, x.shape[2:], **settings):
        out[:, tap[0], oy, ox] += w[tap] * x[:, c, iy, ix]
    return out if bias is None else out + bias[:, None, None]


def _input_reference(g: Array, w: Array, *, size: Pair, **settings: Any) -> Array:
    dx = np.zeros(_input_shape(g.shape, w.shape, size=size, **settings), g.dtype)
    for tap, (oy, ox), (c, iy, ix) in _links(g.shape, w.shape, size, **settings):
        dx[:, c, iy, ix] += w[tap] * g[:, tap[0], oy, ox]
    return dx


def _weight_reference(g: Array, x: Array, *, window: Pair, **settings: Any) -> Array:
    dw = np.zeros(_weight_shape(g.shape, x.shape, window=window, **settings), g.dtype)
    for tap, (oy, ox), (c, iy, ix) in _links(g.shape, dw.shape, x.shape[2:], **settings):
        dw[tap] += g[:, tap[0], oy, ox] @ x[:, c, iy, ix]
    return dw


def _settings(stride: Pair = (1, 1), padding: Pair = (0, 0), dilation: Pair = (1, 1), groups: int = 1) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


_CASES: tuple[tuple[Shape, Shape, dict[str, Any], str], ...] = (
    ((2, 2, 4, 5), (3, 2, 3, 2), _settings(), "plain"),
    ((1, 1, 5, 5), (2, 1, 3, 3), _settings((2, 2), (1, 1)), "stride and padding"),
    ((2, 1, 6, 5), (1, 1, 2, 2), _settings((2, 3)), "stride that leaves a border unused"),
    ((1, 2, 5, 6), (2, 2, 2, 3), _settings(dilation=(3, 2), padding=(0, 2)), "dilation"),
    ((1, 4, 3, 3), (6, 2, 2, 2), _settings(groups=2), "groups"),
    ((2, 3, 3, 3), (3, 1, 2, 2), _settings(groups=3, padding=(1, 0)), "depthwise"),
    ((1, 2, 2, 2), (2, 2, 1, 1), _settings(padding=(2, 2)), "1x1 in a wide frame of zeros"),
    ((1, 1, 1, 3), (1, 1, 1, 3), _settings(), "one output"),
    ((0, 2, 3, 3), (2, 2, 2, 2), _settings(), "no images"),
    ((2, 2, 5, 4), (3, 2, 3, 2), _settings(padding=(1, 2)) | {"algorithm": "pixels"}, "pixels along the lanes"),
    ((1, 4, 4, 6), (2, 2, 2, 2), _settings(dilation=(1, 3), groups=2) | {"algorithm": "pixels"}, "pixels, groups, dilation"),
    ((2, 2, 4, 5), (3, 2, 3, 2), _settings() | {"algorithm": "filters"}, "filters along the lanes"),
    ((2, 2, 6, 5), (3, 2, 3, 2), _settings((2, 1), (1, 2), (1, 2)) | {"algorithm": "im2col"}, "columns, all settings"),
    ((1, 4, 4, 6), (2, 2, 2, 3), _settings((1, 2), groups=2) | {"algorithm": "im2col"}, "columns, groups"),
    ((2, 2, 6, 5), (3, 2, 3, 2), _settings((2, 1), (1, 2), (1, 2)) | {"algorithm": "fft"}, "spectra, all settings"),
    ((1, 4, 4, 7), (2, 2, 2, 3), _settings((1, 2), groups=2) | {"algorithm": "fft"}, "spectra, groups"),
    ((9, 1, 3, 4), (2, 1, 2, 2), _settings() | {"algorithm": "images"}, "images along the lanes, more than a vector has"),
    ((2, 4, 4, 6), (2, 2, 2, 2), _settings((1, 1), (1, 0), (1, 3), 2) | {"algorithm": "images"}, "images, groups, dilation"),
    ((1, 2, 5, 5), (2, 2, 3, 3), _settings(padding=(1, 1)) | {"algorithm": "winograd"}, "tiles of two sizes"),
    ((2, 2, 3, 7), (4, 1, 2, 5), _settings(padding=(0, 3), groups=2) | {"algorithm": "winograd"}, "tiles, groups, any window"),
    ((3, 2, 5, 7), (3, 2, 3, 2), _settings(padding=(2, 0)) | {"algorithm": "winograd-images"}, "tiles, images along the lanes"),
)


def _conv2d_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for x, w, settings, why in _CASES:
        yield Sample((rng.normal(size=x), rng.normal(size=w), rng.normal(size=w[0])), settings, why=why)
    x, w, settings, _ = _CASES[0]
    yield Sample((rng.normal(size=x), rng.normal(size=w), None), settings, why="no bias")


def _input_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for x, w, settings, why in _CASES:
        g = _conv2d_shape(x, w, **settings)
        yield Sample((rng.normal(size=g), rng.normal(size=w)), {"size": x[2:], **settings}, why=why)


def _weight_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for x, w, settings, why in _CASES:
        g = _conv2d_shape(x, w, **settings)
        yield Sample((rng.normal(size=g), rng.normal(size=x)), {"window": w[2:], **settings}, why=why)


# ------------------------------------------------------------------------------------------------ the three operations


def _by_input(g: Tensor, weight: Tensor, shape: Shape, params: dict[str, Any]) -> Tensor:
    return _conv2d_input(g, weight, size=shape[2:], **_shared(params))


def _by_weight(g: Tensor, input: Tensor, shape: Shape, params: dict[str, Any]) -> Tensor:
    return _conv2d_weight(g, input, window=shape[2:], **_shared(params))


def _shared(params: dict[str, Any]) -> dict[str, Any]:
    """The settings that all three have: what is only one's is the length of what it gives."""
    return {name: value for name, value in params.items() if name not in ("size", "window")}


def _macs(out: Shape, weight: Shape) -> int:
    return math.prod(out) * math.prod(weight[1:])


_conv2d = register(
    Op(
        "conv2d",
        _conv2d_forward,
        _conv2d_shape,
        {
            "input": arrays_too(lambda g, weight, *, shapes, params: _conv2d_input(g, weight, size=shapes[0][2:], **params)),
            "weight": arrays_too(lambda g, input, *, shapes, params: _conv2d_weight(g, input, window=shapes[1][2:], **params)),
            "bias": arrays_too(lambda g: sum_over(g, dims=(0, 2, 3), keepdim=False)),
        },
        _conv2d_reference,
        _conv2d_samples,
        flops=lambda out, x, w, *bias, **_: 2 * _macs(out, w) + (math.prod(out) if bias and bias[0] else 0),
        macs=lambda out, x, w, *_, **__: _macs(out, w),
        family="conv",
        onnx="Conv",
    )
)
_conv2d_input: Op = register(
    Op(
        "conv2d_input",
        _input_forward,
        _input_shape,
        {
            "g": lambda h, weight, *, params: _conv2d(h, weight, **_shared(params)),
            "weight": lambda h, g, *, shapes, params: _by_weight(g, h, shapes[1], params),
        },
        _input_reference,
        _input_samples,
        flops=lambda out, g, w, **_: 2 * _macs(g, w),
        macs=lambda out, g, w, **_: _macs(g, w),
        family="conv",
        onnx="ConvTranspose",
        doc="The derivative of conv2d by its input; a transposed convolution.",
    )
)
_conv2d_weight: Op = register(
    Op(
        "conv2d_weight",
        _weight_forward,
        _weight_shape,
        {
            "g": lambda h, input, *, params: _conv2d(input, h, **_shared(params)),
            "input": lambda h, g, *, shapes, params: _by_input(g, h, shapes[1], params),
        },
        _weight_reference,
        _weight_samples,
        flops=lambda out, g, x, **_: 2 * _macs(g, out),
        macs=lambda out, g, x, **_: _macs(g, out),
        family="conv",
        doc="The derivative of conv2d by its weight.",
    )
)


def pair(name: str, value: Size) -> Pair:
    """Two numbers, for height and width, from one or two."""
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        return value  # as layers keep them: nothing to convert
    try:
        values = tuple(operator.index(n) for n in ((value,) if not hasattr(value, "__iter__") else value))
    except TypeError as error:
        raise TypeError(f"{name}: whole numbers expected, one or two, got {value!r}") from error
    if len(values) == 1:
        return values[0], values[0]
    if len(values) != 2:
        raise ShapeError(f"{name}: one number or two expected, got {value!r}")
    return values[0], values[1]


def conv2d(
    input: TensorBase,
    weight: TensorBase,
    bias: TensorBase | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: str | None = None,
) -> Tensor:
    """Cross-correlation (N, C, H, W) * (F, C/groups, R, S) -> (N, F, Ho, Wo), ``Ho = (H + 2P - D(R - 1) - 1) / S + 1``.

    An image (C, H, W) without a batch axis is taken too. `padding` may be 'valid' (none) or 'same' (as large as the
    input, for stride 1). `algorithm` says how it and its derivatives are calculated; the fastest for the shape is taken
    unless given. There are 'direct', or one way of it ('filters', or with stride 1 'pixels' or 'images', which is what lies
    along a vector's lanes); 'winograd', fewer products between transformed tiles, for stride 1 and windows up to 7, or one
    way of it ('winograd-channels' or, forward, 'winograd-images'); 'im2col', windows as columns of a matrix product; 'fft',
    a product of spectra, 2 to 3 times as fast for windows of 31x31 and even with the others at 11x11, but rounding relative
    to a plane's largest numbers.
    Raises ShapeError for shapes that don't fit, ValueError for an algorithm that there is not or that can't do this.
    """
    same_float("conv2d", input=input, weight=weight, bias=bias)
    if input.ndim == 3:
        batch = unsqueeze(input, 0)
        return squeeze(conv2d(batch, weight, bias, stride, padding, dilation, groups, algorithm=algorithm), 0)
    steps, spread = pair("conv2d stride", stride), pair("conv2d dilation", dilation)
    if isinstance(padding, str):
        input, frame = _named_padding(input, weight, padding, steps, spread)
    else:
        frame = pair("conv2d padding", padding)
    chosen = {} if algorithm is None else {"algorithm": algorithm}
    return _conv2d(input, weight, bias, stride=steps, padding=frame, dilation=spread, groups=groups, **chosen)


def _named_padding(
    input: TensorBase, weight: TensorBase, padding: str, stride: Pair, dilation: Pair
) -> tuple[TensorBase, Pair]:
    if padding == "valid":
        return input, (0, 0)
    if padding != "same":
        raise ValueError(f"conv2d: padding {padding!r}; there are 'same', 'valid' and numbers")
    if stride != (1, 1):
        raise ValueError(f"conv2d: padding 'same' needs stride 1, got {stride}")
    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    if all(n % 2 == 0 for n in total):
        return input, (total[0] // 2, total[1] // 2)
    widths = [n for t in reversed(total) for n in (t // 2, t - t // 2)]  # an odd frame is wider at the end
    return pad(input, widths), (0, 0)


def conv1d(
    input: TensorBase,
    weight: TensorBase,
    bias: TensorBase | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation (N, C, L) * (F, C/groups, S) -> (N, F, Lo): a convolution over images one pixel high."""
    if input.ndim not in (2, 3) or weight.ndim != 3:
        raise ShapeError(
            f"conv1d: input {list(input.shape)} and weight {list(weight.shape)}; expected (N, C, L) and (F, C/groups, S)"
        )
    same_float("conv1d", input=input, weight=weight, bias=bias)
    if groups < 1 or input.shape[-2] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ShapeError(
            f"conv1d: input {list(input.shape)} (N, C, L), weight {list(weight.shape)} (F, C/groups, S), groups {groups}: "
            f"the input must have {weight.shape[1] * groups} channels, and the filters must be a multiple of {groups}"
        )
    flat = [pair(f"conv1d {name}", value)[-1] for name, value in (("stride", stride), ("dilation", dilation))]
    frame = padding if isinstance(padding, str) else (0, pair("conv1d padding", padding)[-1])
    out = conv2d(unsqueeze(input, -2), unsqueeze(weight, 2), bias, (1, flat[0]), frame, (1, flat[1]), groups)
    return squeeze(out, -2)
