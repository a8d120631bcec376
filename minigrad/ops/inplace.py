"""Changes in place: each is an ordinary operation whose result the tensor then becomes, so that the graph stays true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minigrad.ops.arithmetic import add, div, mul, sub
from minigrad.ops.functions import clamp
from minigrad.ops.index import IndexMethods, masked_fill
from minigrad.ops.operands import Operand

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["InplaceMethods"]


class InplaceMethods(IndexMethods):
    """Changing a tensor in place. A leaf that requires a gradient can't be, unless recording is off."""

    __slots__ = ()

    def add_(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """``self += alpha * other``."""
        return self.become(add(self, other, alpha=alpha))

    def sub_(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """``self -= alpha * other``."""
        return self.become(sub(self, other, alpha=alpha))

    def mul_(self, other: Operand) -> Tensor:
        """``self *= other``."""
        return self.become(mul(self, other))

    def div_(self, other: Operand) -> Tensor:
        """``self /= other``."""
        return self.become(div(self, other))

    def clamp_(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """Limit to ``[min, max]``."""
        return self.become(clamp(self, min, max))

    def masked_fill_(self, mask: Operand, value: float) -> Tensor:
        """Set to `value` where the mask holds."""
        return self.become(masked_fill(self, mask, value))

    def fill_(self, value: float) -> Tensor:
        """Set every element to `value`."""
        self[...] = value
        return self._self()

    def zero_(self) -> Tensor:
        """Set every element to 0."""
        return self.fill_(0)

    def copy_(self, src: Operand) -> Tensor:
        """Take over the numbers of `src`, broadcast and converted to this tensor's type."""
        self[...] = src
        return self._self()

    def __iadd__(self, other: Operand) -> Tensor:
        return self.add_(other)

    def __isub__(self, other: Operand) -> Tensor:
        return self.sub_(other)

    def __imul__(self, other: Operand) -> Tensor:
        return self.mul_(other)

    def __itruediv__(self, other: Operand) -> Tensor:
        return self.div_(other)
