"""Softmax and its logarithm, along one axis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.graph import Shape
from minigrad.kernels import softmax as kernels
from minigrad.kernels.memory import empty
from minigrad.op import Op, Sample, arrays_too, register
from minigrad.ops.functions import exp
from minigrad.ops.movement import normal_axis
from minigrad.ops.operands import as_float

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["log_softmax", "softmax"]


def _rows(kernel: Any, dim: int, *arrays: Array) -> Array:
    """Run a kernel over rows, the axis `dim` being each row's."""
    first = arrays[0]
    if not first.ndim:
        return _rows(kernel, 0, *(a.reshape(1) for a in arrays)).reshape(())
    if first.ndim == 2 and dim == 1 and first.size:  # the usual case pays for nothing more
        plain: Array = empty(first.shape, first.dtype)
        kernel(plain, *[a if a.flags.c_contiguous else np.ascontiguousarray(a) for a in arrays])
        return plain
    moved = [np.moveaxis(a, dim, -1) for a in arrays]
    out: Array = empty(moved[0].shape, arrays[0].dtype)
    width = out.shape[-1]
    if out.size:
        kernel(out.reshape(-1, width), *(np.ascontiguousarray(a).reshape(-1, width) for a in moved))
    return np.ascontiguousarray(np.moveaxis(out, -1, dim))


def _same(x: Shape, *_: Shape, dim: int) -> Shape:
    return x


def _row_op(name: str, kernel: Any, vjp: Any, reference: Any, inputs: int, onnx: str | None = None) -> Op:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for shape, dim in (((2, 3, 4), 1), ((5,), 0), ((0, 3), 1), ((3, 1), 1)):
            arrays = [rng.normal(size=shape) for _ in range(inputs)]
            yield Sample(tuple(arrays), {"dim": dim})

    forward = (lambda x, *, dim: _rows(kernel, dim, x)) if inputs == 1 else (lambda g, y, *, dim: _rows(kernel, dim, g, y))
    return register(
        Op(
            name,
            forward,
            _same,
            vjp,
            reference,
            samples,
            flops=lambda out, *_, **__: 5 * math.prod(out),
            family="loss",
            onnx=onnx,
        )
    )


def _reference_softmax(x: Array, *, dim: int) -> Array:
    e = np.exp(x)
    return np.asarray(e / e.sum(axis=dim, keepdims=True))


_softmax = _row_op(
    "softmax",
    kernels.softmax,
    {"x": arrays_too(lambda g, out, *, dim: softmax_backward(g, out, dim=dim))},
    _reference_softmax,
    inputs=1,
    onnx="Softmax",
)
softmax_backward: Op = _row_op(
    "softmax_backward",
    kernels.softmax_backward,
    {
        "g": lambda h, y, *, dim: softmax_backward(h, y, dim=dim),  # the Jacobian is symmetric
        "y": lambda h, g, y, *, dim: h * (g - (g * y).sum(dim, keepdim=True)) - g * (h * y).sum(dim, keepdim=True),
    },
    lambda g, y, *, dim: y * g - y * np.sum(y * g, axis=dim, keepdims=True),
    inputs=2,
)
_log_softmax = _row_op(
    "log_softmax",
    kernels.log_softmax,
    {"x": arrays_too(lambda g, out, *, dim: _log_softmax_backward(g, out, dim=dim))},
    lambda x, *, dim: np.log(_reference_softmax(x, dim=dim)),
    inputs=1,
    onnx="LogSoftmax",
)
_log_softmax_backward: Op = _row_op(
    "log_softmax_backward",
    kernels.log_softmax_backward,
    {
        "g": lambda h, y, *, dim: h - (h * exp(y)).sum(dim, keepdim=True),
        "y": lambda h, g, y, *, dim: -h * exp(y) * g.sum(dim, keepdim=True),
    },
    lambda g, y, *, dim: g - np.exp(y) * np.sum(g, axis=dim, keepdims=True),
    inputs=2,
)


def softmax(input: TensorBase, dim: int) -> Tensor:
    """``exp(x) / sum(exp(x))`` along `dim`, without overflow."""
    return _softmax(as_float(input), dim=normal_axis("softmax", dim, input.ndim))


def log_softmax(input: TensorBase, dim: int) -> Tensor:
    """``log(softmax(x))`` along `dim`, without overflow."""
    return _log_softmax(as_float(input), dim=normal_axis("log_softmax", dim, input.ndim))


class SoftmaxMethods(TensorBase):
    """Softmax of a tensor."""

    __slots__ = ()

    def softmax(self, dim: int) -> Tensor:
        """``exp(x) / sum(exp(x))`` along `dim`."""
        return softmax(self, dim)

    def log_softmax(self, dim: int) -> Tensor:
        """``log(softmax(x))`` along `dim`."""
        return log_softmax(self, dim)
