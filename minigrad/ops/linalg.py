"""Matrix products. BLAS does the arithmetic, through numpy."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.kernels import blas
from minigrad.op import Op, Sample, arrays_too, register
from minigrad.ops.elementwise import broadcast_shape
from minigrad.ops.movement import squeeze, unsqueeze
from minigrad.ops.operands import Operand, as_tensor, operands, same_float
from minigrad.ops.reduce import sum_over

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["dot", "linear", "matmul", "mm"]


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ShapeError(
            f"matmul: shapes {list(a)} and {list(b)}: the last length of the first must equal the last but one of the second"
        )
    return (*broadcast_shape("matmul (leading axes)", a[:-2], b[:-2]), a[-2], b[-1]) if a[:-2] + b[:-2] else (a[0], b[1])


def _matmul_forward(a: Array, b: Array) -> Array:
    if a.ndim == b.ndim == 2 and a.dtype == b.dtype and a.dtype.kind == "f" and a.shape[1] == b.shape[0]:
        return blas.matmul(a, b)
    return np.asarray(np.matmul(a, b))


def _matmul_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for a, b in (((2, 3), (3, 4)), ((2, 1, 2, 3), (3, 3, 1)), ((2, 3), (4, 3, 2)), ((2, 0), (0, 3)), ((0, 2), (2, 3))):
        yield Sample((rng.normal(size=a), rng.normal(size=b)))


# (..., I, K) @ (..., K, J) -> (..., I, J); leading axes broadcast
_matmul: Op = register(
    Op(
        "matmul",
        _matmul_forward,
        _matmul_shape,
        {"a": arrays_too(lambda g, b: _matmul(g, b.mT)), "b": arrays_too(lambda g, a: _matmul(a.mT, g))},
        lambda a, b: np.einsum("...ik,...kj->...ij", a, b),
        _matmul_samples,
        flops=lambda out, a, b: 2 * math.prod(out) * a[-1],
        macs=lambda out, a, b: math.prod(out) * a[-1],
        family="linear",
        broadcasts=True,
        onnx="MatMul",
    )
)


def matmul(input: Operand, other: Operand) -> Tensor:
    """The matrix product, leading axes broadcast; a vector stands for a row on the left, for a column on the right."""
    a, b = operands(input, other)
    if a.array.ndim > 1 < b.array.ndim:
        return _matmul(a, b)
    if not a.ndim or not b.ndim:
        raise ShapeError(f"matmul: both need an axis at least, got shapes {list(a.shape)} and {list(b.shape)}")
    out = _matmul(unsqueeze(a, 0) if a.ndim == 1 else a, unsqueeze(b, 1) if b.ndim == 1 else b)
    if b.ndim == 1:
        out = squeeze(out, -1)
    if a.ndim == 1:
        out = squeeze(out, -1 if b.ndim == 1 else -2)
    return out


mm = matmul


def dot(input: TensorBase, other: TensorBase) -> Tensor:
    """The inner product of two vectors."""
    if input.ndim != 1 or input.shape != other.shape:
        raise ShapeError(f"dot: two vectors of one length, got shapes {list(input.shape)} and {list(other.shape)}")
    return matmul(input, other)


@functools.lru_cache(maxsize=1024)
def _linear_shape(input: Shape, weight: Shape, bias: Shape | None = None) -> Shape:
    if not input or len(weight) != 2 or input[-1] != weight[1]:
        raise ShapeError(
            f"linear: input of shape {list(input)} and weight of shape {list(weight)} (out, in): the input's last length "
            f"must be {weight[-1] if weight else 'in'}"
        )
    if bias and bias != weight[:1]:
        raise ShapeError(f"linear: bias of shape {list(bias)}; the weight of shape {list(weight)} wants [{weight[0]}]")
    return (*input[:-1], weight[0])


def _linear_forward(input: Array, weight: Array, bias: Array | None = None) -> Array:
    _linear_shape(input.shape, weight.shape, None if bias is None else bias.shape)
    out = _matmul_forward(_rows(input), weight.T)
    if bias is not None:
        np.add(out, bias, out=out)
    return out if input.ndim == 2 else out.reshape(*input.shape[:-1], len(weight))


def _rows(x: Array) -> Array:
    """(..., L) -> (rows, L)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _linear_weight_shape(g: Shape, input: Shape) -> Shape:
    if g[:-1] != input[:-1]:
        raise ShapeError(f"linear_weight: a cotangent of {list(g)} does not come from an input of {list(input)}")
    return (g[-1], input[-1])


def _linear_weight_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for lead in ((2,), (), (2, 3), (0,), (1,)):
        yield Sample((rng.normal(size=(*lead, 4)), rng.normal(size=(*lead, 3))))


def _linear_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for x, w in (((2, 3), (4, 3)), ((3,), (2, 3)), ((2, 1, 3), (1, 3)), ((0, 3), (2, 3))):
        yield Sample((rng.normal(size=x), rng.normal(size=w), rng.normal(size=w[0])))
    yield Sample((rng.normal(size=(2, 3)), rng.normal(size=(4, 3)), None), why="no bias")


_linear = register(
    Op(
        "linear",
        _linear_forward,
        _linear_shape,
        {
            "input": arrays_too(lambda g, weight: _matmul(g, weight) if g.ndim > 1 else _matmul(g[None], weight)[0]),
            "weight": arrays_too(lambda g, input: _linear_weight(g, input)),
            "bias": arrays_too(lambda g: sum_over(g, dims=tuple(range(g.ndim - 1)), keepdim=False)),
        },
        lambda x, w, b=None: np.tensordot(x, w, (-1, 1)) + (0 if b is None else b),
        _linear_samples,
        flops=lambda out, x, w, *bias: math.prod(out) * (2 * w[1] + bool(bias and bias[0])),
        macs=lambda out, x, w, *_: math.prod(out) * w[1],
        family="linear",
        onnx="Gemm",
    )
)


# (..., out)' @ (..., in) -> (out, in)
_linear_weight: Op = register(
    Op(
        "linear_weight",
        lambda g, input: _matmul_forward(_rows(g).T, _rows(input)),
        _linear_weight_shape,
        {"g": lambda h, input: linear(input, h), "input": lambda h, g: matmul(g, h)},
        lambda g, x: np.tensordot(g, x, (range(g.ndim - 1),) * 2),
        _linear_weight_samples,
        flops=lambda out, g, x: 2 * math.prod(out) * math.prod(g[:-1]),
        macs=lambda out, g, x: math.prod(out) * math.prod(g[:-1]),
        family="linear",
        doc="The derivative of linear by its weight.",
    )
)


def linear(input: Operand, weight: TensorBase, bias: TensorBase | None = None) -> Tensor:
    """``input @ weight.T + bias``: (..., in), (out, in), (out) -> (..., out)."""
    x = as_tensor(input)
    same_float("linear", input=x, weight=weight, bias=bias)
    return _linear(x, weight, bias)


class LinalgMethods(TensorBase):
    """Matrix products of a tensor."""

    __slots__ = ()

    def __matmul__(self, other: Operand) -> Tensor:
        return matmul(self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return matmul(other, self)

    def matmul(self, other: Operand) -> Tensor:
        """The matrix product."""
        return matmul(self, other)

    def mm(self, other: Operand) -> Tensor:
        """The matrix product."""
        return matmul(self, other)
