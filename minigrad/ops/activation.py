"""Activations: relu and its leaky kin, sigmoid, elu, prelu, maxout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from minigrad.core import Array, TensorBase, make_tensor
from minigrad.errors import ShapeError
from minigrad.graph import Shape
from minigrad.kernels import elementwise as kernels
from minigrad.op import Op, Sample, arrays_too, register
from minigrad.ops.arithmetic import mul, neg, where
from minigrad.ops.elementwise import elementwise
from minigrad.ops.functions import exp
from minigrad.ops.index import scatter_add
from minigrad.ops.movement import normal_axis, reshape, unsqueeze
from minigrad.ops.operands import Operand, as_float, as_tensor

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["elu", "leaky_relu", "logsigmoid", "maxout", "prelu", "relu", "sigmoid", "softplus"]

# ------------------------------------------------------------------------------------------------ relu

_gate: Op = elementwise(
    "gate",
    lambda g, x, *, slope: kernels.of_two(kernels.gate, g, x, float(slope)) if slope else kernels.of_two(kernels.shut, g, x),
    lambda g, x, *, slope: g * slope if x <= 0 else g,
    {"g": arrays_too(lambda h, x, *, slope: _gate(h, x, slope=slope))},
    params=({"slope": 0.0}, {"slope": 0.1}),
    samples=lambda rng: _gate_samples(rng),
    family="activation",
    doc="The derivative of relu and leaky_relu: the cotangent, scaled by the slope where x is not positive.",
)


def _gate_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for slope in (0.0, 0.1):
        x = rng.normal(size=(3, 4))
        yield Sample((rng.normal(size=(3, 4)), np.where(np.abs(x) < 0.1, 0.5, x)), {"slope": slope})


def _rectifier(name: str, doc: str, onnx: str, slopes: tuple[float, ...]) -> Op:
    return elementwise(
        name,
        lambda x, *, slope: kernels.of_one(kernels.leaky, x, float(slope)),
        lambda x, *, slope: x if x > 0 else slope * x,
        {"x": arrays_too(lambda g, x, *, slope: _gate(g, x, slope=slope))},
        params=tuple({"slope": slope} for slope in slopes),
        samples=lambda rng: _rectifier_samples(rng, slopes),
        family="activation",
        onnx=onnx,
        doc=doc,
    )


def _rectifier_samples(rng: np.random.Generator, slopes: tuple[float, ...]) -> Iterator[Sample]:
    for slope in slopes:
        for shape in ((3, 4), (), (0, 3)):
            x = rng.uniform(-2, 2, size=shape)
            yield Sample((np.where(np.abs(x) < 0.1, 0.4, x),), {"slope": slope})
        yield Sample((np.zeros(1),), {"slope": slope}, kink={"x": np.array([slope])}, why="at 0 the slope of the left")


_leaky_relu = _rectifier("leaky_relu", "x where positive, else slope * x.", "LeakyRelu", (0.01, 0.1, -0.2))

_relu = elementwise(
    "relu",
    lambda x: kernels.of_one(kernels.rectify, x),
    lambda x: max(x, 0.0),
    {"x": arrays_too(lambda g, out: _gate(g, out, slope=0.0))},  # the output's sign tells as much as the input's
    kinks={0.0: 0.0},
    family="activation",
    onnx="Relu",
    doc="x where positive, else 0.",
)


def relu(input: Operand, inplace: bool = False) -> Tensor:
    """``max(x, 0)``; NaN stays NaN and the derivative at 0 is 0. `inplace` writes it into the input as well."""
    x = as_tensor(input)
    return x._self().become(_relu(x)) if inplace else _relu(x)


def leaky_relu(input: Operand, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``x`` where positive, else ``negative_slope * x``. `inplace` writes it into the input as well."""
    out = _leaky_relu(as_float(as_tensor(input)), slope=negative_slope)
    return as_tensor(input)._self().become(out) if inplace else out


def prelu(input: TensorBase, weight: TensorBase) -> Tensor:
    """``x`` where positive, else ``a * x`` with learned `a`: one, or one for each channel (axis 1). He et al. 2015, eq. 1.

    Raises ShapeError unless `weight` has one element or as many as the input has channels.
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.numel() not in (1, channels):
        raise ShapeError(
            f"prelu: {weight.numel()} slopes for an input of shape {list(input.shape)}; give 1 or {channels} (its channels)"
        )
    slope = reshape(weight, (-1, *(1,) * (input.ndim - 2))) if weight.numel() > 1 else weight
    above = as_tensor(input.array > 0)
    return where(above, input, mul(slope, where(above, 0.0, input)))  # what is above, be it Inf, says nothing of the slope


# ------------------------------------------------------------------------------------------------ smooth ones

_sigmoid = elementwise(
    "sigmoid",
    lambda x: kernels.of_one(kernels.sigmoid, x),
    lambda x: 1 / (1 + math.exp(-x)),
    {"x": arrays_too(lambda g, out: g * out * (1 - out))},
    flops=4,
    family="activation",
    onnx="Sigmoid",
    doc="1 / (1 + exp(-x)).",
)
_elu = elementwise(
    "elu",
    lambda x, *, alpha: kernels.of_one(kernels.elu, x, float(alpha)),
    lambda x, *, alpha: x if x > 0 else alpha * (math.exp(x) - 1),
    {"x": lambda g, x, *, alpha: g * where(x > 0, 1.0, exp(x.minimum(0.0)) * alpha)},
    params=({"alpha": 1.0}, {"alpha": 0.3}),
    samples=lambda rng: _elu_samples(rng),
    flops=3,
    family="activation",
    onnx="Elu",
    doc="x where positive, else alpha * (exp(x) - 1). Clevert et al. 2016, eq. 15.",
)
_softplus = elementwise(
    "softplus",
    lambda x: np.maximum(x, x.dtype.type(0)) + np.log1p(np.exp(-np.abs(x))),
    lambda x: math.log(1 + math.exp(x)),
    {"x": lambda g, x: g * sigmoid(x)},
    flops=3,
    family="activation",
    onnx="Softplus",
    doc="log(1 + exp(x)), without overflow.",
)


def _elu_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for alpha in (1.0, 0.3):
        x = rng.normal(size=(3, 4))
        yield Sample((np.where(np.abs(x) < 0.1, -0.5, x),), {"alpha": alpha})
        yield Sample((np.zeros(1),), {"alpha": alpha}, kink={"x": np.array([alpha])}, why="at 0 the slope of the left")


def sigmoid(input: Operand) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return _sigmoid(as_float(as_tensor(input)))


def elu(input: Operand, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``. `inplace` writes it into the input as well."""
    out = _elu(as_float(as_tensor(input)), alpha=alpha)
    return as_tensor(input)._self().become(out) if inplace else out


def softplus(input: Operand) -> Tensor:
    """``log(1 + exp(x))``, without overflow."""
    return _softplus(as_float(as_tensor(input)))


def logsigmoid(input: Operand) -> Tensor:
    """``log(sigmoid(x))``, without overflow."""
    return -softplus(neg(as_tensor(input)))


# ------------------------------------------------------------------------------------------------ maxout


def _maxout_shape(x: Shape) -> Shape:
    if len(x) != 4:
        raise ShapeError(f"maxout: expected (N, C, pieces, L), got {list(x)}")
    return (x[0], x[1], x[3])


def _maxout_forward(x: Array) -> tuple[Array, Array]:
    out = np.empty(_maxout_shape(x.shape), x.dtype)
    chosen = np.empty(out.shape, np.int64)
    kernels.maxout(out, chosen, np.ascontiguousarray(x))
    return out, chosen


def _maxout_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape in ((2, 3, 2, 4), (1, 2, 3, 1), (0, 2, 2, 1)):
        yield Sample((rng.permutation(math.prod(shape)).reshape(shape) * 0.2 - 1,))
    yield Sample((np.ones((1, 1, 2, 1)),), kink={"x": np.array([1.0, 0.0]).reshape(1, 1, 2, 1)}, why="first of a tie")


def _maxout_pull(g: Tensor, chosen: Tensor, *, shapes: tuple[Shape, ...]) -> Tensor:
    return scatter_add(make_tensor(np.zeros(shapes[0], g.dtype)), 2, unsqueeze(chosen, 2), unsqueeze(g, 2))


_maxout = register(
    Op(
        "maxout",
        _maxout_forward,
        _maxout_shape,
        {"x": _maxout_pull},
        lambda x: (x.max(axis=2), x.argmax(axis=2)),
        _maxout_samples,
        flops=lambda out, x: math.prod(x) - math.prod(out),
        outputs=("out", "chosen"),
        family="activation",
    )
)


def maxout(input: TensorBase, pieces: int = 2, dim: int = 1) -> Tensor:
    """The largest of each group of `pieces` neighbouring channels: (N, C * pieces, ...) -> (N, C, ...).

    Goodfellow et al. 2013, eq. 1, with the affine pieces made by the layer before. The first of a tie takes the gradient.
    Raises ShapeError where the axis is not a multiple of `pieces`.
    """
    if not input.ndim:
        raise ShapeError("maxout: a tensor without axes has no channels")
    axis = normal_axis("maxout", dim, input.ndim)
    lead, channels, rest = input.shape[:axis], input.shape[axis], input.shape[axis + 1 :]
    if pieces < 1 or channels % pieces:
        raise ShapeError(f"maxout: {channels} channels (axis {dim} of {list(input.shape)}) in groups of {pieces}")
    grouped = (math.prod(lead), channels // pieces, pieces, math.prod(rest))
    return reshape(_maxout(reshape(input, grouped)), (*lead, channels // pieces, *rest))


class ActivationMethods(TensorBase):
    """Activations of a tensor."""

    __slots__ = ()

    def relu(self) -> Tensor:
        """``max(x, 0)``."""
        return relu(self)

    def sigmoid(self) -> Tensor:
        """``1 / (1 + exp(-x))``."""
        return sigmoid(self)
