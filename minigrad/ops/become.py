"""How a tensor is changed in place: it becomes the result of an ordinary operation, in its numbers and in the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minigrad.core import TensorBase
from minigrad.errors import GradientError, ShapeError
from minigrad.graph import Node, Saved
from minigrad.modes import modes

if TYPE_CHECKING:
    from minigrad.tensor import Tensor

__all__ = ["BecomeMethods"]


class BecomeMethods(TensorBase):
    """Becoming another tensor."""

    __slots__ = ()

    def become(self, result: TensorBase) -> Tensor:
        """Take over another tensor's numbers, in place, and its place in the graph: how every change in place is made.

        Raises GradientError for a leaf that requires a gradient while recording, and for a view of recorded memory.
        """
        if modes.now.grad and self.node is None and self.requires_grad:
            raise GradientError("a leaf that requires a gradient can't be changed in place while recording; use no_grad()")
        if not self.array.flags.writeable:
            raise GradientError("this tensor is an expanded view: several elements share one place; clone() it first")
        if result.shape != self.shape:
            raise ShapeError(f"in place: a result of shape {list(result.shape)} does not fit {list(self.shape)}")
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            raise TypeError(f"in place: a result of type {result.dtype} can't be put into a tensor of type {self.dtype}")
        if modes.now.grad and result.node is not None:
            self._keep_as_it_was(result.node)
        np.copyto(self.array, result.array, casting="same_kind")
        if modes.now.grad:
            self._move_to(result.node)
        self.touched()
        return self._self()

    def _move_to(self, node: Node | None) -> None:
        """Take another place in the graph, which is a true one; `retain_grad` comes along."""
        old, self.node = self.node, node
        if node is not None:
            self.recorded = self.cell[0]
            if old is not None and old.retain is not None and old.retain() is self:
                node.retain, old.retain = old.retain, None

    def _keep_as_it_was(self, node: Node) -> None:
        """Copy what the change itself needs of the numbers that it is about to replace: the factor that ``x *= y`` had."""
        for name, kept in node.unfreed().items():
            if kept.cell is self.cell:
                node.unfreed()[name] = Saved(kept.array.copy(), kept.edge, [0, 0], 0)
