"""Convolutional layers."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from minigrad.core import TensorBase
from minigrad.creation import empty
from minigrad.errors import ShapeError
from minigrad.nn.linear import default_init
from minigrad.nn.module import Module
from minigrad.nn.parameter import Parameter
from minigrad.ops.conv import Size, conv1d, conv2d
from minigrad.ops.operands import check_counts
from minigrad.tensor import Tensor

__all__ = ["Conv1d", "Conv2d"]


class _Conv(Module):
    """What convolutions of any rank share: a weight (out_channels, in_channels / groups, *window) and a bias."""

    rank: int
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        dtype: Any = None,
    ) -> None:
        """Draw weight and bias uniformly within ``1 / sqrt(fan_in)``.

        Raises ValueError for groups that don't divide both numbers of channels, for a `padding_mode` other than
        'zeros', and for 'same' padding with a stride; ShapeError for a window, stride or dilation below 1, TypeError for
        fractions.
        """
        super().__init__()
        name = type(self).__name__
        check_counts(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"{name}: groups {groups} must divide in_channels {in_channels} and out_channels {out_channels}")
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode {padding_mode!r} is not supported, only 'zeros'")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = self._sizes("kernel_size", kernel_size, 1)
        self.stride = self._sizes("stride", stride, 1)
        self.dilation = self._sizes("dilation", dilation, 1)
        self.padding = self._padding(padding)
        self.padding_mode = padding_mode
        self.weight = Parameter(empty(out_channels, in_channels // groups, *self.kernel_size, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _sizes(self, name: str, value: Size, least: int) -> tuple[int, ...]:
        told = f"{type(self).__name__}: {name} {value!r};"
        try:
            given = tuple(operator.index(n) for n in (value if isinstance(value, Iterable) else (value,)))
        except TypeError:
            raise TypeError(f"{told} whole numbers expected") from None
        sizes = given * self.rank if len(given) == 1 else given
        if len(sizes) != self.rank:
            raise ShapeError(f"{told} one number or {self.rank} expected")
        if min(sizes) < least:
            raise ShapeError(f"{told} must be at least {least}")
        return sizes

    def _padding(self, padding: Size | str) -> tuple[int, ...] | str:
        if not isinstance(padding, str):
            return self._sizes("padding", padding, 0)
        if padding not in ("same", "valid"):
            raise ValueError(f"{type(self).__name__}: padding {padding!r}; there are 'same', 'valid' and numbers")
        if padding == "same" and any(step != 1 for step in self.stride):
            raise ValueError(f"{type(self).__name__}: padding 'same' needs stride 1, got {self.stride}")
        return padding

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        default_init(self.weight, self.bias)

    def extra_repr(self) -> str:
        """The settings, those that are out of the ordinary only if they are."""
        shown = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.rank:
            shown += f", padding={self.padding!r}"
        if self.dilation != (1,) * self.rank:
            shown += f", dilation={self.dilation}"
        if self.groups != 1:
            shown += f", groups={self.groups}"
        return shown if self.bias is not None else shown + ", bias=False"


class Conv1d(_Conv):
    """Cross-correlation with learned windows: (N, in_channels, L) -> (N, out_channels, Lo)."""

    rank = 1

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to a batch of rows."""
        return conv1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """Cross-correlation with learned windows: (N, in_channels, H, W) -> (N, out_channels, Ho, Wo).

    ``Ho = (H + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1``; `padding` may also be 'same' or 'valid'.
    """

    rank = 2

    def forward(self, input: TensorBase) -> Tensor:
        """Apply to a batch of images, or to one image without a batch axis."""
        return conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
