"""Normalisation: batch normalisation and local response normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import Array, TensorBase, make_tensor
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.kernels import norm as kernels
from minigrad.kernels import response
from minigrad.kernels.memory import empty
from minigrad.modes import is_grad_enabled
from minigrad.op import Op, Sample, arrays_too, register
from minigrad.ops.arithmetic import mul, square, sub
from minigrad.ops.definition import through
from minigrad.ops.functions import rsqrt
from minigrad.ops.movement import pad, reshape
from minigrad.ops.operands import same_float

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["batch_norm", "local_response_norm"]


def _flat(x: Array) -> Array:
    """(N, C, ...) -> (N, C, L), contiguous."""
    return np.ascontiguousarray(x).reshape(x.shape[0], x.shape[1], math.prod(x.shape[2:]))


def _spread(v: Array, ndim: int) -> Array:
    """A vector over channels, shaped to broadcast against (N, C, ...)."""
    return v.reshape(1, -1, *(1,) * (ndim - 2))


# ------------------------------------------------------------------------------------------------ batch norm


def _channels(name: str, input: Shape, *vectors: Shape | None) -> Shape:
    if len(input) < 2:
        raise ShapeError(f"{name}: input of shape {list(input)}; expected (N, C, ...)")
    for vector in vectors:
        if vector and vector != input[1:2]:
            raise ShapeError(f"{name}: a vector of shape {list(vector)} over the {input[1]} channels of {list(input)}")
    return input


def _norm_forward(
    input: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float
) -> tuple[Array, Array, Array]:
    _channels("batch_norm", input.shape, *(None if v is None else v.shape for v in (weight, bias)))
    channels = input.shape[1]
    out, mean, rstd = empty(input.shape, input.dtype), np.empty(channels), np.empty(channels)
    scale = np.ones(channels, input.dtype) if weight is None else np.ascontiguousarray(weight)
    shift = np.zeros(channels, input.dtype) if bias is None else np.ascontiguousarray(bias)
    kernels.batch_norm(_flat(out), mean, rstd, _flat(input), scale, shift, eps)
    return out, mean, rstd


def _norm_reference(x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float) -> Any:
    axes = (0, *range(2, x.ndim))
    mean, rstd = x.mean(axis=axes), 1 / np.sqrt(x.var(axis=axes) + eps)
    out = (x - _spread(mean, x.ndim)) * _spread(rstd, x.ndim)
    out = out if weight is None else out * _spread(weight, x.ndim)
    return out if bias is None else out + _spread(bias, x.ndim), mean, rstd


def _normalised(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The input normalised, and one over its deviation, in operations on tensors."""
    axes = (0, *range(2, x.ndim))
    centred = x - x.mean(axes, keepdim=True)
    scale = rsqrt(square(centred).mean(axes, keepdim=True) + eps)
    return centred * scale, scale


def _statistics(x: Array, eps: float, stats: tuple[Array, Array] | None) -> tuple[Array, Array]:
    if stats is not None:
        return stats
    flat = _flat(x).astype(np.float64)
    return flat.mean(axis=(0, 2)), 1 / np.sqrt(flat.var(axis=(0, 2)) + eps)


def _pulled(g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array) -> tuple[Array, Array, Array]:
    """The cotangents of input, weight and bias: the sums over a channel that the first needs are the other two."""
    dx, channels = empty(x.shape, x.dtype), x.shape[1]
    scale = np.ones(channels, x.dtype) if weight is None else np.ascontiguousarray(weight)
    plain, weighted = np.empty(channels), np.empty(channels)
    kernels.batch_norm_input(_flat(dx), plain, weighted, _flat(g), _flat(x), scale, mean, rstd)
    return dx, weighted.astype(x.dtype), plain.astype(x.dtype)


def _norm_input_forward(g: Array, x: Array, weight: Array | None = None, *, eps: float, stats: Any = None) -> Array:
    return _pulled(g, x, weight, *_statistics(x, eps, stats))[0]


def _norm_input_definition(g: Tensor, x: Tensor, weight: Tensor | None, *, eps: float) -> Tensor:
    axes = (0, *range(2, x.ndim))
    hat, scale = _normalised(x, eps)
    h = g if weight is None else g * reshape(weight, (1, -1, *(1,) * (x.ndim - 2)))
    return scale * (h - h.mean(axes, keepdim=True) - hat * (h * hat).mean(axes, keepdim=True))


def _norm_input_reference(g: Array, x: Array, weight: Array | None = None, *, eps: float, stats: Any = None) -> Array:
    """The Jacobian of a channel, applied: ``r (I - 1/m - hat hat' / m)``."""
    dx = np.empty_like(x)
    for c in range(x.shape[1]):
        row, m = x[:, c].ravel(), x[:, c].size
        r = 1 / np.sqrt(row.var() + eps)
        hat = (row - row.mean()) * r
        jacobian = r * (np.eye(m) - 1 / m - np.outer(hat, hat) / m)
        dx[:, c] = (jacobian @ g[:, c].ravel()).reshape(dx[:, c].shape) * (1 if weight is None else weight[c])
    return dx


def _norm_weight_forward(g: Array, x: Array, *, eps: float, stats: Any = None) -> Array:
    plain, weighted = np.empty(x.shape[1]), np.empty(x.shape[1])
    kernels.batch_norm_moments(plain, weighted, _flat(g), _flat(x), *_statistics(x, eps, stats))
    return weighted.astype(x.dtype)


def _norm_weight_definition(g: Tensor, x: Tensor, *, eps: float) -> Tensor:
    return (g * _normalised(x, eps)[0]).sum((0, *range(2, x.ndim)))


def _norm_weight_reference(g: Array, x: Array, *, eps: float, stats: Any = None) -> Array:
    return np.asarray((g * _norm_reference(x, eps=eps)[0]).sum(axis=(0, *range(2, x.ndim))))


def _norm_pull(
    g: Tensor,
    input: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    rstd: Tensor,
    *,
    eps: float,
    needs: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """All of them from one walk over the batch, unless they are to be differentiated again."""
    by_input, by_weight, by_bias = (*needs, False, False)[:3]
    stats = (mean.array, rstd.array)
    single = input.dtype.itemsize >= 4  # half precision is calculated in single by the operations below
    if single and by_input and (by_weight or by_bias) and not is_grad_enabled():
        parts = _pulled(g.array, input.array, None if weight is None else weight.array, *stats)
        return tuple(make_tensor(part) if need else None for part, need in zip(parts, needs, strict=True))
    return (
        _batch_norm_input(g, input, weight, eps=eps, stats=stats) if by_input else None,
        _batch_norm_weight(g, input, eps=eps, stats=stats) if by_weight else None,
        g.sum((0, *range(2, g.ndim))) if by_bias else None,
    )


_NORM_SHAPES: tuple[Shape, ...] = ((4, 3), (2, 2, 3), (2, 3, 2, 2), (3, 1, 2, 1))


def _norm_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape in _NORM_SHAPES:
        yield Sample((rng.normal(size=shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])), {"eps": 1e-3})
    yield Sample((rng.normal(size=(3, 2)) + 5, None, None), {"eps": 1e-5}, why="not affine")


def _norm_input_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape in _NORM_SHAPES:
        arrays = (rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=shape[1]))
        yield Sample(arrays, {"eps": 1e-3, "stats": None})
    yield Sample((rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), None), {"eps": 1e-5, "stats": None})


def _norm_weight_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape in _NORM_SHAPES:
        yield Sample((rng.normal(size=shape), rng.normal(size=shape)), {"eps": 1e-3, "stats": None})


_batch_norm = register(
    Op(
        "batch_norm",
        _norm_forward,
        lambda input, *vectors, eps: _channels("batch_norm", input, *vectors),
        {("input", "weight", "bias"): _norm_pull},
        _norm_reference,
        _norm_samples,
        flops=lambda out, *_, **__: 7 * math.prod(out),
        outputs=("out", "mean", "rstd"),
        family="norm",
        onnx="BatchNormalization",
    )
)
_batch_norm_input: Op = register(
    Op(
        "batch_norm_input",
        _norm_input_forward,
        lambda g, x, *_, **__: x,
        {
            ("g", "x", "weight"): lambda h, g, x, weight, *, eps, needs: through(
                lambda *inputs: _norm_input_definition(*inputs, eps=eps), h, (g, x, weight), (*needs, False)[:3]
            )
        },
        _norm_input_reference,
        _norm_input_samples,
        flops=lambda out, *_, **__: 10 * math.prod(out),
        family="norm",
        doc="The derivative of batch_norm by its input; `stats` may hand in the input's mean and 1/deviation.",
    )
)
_batch_norm_weight: Op = register(
    Op(
        "batch_norm_weight",
        _norm_weight_forward,
        lambda g, x, **_: x[1:2],
        {
            ("g", "x"): lambda h, g, x, *, eps, needs: through(
                lambda *inputs: _norm_weight_definition(*inputs, eps=eps), h, (g, x), needs
            )
        },
        _norm_weight_reference,
        _norm_weight_samples,
        flops=lambda out, g, *_, **__: 4 * math.prod(g),
        family="norm",
        doc="The derivative of batch_norm by its weight; `stats` may hand in the input's mean and 1/deviation.",
    )
)


def batch_norm(
    input: TensorBase,
    running_mean: TensorBase | None,
    running_var: TensorBase | None,
    weight: TensorBase | None = None,
    bias: TensorBase | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of (N, C, ...) less its mean, over its deviation, times `weight`, plus `bias`. Ioffe and Szegedy 2015.

    In training the batch's own statistics serve and the running ones move towards them by `momentum` (the variance
    unbiased); otherwise the running ones serve. Raises ShapeError for shapes that don't fit, ValueError for a batch of
    one value a channel in training or for missing statistics otherwise.
    """
    vectors = (weight, bias, running_mean, running_var)
    _channels("batch_norm", input.shape, *(None if v is None else v.shape for v in vectors))
    same_float("batch_norm", input=input, weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: running_mean and running_var are needed when not training")
        lead = (1, -1, *(1,) * (input.ndim - 2))
        scale = rsqrt(running_var.detach() + eps)
        scale = scale if weight is None else mul(weight, scale)
        out = mul(sub(input, reshape(running_mean.detach(), lead)), reshape(scale, lead))
        return out if bias is None else out + reshape(bias, lead)
    count = input.numel() // max(input.shape[1], 1)
    if count < 2:
        raise ValueError(f"batch_norm: more than one value a channel is needed in training, got {list(input.shape)}")
    out, mean, rstd = _batch_norm.apply(input, weight, bias, eps=eps)
    if running_mean is not None and running_var is not None:
        variance = (rstd.array**-2 - eps) * (count / (count - 1))
        for running, batch in ((running_mean, mean.array), (running_var, variance)):
            running.array += momentum * (batch - running.array).astype(running.dtype)
            running.touched()
    return out


# ------------------------------------------------------------------------------------------------ local response


def _lrn_shape(*shapes: Shape, size: int, **_: Any) -> Shape:
    if size < 1 or len(shapes[0]) < 2:
        raise ShapeError(f"local_response_norm: size {size} over an input of shape {list(shapes[0])} (N, C, ...)")
    return shapes[0]


def _lrn_forward(x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
    _lrn_shape(x.shape, size=size)
    out = empty(x.shape, x.dtype)
    response.lrn(_flat(out), _flat(x), size, float(alpha), float(beta), float(k))
    return out


def _lrn_input_forward(g: Array, x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
    dx = empty(x.shape, x.dtype)
    response.lrn_input(_flat(dx), _flat(g), _flat(x), size, float(alpha), float(beta), float(k))
    return dx


def _band(channels: int, size: int) -> Array:
    """Which channels j are in the window of channel i: (i, j)."""
    offset = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    return np.asarray((offset >= -(size // 2)) & (offset <= (size - 1) // 2))


def _lrn_reference(x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
    squares = np.einsum("ij,nj...->ni...", _band(x.shape[1], size) * 1.0, x * x)
    return np.asarray(x / (k + alpha / size * squares) ** beta)


def _lrn_input_reference(g: Array, x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
    band = _band(x.shape[1], size) * 1.0
    s = k + alpha / size * np.einsum("ij,nj...->ni...", band, x * x)
    spread = np.einsum("ij,ni...->nj...", band, g * x * s ** (-beta - 1))
    return np.asarray(g * s**-beta - 2 * alpha / size * beta * x * spread)


def _neighbours(x: Tensor, before: int, after: int) -> Tensor:
    """The sum over channels from `before` ahead of each to `after` behind it."""
    framed = pad(x, [0, 0] * (x.ndim - 2) + [before, after])
    total = framed[:, : x.shape[1]]
    for shift in range(1, before + after + 1):
        total = total + framed[:, shift : shift + x.shape[1]]
    return total


def _lrn_input_definition(g: Tensor, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    s = _neighbours(square(x), size // 2, (size - 1) // 2) * (alpha / size) + k
    spread = _neighbours(g * x * s ** (-beta - 1), (size - 1) // 2, size // 2)
    return g * s**-beta - x * spread * (2 * alpha / size * beta)


def _lrn_samples(rng: np.random.Generator, arrays: int = 1) -> Iterator[Sample]:
    for shape, size, beta in (((2, 7, 2, 3), 5, 0.75), ((1, 3, 2), 5, 0.75), ((2, 4, 1, 1), 2, 0.5), ((1, 2), 1, 1.0)):
        inputs = tuple(rng.normal(size=shape) for _ in range(arrays))
        yield Sample(inputs, {"size": size, "alpha": 0.3, "beta": beta, "k": 2.0})


_local_response_norm = register(
    Op(
        "local_response_norm",
        _lrn_forward,
        _lrn_shape,
        {"x": arrays_too(lambda g, x, *, params: _local_response_norm_input(g, x, **params))},
        _lrn_reference,
        _lrn_samples,
        flops=lambda out, *_, size, **__: math.prod(out) * (2 * size + 6),
        family="norm",
        onnx="LRN",
    )
)
_local_response_norm_input: Op = register(
    Op(
        "local_response_norm_input",
        _lrn_input_forward,
        _lrn_shape,
        {
            ("g", "x"): lambda h, g, x, *, needs, params: through(
                lambda *inputs: _lrn_input_definition(*inputs, **params), h, (g, x), needs
            )
        },
        _lrn_input_reference,
        lambda rng: _lrn_samples(rng, arrays=2),
        flops=lambda out, *_, size, **__: math.prod(out) * (3 * size + 12),
        family="norm",
        doc="The derivative of local_response_norm by its input.",
    )
)


def local_response_norm(input: TensorBase, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """``x_i / (k + alpha / size * sum of x_j^2 over size neighbouring channels) ** beta`` on (N, C, ...).

    Krizhevsky et al. 2012, section 3.3. As in PyTorch alpha is divided by the size: the paper's constants are
    ``size=5, alpha=5e-4, beta=0.75, k=2``.
    """
    same_float("local_response_norm", input=input)
    return _local_response_norm(input, size=size, alpha=alpha, beta=beta, k=k)
