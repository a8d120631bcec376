"""Arithmetic, elementwise with broadcasting, and the arithmetic operators of a tensor."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from minigrad.core import TensorBase
from minigrad.op import Sample, arrays_too
from minigrad.ops.elementwise import elementwise
from minigrad.ops.operands import Operand, as_float, as_tensor, operands

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = [
    "add",
    "div",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pow",
    "reciprocal",
    "square",
    "sub",
    "where",
]

# ------------------------------------------------------------------------------------------------ sums and products

_add = elementwise(
    "add",
    lambda a, b: np.add(a, b),
    operator.add,
    {"a": lambda g: g, "b": lambda g: g},
    onnx="Add",
)
_sub = elementwise(
    "sub",
    lambda a, b: np.subtract(a, b),
    operator.sub,
    {"a": lambda g: g, "b": arrays_too(lambda g: -g)},
    onnx="Sub",
)
_mul = elementwise(
    "mul",
    lambda a, b: np.multiply(a, b),
    operator.mul,
    {"a": arrays_too(lambda g, b: g * b), "b": arrays_too(lambda g, a: g * a)},
    onnx="Mul",
)


def _div_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for a, b in (((3, 4), (3, 4)), ((3, 1), (2, 1, 4)), ((), (2, 3)), ((2, 3), ()), ((0, 3), (3,))):
        yield Sample((rng.normal(size=a), rng.uniform(0.5, 2, size=b) * rng.choice([-1, 1], size=b)))


_div = elementwise(
    "div",
    lambda a, b: np.true_divide(a, b),
    operator.truediv,
    {"a": arrays_too(lambda g, b: g / b), "b": arrays_too(lambda g, b, out: -g * out / b)},
    samples=_div_samples,
    onnx="Div",
)
neg = elementwise("neg", lambda x: np.negative(x), operator.neg, {"x": arrays_too(lambda g: -g)}, onnx="Neg")
square = elementwise("square", lambda x: np.square(x), lambda x: x * x, {"x": arrays_too(lambda g, x: g * (x * 2))})
_reciprocal = elementwise(
    "reciprocal",
    lambda x: np.true_divide(x.dtype.type(1), x),
    lambda x: 1 / x,
    {"x": arrays_too(lambda g, out: -g * square(out))},
    domain=(0.5, 2),
    onnx="Reciprocal",
)


def _pow_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for a, b in (((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2, 3)), ((0, 3), (3,))):
        yield Sample((rng.uniform(0.3, 2, size=a), rng.uniform(-2, 3, size=b)))
    yield Sample(
        (np.array([0.0, 0.0, 2.0]), np.array([0.0, 2.0, 0.0])),
        kink={"a": np.zeros(3), "b": np.array([0.0, 0.0, math.log(2)])},
        why="0^0 and 0^b: zero, not NaN",
    )


def _pow_base(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return g * where(b == 0, 0.0, b * _pow(a, b - 1))


def _pow_exponent(g: Tensor, a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    # Where a = 0 the power stays 0 for b >= 0, so its derivative by b is 0 there and not 0 * log(0).
    at_zero = (a == 0) & (b >= 0)
    return g * where(at_zero, 0.0, out * where(at_zero, 1.0, a).log())


_pow = elementwise(
    "pow",
    lambda a, b: np.power(a, b),
    operator.pow,
    {"a": _pow_base, "b": _pow_exponent},
    samples=_pow_samples,
    onnx="Pow",
)


def add(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``, broadcast."""
    return _add(*operands(input, other if alpha == 1 else mul(other, alpha)))


def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """``input - alpha * other``, broadcast."""
    return _sub(*operands(input, other if alpha == 1 else mul(other, alpha)))


def mul(input: Operand, other: Operand) -> Tensor:
    """``input * other``, broadcast."""
    return _mul(*operands(input, other))


def div(input: Operand, other: Operand) -> Tensor:
    """``input / other``, broadcast; integers are divided as floating point."""
    a, b = operands(input, other)
    return _div(as_float(a), as_float(b))


def reciprocal(input: Operand) -> Tensor:
    """``1 / input``; of integers as floating point."""
    return _reciprocal(as_float(as_tensor(input)))


def pow(input: Operand, exponent: Operand) -> Tensor:
    """``input ** exponent``, broadcast."""
    if isinstance(exponent, (int, float)) and exponent == 2 and isinstance(input, TensorBase) and input.dtype.kind == "f":
        return square(input)
    return _pow(*operands(input, exponent))


# ------------------------------------------------------------------------------------------------ the larger, the smaller


def _tie_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for a, b in (((3, 4), (3, 4)), ((3, 1), (2, 1, 4)), ((), (2, 3)), ((0, 3), (1, 3))):
        x, y = rng.normal(size=a), rng.normal(size=b)
        yield Sample((x, np.where(np.abs(x - y).min(initial=1.0) < 0.05, y + 0.11, y)))
    tie = {"a": np.array([0.5]), "b": np.array([0.5])}
    yield Sample((np.array([1.5]), np.array([1.5])), kink=tie, why="a tie: half to each")


def _share(g: Tensor, loses: Tensor, ties: Tensor) -> Tensor:
    """Nothing where it loses, also of Inf, half where it ties, else all of it: of NaN neither loses, as in PyTorch."""
    return where(loses, 0.0, where(ties, g * 0.5, g))


_maximum = elementwise(
    "maximum",
    lambda a, b: np.maximum(a, b),
    max,
    {"a": lambda g, a, b: _share(g, a < b, a == b), "b": lambda g, a, b: _share(g, b < a, a == b)},
    samples=_tie_samples,
    onnx="Max",
)
_minimum = elementwise(
    "minimum",
    lambda a, b: np.minimum(a, b),
    min,
    {"a": lambda g, a, b: _share(g, a > b, a == b), "b": lambda g, a, b: _share(g, b > a, a == b)},
    samples=_tie_samples,
    onnx="Min",
)


def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of the two, elementwise; NaN wins. At a tie each gets half the gradient."""
    return _maximum(*operands(input, other))


def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of the two, elementwise; NaN wins. At a tie each gets half the gradient."""
    return _minimum(*operands(input, other))


def _where_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for c, a, b in (((3, 4), (3, 4), (3, 4)), ((4,), (3, 1), ()), ((0,), (1,), (2, 1))):
        yield Sample((rng.random(c) < 0.5, rng.normal(size=a), rng.normal(size=b)))


_where = elementwise(
    "where",
    lambda condition, a, b: np.where(condition, a, b),
    lambda condition, a, b: a if condition else b,
    {
        "a": lambda g, condition: where(condition, g, 0.0),
        "b": lambda g, condition: where(condition, 0.0, g),
    },
    samples=_where_samples,
    onnx="Where",
)


def where(condition: Operand, input: Operand, other: Operand) -> Tensor:
    """``input`` where the condition holds, else ``other``, broadcast."""
    return _where(as_tensor(condition), *operands(input, other))


class ArithmeticMethods(TensorBase):
    """The arithmetic of a tensor."""

    __slots__ = ()

    def __add__(self, other: Operand) -> Tensor:
        return _add(*operands(self, other))

    def __radd__(self, other: Operand) -> Tensor:
        return add(other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return _sub(*operands(self, other))

    def __rsub__(self, other: Operand) -> Tensor:
        return sub(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return _mul(*operands(self, other))

    def __rmul__(self, other: Operand) -> Tensor:
        return mul(other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return div(self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return div(other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return pow(self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return pow(other, self)

    def __neg__(self) -> Tensor:
        return neg(self)

    #: numpy arrays on the left leave the operation to the tensor.
    __array_ufunc__ = None

    def add(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """``self + alpha * other``, broadcast."""
        return add(self, other, alpha=alpha)

    def sub(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """``self - alpha * other``, broadcast."""
        return sub(self, other, alpha=alpha)

    def mul(self, other: Operand) -> Tensor:
        """``self * other``, broadcast."""
        return mul(self, other)

    def div(self, other: Operand) -> Tensor:
        """``self / other``, broadcast."""
        return div(self, other)

    def pow(self, exponent: Operand) -> Tensor:
        """``self ** exponent``, broadcast."""
        return pow(self, exponent)

    def neg(self) -> Tensor:
        """``-self``."""
        return neg(self)

    def square(self) -> Tensor:
        """The square of each element."""
        return square(self)

    def reciprocal(self) -> Tensor:
        """One over each element."""
        return reciprocal(self)

    def maximum(self, other: Operand) -> Tensor:
        """The larger of the two, elementwise."""
        return maximum(self, other)

    def minimum(self, other: Operand) -> Tensor:
        """The smaller of the two, elementwise."""
        return minimum(self, other)

    def where(self, condition: Operand, other: Operand) -> Tensor:
        """``self`` where the condition holds, else ``other``."""
        return where(condition, self, other)
