"""Tensor: the array with a place in the graph (`core`) and, put together here, all it can calculate (`ops`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.core import TensorBase, bind
from minigrad.ops.activation import ActivationMethods
from minigrad.ops.arithmetic import ArithmeticMethods
from minigrad.ops.compare import ComparisonMethods
from minigrad.ops.extremes import ExtremeMethods
from minigrad.ops.functions import FunctionMethods
from minigrad.ops.inplace import InplaceMethods
from minigrad.ops.linalg import LinalgMethods
from minigrad.ops.movement import MovementMethods
from minigrad.ops.operands import cast
from minigrad.ops.reduce import ReduceMethods
from minigrad.ops.softmax import SoftmaxMethods
from minigrad.ops.statistics import StatisticsMethods

__all__ = ["Tensor"]


class Tensor(
    ComparisonMethods,
    ArithmeticMethods,
    FunctionMethods,
    ActivationMethods,
    ReduceMethods,
    ExtremeMethods,
    StatisticsMethods,
    MovementMethods,
    InplaceMethods,
    LinalgMethods,
    SoftmaxMethods,
):
    """An n-dimensional array that remembers how it was computed. Make one with `minigrad.tensor` and its kin."""

    __slots__ = ()
    __hash__ = TensorBase.__hash__

    def to(self, dtype: Any) -> Tensor:
        """The same numbers in another type; the tensor itself where it has that type."""
        wanted = np.dtype(dtype)
        return self if self.dtype == wanted else cast(self, dtype=wanted)

    type = to

    def float(self) -> Tensor:
        """As float32."""
        return self.to(np.float32)

    def double(self) -> Tensor:
        """As float64."""
        return self.to(np.float64)

    def long(self) -> Tensor:
        """As int64, fractions cut off."""
        return self.to(np.int64)

    def bool(self) -> Tensor:
        """As booleans: whether each element differs from 0."""
        return self.to(np.bool_)

    def clone(self) -> Tensor:
        """A copy with memory of its own, in the graph."""
        return cast(self, dtype=self.dtype)

    def contiguous(self) -> Tensor:
        """The tensor itself if its memory lies in row order, else a copy."""
        return self if self.array.flags.c_contiguous else self.clone()

    def type_as(self, other: Tensor) -> Tensor:
        """In the other's type."""
        return self.to(other.dtype)

    def __repr__(self) -> str:
        numbers = np.array2string(self.array, separator=", ", prefix="tensor(", precision=4)
        notes = [numbers]
        if self.dtype not in (np.float32, np.int64, np.bool_):
            notes.append(f"dtype={self.dtype}")
        if self.node is not None:
            notes.append(f"grad_fn=<{self.node.name}>")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join(notes)})"

    def __format__(self, spec: str) -> str:
        """One number without axes in an f-string as a Python number, ``f"{loss:.4f}"``; others have no form but str()."""
        if self.ndim and spec:
            raise TypeError(
                f"format: a tensor of shape {list(self.shape)} has no form {spec!r}, only a single number has: "
                "f'{x}' shows it as it is, x.mean() and x[0] are numbers"
            )
        return str(self) if self.ndim else format(self.item(), spec)

    def __round__(self, ndigits: int = 0) -> Tensor:
        """To so many decimal places, ties to even."""
        if not ndigits:
            return self.round()
        scale = 10.0 ** abs(ndigits)
        return (self * scale).round() / scale if ndigits > 0 else (self / scale).round() * scale


bind(Tensor)
