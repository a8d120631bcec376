"""Activations as layers."""

from __future__ import annotations

from typing import Any

from minigrad.core import TensorBase
from minigrad.creation import full
from minigrad.nn.module import Module
from minigrad.nn.parameter import Parameter
from minigrad.ops.activation import elu, leaky_relu, maxout, prelu, relu, sigmoid, softplus
from minigrad.ops.arithmetic import div, mul
from minigrad.ops.functions import tanh
from minigrad.ops.softmax import log_softmax, softmax
from minigrad.tensor import Tensor

__all__ = [
    "ELU",
    "LeakyReLU",
    "LogSoftmax",
    "Maxout",
    "PReLU",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


class ReLU(Module):
    """``max(x, 0)``."""

    def __init__(self, inplace: bool = False) -> None:
        """`inplace` writes the result into the input as well."""
        super().__init__()
        self.inplace = inplace

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to each element."""
        return relu(input, self.inplace)

    def extra_repr(self) -> str:
        """The setting, where it is out of the ordinary."""
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    """``x`` where positive, else ``negative_slope * x``."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        """Keep the slope; `inplace` writes the result into the input as well."""
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to each element."""
        return leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The settings."""
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """``x`` where positive, else ``weight * x`` with a learned slope: one, or one for each channel. He et al. 2015, eq. 1."""

    weight: Parameter  # (num_parameters,)

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: Any = None) -> None:
        """Start with all slopes at `init`."""
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(full((num_parameters,), float(init), dtype=dtype))

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to each element; channels are axis 1."""
        return prelu(input, self.weight)

    def extra_repr(self) -> str:
        """The settings."""
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """``x`` where positive, else ``alpha * (exp(x) - 1)``. Clevert et al. 2016, eq. 15."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        """Keep alpha; `inplace` writes the result into the input as well."""
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to each element."""
        return elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The settings."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``."""

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to each element."""
        return sigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to each element."""
        return tanh(input)


class Softplus(Module):
    """``log(1 + exp(beta * x)) / beta``; computed without overflow, so that it needs no threshold."""

    def __init__(self, beta: float = 1.0) -> None:
        """Keep beta; raises ValueError unless it is positive."""
        super().__init__()
        if not beta > 0:
            raise ValueError(f"Softplus: beta = {beta} is not positive")
        self.beta = beta

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to each element."""
        return softplus(input) if self.beta == 1 else div(softplus(mul(input, self.beta)), self.beta)

    def extra_repr(self) -> str:
        """The settings."""
        return f"beta={self.beta}"


class Softmax(Module):
    """``exp(x) / sum(exp(x))`` along `dim`."""

    def __init__(self, dim: int) -> None:
        """Keep the axis."""
        super().__init__()
        self.dim = dim

    def forward(self, input: TensorBase) -> Tensor:
        """Apply along the axis."""
        return softmax(input, self.dim)

    def extra_repr(self) -> str:
        """The settings."""
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """``log(softmax(x))`` along `dim`, without overflow."""

    def forward(self, input: TensorBase) -> Tensor:
        """Apply along the axis."""
        return log_softmax(input, self.dim)


class Maxout(Module):
    """The largest of each group of `pieces` neighbouring channels: (N, C * pieces, ...) -> (N, C, ...).

    With a linear layer before it, ``max(w1 x + b1, w2 x + b2)``. Goodfellow et al. 2013, eq. 1.
    """

    def __init__(self, pieces: int = 2, dim: int = 1) -> None:
        """Keep the size of a group and the axis."""
        super().__init__()
        self.pieces, self.dim = pieces, dim

    def forward(self, input: TensorBase) -> Tensor:
        """Take the maxima."""
        return maxout(input, self.pieces, self.dim)

    def extra_repr(self) -> str:
        """The settings."""
        return f"pieces={self.pieces}, dim={self.dim}"
