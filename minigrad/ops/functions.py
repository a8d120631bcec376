"""Functions of one number, elementwise: exponential, logarithm, roots, trigonometry, rounding."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import Array, TensorBase, make_tensor
from minigrad.op import arrays_too
from minigrad.ops.arithmetic import square, where
from minigrad.ops.compare import gt, isnan, logical_or, lt
from minigrad.ops.elementwise import elementwise
from minigrad.ops.operands import Operand, as_float, as_tensor

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = [
    "abs",
    "ceil",
    "clamp",
    "cos",
    "exp",
    "expm1",
    "floor",
    "log",
    "log1p",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sqrt",
    "tan",
    "tanh",
]


def _function(name: str, ufunc: Any, scalar: Any, slope: Any, whole: Any = None, **more: Any) -> Callable[[Operand], Tensor]:
    """Register an elementwise function of one floating-point number; outside its domain it is NaN or Inf, in silence.

    `whole` is the same for integers, where it makes integers of them.
    """

    def forward(x: Array) -> Array:
        return np.asarray((whole if x.dtype.kind in "iu" else ufunc)(x))

    op = elementwise(name, forward, scalar, {"x": slope} if slope else None, **more)

    def function(input: Operand) -> Tensor:
        x = as_tensor(input)
        return op(x if whole and x.dtype.kind in "iu" else as_float(x))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = more.get("doc", "")
    return function


def _nothing(g: Tensor) -> Tensor:
    """Zeros, also where `g` is Inf, in the graph of `g`."""
    return where(np.zeros(g.shape, np.bool_), g, 0.0)


exp = _function("exp", np.exp, math.exp, arrays_too(lambda g, out: g * out), onnx="Exp", doc="e to the power of each element.")
expm1 = _function("expm1", np.expm1, math.expm1, arrays_too(lambda g, out: g * (out + 1)), doc="``exp(x) - 1``, exact near 0.")
log = _function(
    "log", np.log, math.log, arrays_too(lambda g, x: g / x), domain=(0.3, 3), onnx="Log", doc="The natural logarithm."
)
log1p = _function(
    "log1p", np.log1p, math.log1p, arrays_too(lambda g, x: g / (x + 1)), domain=(-0.5, 3), doc="``log(1 + x)``, exact near 0."
)
sqrt = _function(
    "sqrt", np.sqrt, math.sqrt, arrays_too(lambda g, out: g / (out * 2)), domain=(0.3, 3), onnx="Sqrt", doc="The square root."
)
rsqrt = _function(
    "rsqrt",
    lambda x: (1 / np.sqrt(x)).astype(x.dtype),
    lambda x: x**-0.5,
    arrays_too(lambda g, x, out: g * out / (x * -2)),
    domain=(0.3, 3),
    flops=2,
    doc="One over the square root.",
)
sin = _function("sin", np.sin, math.sin, lambda g, x: g * cos(x), onnx="Sin", doc="The sine (radians).")
cos: Callable[[Operand], Tensor] = _function(
    "cos", np.cos, math.cos, lambda g, x: -g * sin(x), onnx="Cos", doc="The cosine (radians)."
)
tan = _function(
    "tan", np.tan, math.tan, arrays_too(lambda g, out: g * (square(out) + 1)), domain=(-1, 1), doc="The tangent (radians)."
)
tanh = _function(
    "tanh",
    np.tanh,
    math.tanh,
    arrays_too(lambda g, out: g * (1 - square(out))),
    family="activation",
    onnx="Tanh",
    doc="The hyperbolic tangent.",
)
abs = _function(
    "abs", np.abs, math.fabs, lambda g, x: g * sign(x), np.abs, kinks={0.0: 0.0}, onnx="Abs", doc="The absolute value."
)
sign: Callable[[Operand], Tensor] = _function(
    "sign", np.sign, lambda x: (x > 0) - (x < 0), _nothing, np.sign, kinks={0.0: 0.0}, onnx="Sign", doc="-1, 0 or 1."
)
floor = _function("floor", np.floor, math.floor, _nothing, np.copy, domain=(0.1, 0.9), onnx="Floor", doc="Rounded down.")
ceil = _function("ceil", np.ceil, math.ceil, _nothing, np.copy, domain=(0.1, 0.9), onnx="Ceil", doc="Rounded up.")
round = _function(
    "round",
    np.round,
    builtins.round,
    _nothing,
    np.copy,
    domain=(0.6, 1.4),
    onnx="Round",
    doc="To the nearest, ties to even.",
)

_clamp = elementwise(
    "clamp",
    lambda x, *, min, max: np.clip(x, min, max),
    lambda x, *, min, max: builtins.min(builtins.max(x, -math.inf if min is None else min), math.inf if max is None else max),
    {"x": lambda g, x, *, min, max: where(_inside(x, min, max), g, 0.0)},  # not a product: 0 times Inf is NaN
    kinks={-0.5: 1.0, 0.7: 1.0},
    params=({"min": -0.5, "max": 0.7},),
    flops=2,
    onnx="Clip",
)


def _inside(x: Tensor, low: float | None, high: float | None) -> Tensor:
    """Where x lies between the bounds or on one: PyTorch's choice."""
    above = np.asarray(True) if low is None else x.array >= low
    below = np.asarray(True) if high is None else x.array <= high
    return make_tensor(np.asarray(above & below))


def clamp(input: Operand, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Limited to ``[min, max]``: numbers, or tensors that broadcast. On a bound the gradient goes to the input, and
    beyond one that is a tensor to that."""
    x, bounds = as_tensor(input), (min, max)
    if any(isinstance(bound, (TensorBase, np.ndarray)) for bound in bounds):
        for bound, beyond in ((min, lt), (max, gt)):
            if bound is not None:
                x = where(logical_or(beyond(x, bound), isnan(bound)), bound, x)
        return x._self()
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    # As Python's numbers, which do not widen a tensor's type.
    low, high = (bound.item() if isinstance(bound, np.generic) else bound for bound in bounds)
    if isinstance(low, float) or isinstance(high, float):
        x = as_float(x)
    return _clamp(x, min=low, max=high)


class FunctionMethods(TensorBase):
    """Functions of each element."""

    __slots__ = ()

    def exp(self) -> Tensor:
        """e to the power of each element."""
        return exp(self)

    def expm1(self) -> Tensor:
        """``exp(x) - 1`` of each element."""
        return expm1(self)

    def log(self) -> Tensor:
        """The natural logarithm of each element."""
        return log(self)

    def log1p(self) -> Tensor:
        """``log(1 + x)`` of each element."""
        return log1p(self)

    def sqrt(self) -> Tensor:
        """The square root of each element."""
        return sqrt(self)

    def rsqrt(self) -> Tensor:
        """One over the square root of each element."""
        return rsqrt(self)

    def sin(self) -> Tensor:
        """The sine of each element."""
        return sin(self)

    def cos(self) -> Tensor:
        """The cosine of each element."""
        return cos(self)

    def tan(self) -> Tensor:
        """The tangent of each element."""
        return tan(self)

    def tanh(self) -> Tensor:
        """The hyperbolic tangent of each element."""
        return tanh(self)

    def abs(self) -> Tensor:
        """The absolute value of each element."""
        return abs(self)

    def sign(self) -> Tensor:
        """-1, 0 or 1 for each element."""
        return sign(self)

    def floor(self) -> Tensor:
        """Each element rounded down."""
        return floor(self)

    def ceil(self) -> Tensor:
        """Each element rounded up."""
        return ceil(self)

    def round(self) -> Tensor:
        """Each element rounded to the nearest, ties to even."""
        return round(self)

    __abs__ = abs

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """Limited to ``[min, max]``."""
        return clamp(self, min, max)
