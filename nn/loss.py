"""Losses as modules."""

from __future__ import annotations

from minigrad.core import TensorBase
from minigrad.nn.module import Module
from minigrad.ops.loss import cross_entropy, mse_loss, nll_loss
from minigrad.tensor import Tensor

__all__ = ["CrossEntropyLoss", "MSELoss", "NLLLoss"]


def _reduction(name: str, reduction: str) -> str:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction {reduction!r}; there are 'mean', 'sum' and 'none'")
    return reduction


class CrossEntropyLoss(Module):
    """The cross-entropy of logits (N, C, ...) or (C) and targets: class indices (N, ...), or probabilities.

    `weight` (C) weighs the classes; 'mean' then divides by the weights of the targets. Targets equal to `ignore_index`
    don't count; `label_smoothing` spreads that share of each target evenly over all classes.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        """Keep the settings. Raises ValueError for an unknown reduction or a smoothing outside [0, 1]."""
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"CrossEntropyLoss: label_smoothing {label_smoothing} must lie from 0 to 1")
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.reduction = _reduction("CrossEntropyLoss", reduction)

    def forward(self, input: TensorBase, target: TensorBase) -> Tensor:
        """The loss."""
        return cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(Module):
    """The negative log-likelihood of log-probabilities (N, C, ...) or (C) and class indices (N, ...)."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        """Keep the settings, as of CrossEntropyLoss."""
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, _reduction("NLLLoss", reduction)

    def forward(self, input: TensorBase, target: TensorBase) -> Tensor:
        """The loss."""
        return nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(Module):
    """The mean squared difference of two tensors of one shape."""

    def __init__(self, reduction: str = "mean") -> None:
        """Keep the reduction."""
        super().__init__()
        self.reduction = _reduction("MSELoss", reduction)

    def forward(self, input: TensorBase, target: TensorBase) -> Tensor:
        """The loss."""
        return mse_loss(input, target, self.reduction)
