"""Comparison and logic, elementwise with broadcasting: operations without a derivative."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.core import TensorBase
from minigrad.ops.elementwise import predicate
from minigrad.ops.operands import NUMERIC, Operand, as_tensor, operands

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = [
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
        return logical_and(self, other)

    def __or__(self, other: Operand) -> Tensor:
        return logical_or(self, other)

    def __invert__(self) -> Tensor:
        return logical_not(self)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())
