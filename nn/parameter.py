"""Parameter: a tensor that a module learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.core import TensorBase
from minigrad.creation import tensor
from minigrad.tensor import Tensor

__all__ = ["Parameter"]


class Parameter(Tensor):
    """A leaf that requires a gradient and that a module finds by itself when it is assigned as an attribute.

    Shares the memory of the tensor or array it is made from. Results of operations on it are plain tensors.
    Raises GradientError for numbers that are not of floating point.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        """Take over a tensor or a numpy array; lists and numbers are converted as by `minigrad.tensor`."""
        if not isinstance(data, TensorBase):
            data = Tensor(data) if isinstance(data, np.ndarray) else tensor(data)
        if data.array.flags.writeable:
            super().__init__(data.array, requires_grad, cell=data.cell)
        else:  # an expanded view or a constant: optimisers could not change it
            super().__init__(data.array.copy(), requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
