"""Layers between layers: dropout, and changes of shape."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.core import TensorBase
from minigrad.nn.module import Module
from minigrad.ops.dropout import dropout
from minigrad.ops.movement import flatten, normal_axis, reshape
from minigrad.tensor import Tensor

__all__ = ["Dropout", "Flatten", "Unflatten"]


class Dropout(Module):
    """In training, each element is 0 with probability `p` and the others are divided by ``1 - p``. Srivastava et al. 2014."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        """`inplace` writes the result into the input as well. Raises ValueError unless ``0 <= p <= 1``."""
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p = {p} is not a probability")
        self.p, self.inplace = p, inplace

    def forward(self, input: TensorBase) -> Tensor:
        """Drop, in training; else the input itself."""
        return dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The settings."""
        return f"p={self.p}" + (", inplace=True" if self.inplace else "")


class Flatten(Module):
    """The axes from `start_dim` to `end_dim` as one: (N, C, H, W) -> (N, C * H * W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        """Keep the axes."""
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: TensorBase) -> Tensor:
        """Flatten."""
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The settings."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """The axis `dim` as several; one length may be -1: (N, C * H * W) -> (N, C, H, W)."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        """Keep the axis and its new lengths."""
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: TensorBase) -> Tensor:
        """Unflatten."""
        axis = normal_axis("Unflatten", self.dim, input.ndim)
        return reshape(input, (*input.shape[:axis], *self.unflattened_size, *input.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        """The settings."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
