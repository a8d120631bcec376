"""Normalising layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.core import TensorBase
from minigrad.creation import ones, zeros
from minigrad.errors import ShapeError
from minigrad.nn.init import constant_, ones_, zeros_
from minigrad.nn.module import Module
from minigrad.nn.parameter import Parameter
from minigrad.ops.norm import batch_norm, local_response_norm
from minigrad.ops.operands import check_counts
from minigrad.tensor import Tensor

__all__ = ["BatchNorm1d", "BatchNorm2d", "LocalResponseNorm"]


class _BatchNorm(Module):
    """Each channel less its mean, over its deviation, times `weight`, plus `bias`. Ioffe and Szegedy 2015.

    In training the batch's statistics serve, and running ones follow: ``running += momentum * (batch - running)``,
    or their plain mean over all batches with ``momentum=None``. Otherwise the running ones serve, or the batch's with
    ``track_running_stats=False``.
    """

    axes: tuple[int, ...]
    expected: str
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = None,
    ) -> None:
        """Start with weight 1, bias 0, running mean 0 and running variance 1."""
        super().__init__()
        check_counts(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", Parameter(ones(num_features, dtype=dtype)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features, dtype=dtype)) if affine else None)
        self.register_buffer("running_mean", zeros(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=np.int64) if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Forget all batches."""
        for buffer, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if buffer is not None:
                constant_(buffer, value)

    def reset_parameters(self) -> None:
        """Forget all batches and learned numbers."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            ones_(self.weight)
            zeros_(self.bias)

    def forward(self, input: TensorBase) -> Tensor:
        """Normalise each channel (axis 1)."""
        if input.ndim not in self.axes or input.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: input of shape {list(input.shape)}; expected {self.expected} "
                f"with C = {self.num_features}"
            )
        own = self.training or self.running_mean is None
        momentum = self._counted() if self.training else 0.0
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, own, momentum, self.eps)

    def _counted(self) -> float:
        """Count the batch and give the weight that it has in the running statistics."""
        if self.num_batches_tracked is None:
            return self.momentum or 0.0
        self.num_batches_tracked.array[...] += 1
        self.num_batches_tracked.touched()
        return 1 / int(self.num_batches_tracked.array) if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L)."""

    axes, expected = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W)."""

    axes, expected = (4,), "(N, C, H, W)"


class LocalResponseNorm(Module):
    """``x / (k + alpha / size * sum of squares over size neighbouring channels) ** beta``. Krizhevsky et al. 2012, 3.3.

    As in PyTorch alpha is divided by the size: the paper's constants are ``LocalResponseNorm(5, alpha=5e-4, k=2)``.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        """Keep the settings."""
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: TensorBase) -> Tensor:
        """Normalise (N, C, ...)."""
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
