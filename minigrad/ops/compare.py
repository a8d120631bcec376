"""Comparison and logic, elementwise with broadcasting: operations without a derivative."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import TensorBase
from minigrad.errors import ShapeError
from minigrad.op import Op, Sample
from minigrad.ops.elementwise import elementwise, predicate
from minigrad.ops.operands import NUMERIC, Operand, as_tensor, operands

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = [
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "eq",
    "ge",
    "gt",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "logical_and",
    "logical_not",
    "logical_or",
    "lt",
    "ne",
]

_eq = predicate("eq", lambda a, b: np.equal(a, b), operator.eq, onnx="Equal")
_ne = predicate("ne", lambda a, b: np.not_equal(a, b), operator.ne)
_lt = predicate("lt", lambda a, b: np.less(a, b), operator.lt, onnx="Less")
_le = predicate("le", lambda a, b: np.less_equal(a, b), operator.le, onnx="LessOrEqual")
_gt = predicate("gt", lambda a, b: np.greater(a, b), operator.gt, onnx="Greater")
_ge = predicate("ge", lambda a, b: np.greater_equal(a, b), operator.ge, onnx="GreaterOrEqual")
_and = predicate("logical_and", lambda a, b: np.logical_and(a, b), lambda a, b: bool(a) and bool(b), onnx="And")
_or = predicate("logical_or", lambda a, b: np.logical_or(a, b), lambda a, b: bool(a) or bool(b), onnx="Or")
_not = predicate("logical_not", lambda x: np.logical_not(x), operator.not_, onnx="Not")


def _whole_samples(inputs: int) -> Any:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for shapes in (((3, 4), (4,)), ((), (2, 1)), ((0, 3), (3,))):
            yield Sample(tuple(rng.integers(-9, 9, size=shape) for shape in shapes[:inputs]))
        yield Sample(tuple(rng.random((2, 3)) < 0.5 for _ in range(inputs)), why="booleans")

    return samples


def _bitwise(name: str, ufunc: Any, scalar: Any, onnx: str, inputs: int = 2) -> Op:
    forward = (lambda a, b: ufunc(a, b)) if inputs == 2 else (lambda x: ufunc(x))
    return elementwise(name, forward, scalar, family="comparison", samples=_whole_samples(inputs), onnx=onnx)


_bits_and = _bitwise("bitwise_and", np.bitwise_and, operator.and_, "BitwiseAnd")
_bits_or = _bitwise("bitwise_or", np.bitwise_or, operator.or_, "BitwiseOr")
_bits_xor = _bitwise("bitwise_xor", np.bitwise_xor, operator.xor, "BitwiseXor")
_bits_not = _bitwise("bitwise_not", np.invert, lambda x: not x if isinstance(x, bool) else ~x, "BitwiseNot", inputs=1)
_isnan = predicate("isnan", lambda x: np.isnan(x), math.isnan, onnx="IsNaN")
_isinf = predicate("isinf", lambda x: np.isinf(x), math.isinf, onnx="IsInf")
_isfinite = predicate("isfinite", lambda x: np.isfinite(x), math.isfinite)


def eq(input: Operand, other: Operand) -> Tensor:
    """Where the two are equal."""
    return _eq(*operands(input, other))


def ne(input: Operand, other: Operand) -> Tensor:
    """Where the two differ."""
    return _ne(*operands(input, other))


def lt(input: Operand, other: Operand) -> Tensor:
    """Where ``input < other``."""
    return _lt(*operands(input, other))


def le(input: Operand, other: Operand) -> Tensor:
    """Where ``input <= other``."""
    return _le(*operands(input, other))


def gt(input: Operand, other: Operand) -> Tensor:
    """Where ``input > other``."""
    return _gt(*operands(input, other))


def ge(input: Operand, other: Operand) -> Tensor:
    """Where ``input >= other``."""
    return _ge(*operands(input, other))


def logical_and(input: Operand, other: Operand) -> Tensor:
    """Where both hold."""
    return _and(as_tensor(input), as_tensor(other))


def logical_or(input: Operand, other: Operand) -> Tensor:
    """Where either holds."""
    return _or(as_tensor(input), as_tensor(other))


def logical_not(input: Operand) -> Tensor:
    """Where the input does not hold."""
    return _not(as_tensor(input))


def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """The bits set in both integers; of booleans, where both hold. Raises TypeError for floating point."""
    a, b = operands(input, other)
    return (_and if a.dtype == np.bool_ else _bits_and)(a, b)


def bitwise_or(input: Operand, other: Operand) -> Tensor:
    """The bits set in either integer; of booleans, where either holds. Raises TypeError for floating point."""
    a, b = operands(input, other)
    return (_or if a.dtype == np.bool_ else _bits_or)(a, b)


def bitwise_xor(input: Operand, other: Operand) -> Tensor:
    """The bits set in one integer only; of booleans, where one holds. Raises TypeError for floating point."""
    return _bits_xor(*operands(input, other))


def bitwise_not(input: Operand) -> Tensor:
    """The other bits of an integer; of a boolean, its opposite. Raises TypeError for floating point."""
    x = as_tensor(input)
    return (_not if x.dtype == np.bool_ else _bits_not)(x)


def isnan(input: Operand) -> Tensor:
    """Where the input is NaN."""
    return _isnan(as_tensor(input))


def isinf(input: Operand) -> Tensor:
    """Where the input is infinite."""
    return _isinf(as_tensor(input))


def isfinite(input: Operand) -> Tensor:
    """Where the input is neither NaN nor infinite."""
    return _isfinite(as_tensor(input))


class ComparisonMethods(TensorBase):
    """The comparisons of a tensor."""

    __slots__ = ()

    def __eq__(self, other: object) -> Any:
        return eq(self, other) if isinstance(other, NUMERIC) else NotImplemented

    def __ne__(self, other: object) -> Any:
        return ne(self, other) if isinstance(other, NUMERIC) else NotImplemented

    __hash__ = TensorBase.__hash__

    def __lt__(self, other: Operand) -> Tensor:
        return lt(self, other)

    def __le__(self, other: Operand) -> Tensor:
        return le(self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return gt(self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return ge(self, other)

    def __and__(self, other: Operand) -> Tensor:
        return bitwise_and(self, other)

    def __rand__(self, other: Operand) -> Tensor:
        return bitwise_and(other, self)

    def __or__(self, other: Operand) -> Tensor:
        return bitwise_or(self, other)

    def __ror__(self, other: Operand) -> Tensor:
        return bitwise_or(other, self)

    def __xor__(self, other: Operand) -> Tensor:
        return bitwise_xor(self, other)

    def __rxor__(self, other: Operand) -> Tensor:
        return bitwise_xor(other, self)

    def __invert__(self) -> Tensor:
        return bitwise_not(self)

    def isnan(self) -> Tensor:
        """Where an element is NaN."""
        return isnan(self)

    def isinf(self) -> Tensor:
        """Where an element is Inf or -Inf."""
        return isinf(self)

    def isfinite(self) -> Tensor:
        """Where an element is neither NaN nor infinite."""
        return isfinite(self)

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ShapeError(
                f"bool: a tensor of shape {list(self.shape)} is neither true nor false as a whole; "
                "x.any() says whether some element is true, x.all() whether every one is"
            )
        return bool(self.array.item())

    def __float__(self) -> float:
        return float(self._number("float"))

    def __int__(self) -> int:
        return int(self._number("int"))

    def __index__(self) -> int:
        if self.array.size != 1 or self.array.dtype.kind not in "iub":
            raise TypeError(f"a tensor {self.dtype} {list(self.shape)} stands where one whole number is expected")
        return operator.index(self.array.item())

    def _number(self, name: str) -> Any:
        if self.array.size != 1:
            raise ShapeError(f"{name}: a tensor of shape {list(self.shape)} is not one number; x.tolist() gives them all")
        return self.array.item()
