"""Identity and Linear."""

from __future__ import annotations

import math
from typing import Any

from minigrad.core import TensorBase
from minigrad.creation import empty
from minigrad.nn.init import fans, kaiming_uniform_, uniform_
from minigrad.nn.module import Module
from minigrad.nn.parameter import Parameter
from minigrad.ops.linalg import linear
from minigrad.ops.operands import check_counts
from minigrad.tensor import Tensor

__all__ = ["Identity", "Linear", "default_init"]


def default_init(weight: Parameter, bias: Parameter | None) -> None:
    """How PyTorch starts linear layers and convolutions: uniform within ``1 / sqrt(fan_in)``, weight and bias alike."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in, _ = fans(weight)
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        uniform_(bias, -bound, bound)


class Identity(Module):
    """What comes in goes out; takes and ignores any settings, so that it can stand in for another layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Ignore the settings."""
        super().__init__()

    def forward(self, input: TensorBase) -> TensorBase:
        """The input itself."""
        return input


class Linear(Module):
    """``x @ weight.T + bias``: (..., in_features) -> (..., out_features)."""

    weight: Parameter  # (out_features, in_features)
    bias: Parameter | None  # (out_features,)

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: Any = None) -> None:
        """Draw weight and bias uniformly within ``1 / sqrt(in_features)``. Raises TypeError for features in fractions."""
        super().__init__()
        check_counts("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty(out_features, in_features, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        default_init(self.weight, self.bias)

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to the last axis."""
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The settings."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
