"""Statistics and other compositions of reductions: variance, norms, log-sum-exp, running sums."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.graph import Shape
from minigrad.op import Op, Sample, register
from minigrad.ops.arithmetic import square, sub, where
from minigrad.ops.compare import eq, ne
from minigrad.ops.functions import abs, exp, sqrt
from minigrad.ops.movement import flip, normal_axis, reshape
from minigrad.ops.operands import as_float, cast
from minigrad.ops.reduce import Dims, amax, amin, axes_of, mean, reduced_shape, spread, sum

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["cumsum", "logsumexp", "norm", "std", "var"]


def var(input: TensorBase, dim: Dims = None, correction: float = 1, keepdim: bool = False) -> Tensor:
    """The variance over all axes or over `dim`, divided by ``n - correction`` (1: Bessel's, 0: the mean square)."""
    x = as_float(input)
    centred = sub(x, mean(x, dim, keepdim=True))
    total = sum(square(centred), dim, keepdim)
    count = x.numel() / total.numel() if total.numel() else 0
    return total / (count - correction) if count > correction else total * math.nan


def std(input: TensorBase, dim: Dims = None, correction: float = 1, keepdim: bool = False) -> Tensor:
    """The square root of `var`; where that is 0, the gradient is taken to be 0, as in PyTorch."""
    return _root(var(input, dim, correction, keepdim))


def _root(x: Tensor) -> Tensor:
    return where(x == 0, 0.0, sqrt(where(x == 0, 1.0, x)))


def norm(input: TensorBase, p: float = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The p-norm of all elements or along `dim`; ``p=math.inf`` is the largest absolute value, 0 counts what is not 0."""
    x = as_float(input)
    if math.isinf(p):
        return (amax if p > 0 else amin)(abs(x), dim, keepdim)
    if p == 0:
        return sum(cast(ne(x, 0), dtype=x.dtype), dim, keepdim)
    if p == 1:
        return sum(abs(x), dim, keepdim)
    total = sum(square(x) if p == 2 else _powers(x, p), dim, keepdim)
    if p == 2:
        return _root(total)
    safe = where(total == 0, 1.0, total)  # at 0 the gradient is taken to be 0, as in PyTorch
    return where(total == 0, 0.0, safe ** (1 / p))


def _powers(x: TensorBase, p: float) -> Tensor:
    """``abs(x) ** p``; at 0 the gradient is taken to be 0 where it is Inf, as in PyTorch."""
    if p > 1:
        return abs(x) ** p
    nothing = eq(x, 0)
    return where(nothing, 0.0 if p > 0 else math.inf, abs(where(nothing, 1.0, x)) ** p)


# ------------------------------------------------------------------------------------------------ log-sum-exp


def _logsumexp_forward(x: Array, *, dims: Shape, keepdim: bool) -> Array:
    peak = np.max(x, axis=dims, keepdims=True, initial=-math.inf)
    peak = np.where(np.isfinite(peak), peak, x.dtype.type(0))
    total = np.log(np.exp(x - peak).sum(axis=dims, keepdims=True)) + peak
    return np.asarray(total).reshape(reduced_shape(x.shape, dims=dims, keepdim=keepdim))


def _logsumexp_pull(g: Tensor, x: Tensor, *, dims: Shape) -> Tensor:
    """Each one's share, the softmax; where all are -Inf, none. (``exp(x - out)`` would be off by the rounding of `out`.)"""
    peak = amax(x, dims, keepdim=True).detach() if x.numel() else x
    below = where(eq(x, math.inf), 0.0, sub(x, where(eq(peak, -math.inf), 0.0, peak)))
    powers = exp(below)
    total = sum(powers, dims, keepdim=True)
    return spread(g, x.shape, dims) * (powers / where(eq(total, 0), 1.0, total))


def _logsumexp_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, dims, keepdim in (((2, 3, 4), (1,), False), ((2, 3), (0, 1), True), ((), (), False), ((2, 0), (0,), False)):
        yield Sample((rng.normal(size=shape),), {"dims": dims, "keepdim": keepdim})


_logsumexp = register(
    Op(
        "logsumexp",
        _logsumexp_forward,
        reduced_shape,
        {"x": _logsumexp_pull},
        lambda x, *, dims, keepdim: np.asarray(np.logaddexp.reduce(x, axis=dims, keepdims=keepdim)),
        _logsumexp_samples,
        flops=lambda out, x, **_: 3 * math.prod(x),
        family="reduction",
        onnx="ReduceLogSumExp",
    )
)


def logsumexp(input: TensorBase, dim: Dims, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` along `dim`, without overflow; of nothing, -Inf."""
    return _logsumexp(as_float(input), dims=axes_of("logsumexp", dim, input.ndim), keepdim=keepdim)


# ------------------------------------------------------------------------------------------------ running sums


def _cumsum_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(2, 3, 4)),), {"dim": 1})
    yield Sample((rng.normal(size=(0, 2)),), {"dim": 0}, why="no elements")


def _cumsum_reference(x: Array, *, dim: int) -> Array:
    n = x.shape[dim]
    return np.moveaxis(np.tensordot(np.tril(np.ones((n, n))), x, (1, dim)), 0, dim).astype(x.dtype)


_cumsum = register(
    Op(
        "cumsum",
        lambda x, *, dim: np.cumsum(x, axis=dim, dtype=np.int64 if x.dtype.kind in "bui" else np.float64).astype(
            np.int64 if x.dtype.kind in "bui" else x.dtype, copy=False
        ),  # in float64, as PyTorch does: a long chain of sums rounds too much
        lambda x, *, dim: x,
        {"x": lambda g, *, dim: flip(cumsum(flip(g, dim), dim), dim)},
        _cumsum_reference,
        _cumsum_samples,
        flops=lambda out, *_, **__: math.prod(out),
        family="reduction",
        onnx="CumSum",
    )
)


def cumsum(input: TensorBase, dim: int) -> Tensor:
    """The sums of the elements up to each one along an axis."""
    axis = normal_axis("cumsum", dim, input.ndim)
    return _cumsum(input, dim=axis) if input.ndim else reshape(_cumsum(reshape(input, (1,)), dim=0), ())


class StatisticsMethods(TensorBase):
    """Statistics of a tensor."""

    __slots__ = ()

    def var(self, dim: Dims = None, correction: float = 1, keepdim: bool = False) -> Tensor:
        """The variance, divided by ``n - correction``."""
        return var(self, dim, correction, keepdim)

    def std(self, dim: Dims = None, correction: float = 1, keepdim: bool = False) -> Tensor:
        """The standard deviation, divided by ``n - correction``."""
        return std(self, dim, correction, keepdim)

    def norm(self, p: float = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """The p-norm."""
        return norm(self, p, dim, keepdim)

    def logsumexp(self, dim: Dims, keepdim: bool = False) -> Tensor:
        """``log(sum(exp(x)))`` along `dim`."""
        return logsumexp(self, dim, keepdim)

    def cumsum(self, dim: int) -> Tensor:
        """The running sums along an axis."""
        return cumsum(self, dim)
