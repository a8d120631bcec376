"""LeNet-5 as it was published: 60,000 trainable parameters, 340,908 connections, an answer compared with pictures of digits.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition, 1998. Today's form,
with ReLU, max-pooling and a linear classifier, is `zoo.lenet`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn
from minigrad.tensor import Tensor

__all__ = ["CONNECTIONS", "LeNet5", "bitmaps", "lenet5", "rbf_loss"]

#: Which maps of S2 each map of C3 sees, as the paper lists them: 60 links, each map of S2 in 10 of them.
CONNECTIONS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

_SIZE = (12, 7)  # rows and columns of a bitmap

#: The ten digits side by side. Drawn for minigrad, after the idea of the paper's bitmaps: these are not the paper's own.
_DRAWN = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...##.. .#####. ####### ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## .....## ...###. ##..... .##.... ##...## ##...## ##...##
##...## .####.. .....## ....##. ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## ...##.. .##.##. ######. ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. .....## ######. ....##. .#####. ##...##
##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. ##...## .######
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


def bitmaps() -> np.ndarray[Any, Any]:
    """The codes of the ten classes, (10, 84) in float32: pictures of 12 rows of 7, +1 where there is ink and else -1."""
    rows, columns = _SIZE
    cells = np.array([[list(glyph) for glyph in line.split()] for line in _DRAWN.split("\n") if line])  # (rows, 10, columns)
    return np.where(cells == "#", 1, -1).transpose(1, 0, 2).reshape(-1, rows * columns).astype(np.float32)


class Squash(nn.Module):
    """``1.7159 tanh(2x / 3)``, which takes 1 to 1 and -1 to -1."""

    def forward(self, input: Any) -> Any:
        """Apply to each element."""
        return 1.7159 * mg.tanh(input * (2 / 3))


class Subsampling(nn.Module):
    """``a * (sum of each 2x2 window) + b`` with one `a` and one `b` a map: (N, C, H, W) -> (N, C, H/2, W/2)."""

    def __init__(self, channels: int) -> None:
        """Start with the mean of each window: every `a` 1/4, every `b` 0."""
        super().__init__()
        self.a = nn.Parameter(mg.full((channels, 1, 1), 0.25))
        self.b = nn.Parameter(mg.zeros(channels, 1, 1))

    def forward(self, input: Any) -> Any:
        """Apply to a batch of maps."""
        return F.avg_pool2d(input, 2, divisor_override=1) * self.a + self.b

    def extra_repr(self) -> str:
        """The number of maps."""
        return f"{len(self.a)}"


class ConnectedConv2d(nn.Module):
    """A convolution whose maps each see some maps of the input only: (N, C, H, W) -> (N, len(connections), Ho, Wo).

    There are weights for the links that exist and for no others. Neighbouring output maps that see equally many inputs are
    computed together, as the groups of one convolution.
    """

    weight: nn.Parameter  # (links, kernel_size, kernel_size), in the order of the connections
    bias: nn.Parameter  # (maps,)

    def __init__(self, connections: Sequence[Sequence[int]], kernel_size: int) -> None:
        """Draw the weights; `connections` lists each output map's inputs."""
        super().__init__()
        self.connections, self.kernel_size = tuple(map(tuple, connections)), kernel_size
        fans = [len(seen) for seen in self.connections]
        starts = [_start(mg.empty(fan, kernel_size, kernel_size), fan * kernel_size**2) for fan in fans]
        self.weight = nn.Parameter(mg.cat(starts))
        self.bias = nn.Parameter(mg.zeros(len(fans)))

    def forward(self, input: Any) -> Any:
        """Apply to a batch of maps."""
        maps, link, filter = [], 0, 0
        for fan, run in itertools.groupby(self.connections, len):
            seen = list(run)
            weight = self.weight[link : link + fan * len(seen)].reshape(len(seen), fan, *self.weight.shape[1:])
            bias = self.bias[filter : filter + len(seen)]
            inputs = mg.index_select(input, 1, mg.tensor([channel for inputs in seen for channel in inputs]))
            maps.append(F.conv2d(inputs, weight, bias, groups=len(seen)))
            link, filter = link + fan * len(seen), filter + len(seen)
        return mg.cat(maps, 1)

    def extra_repr(self) -> str:
        """Maps, links and window."""
        return f"{len(self.bias)}, links={len(self.weight)}, kernel_size={self.kernel_size}"


class RBF(nn.Module):
    """The squared distance to each code, ``sum over j of (x_j - w_ij)^2``: (N, features) -> (N, classes)."""

    codes: Tensor  # (classes, features), not learned

    def __init__(self, codes: Any) -> None:
        """Keep the codes."""
        super().__init__()
        self.register_buffer("codes", mg.tensor(codes))

    def forward(self, input: Any) -> Any:
        """Apply to a batch of rows."""
        return (input.unsqueeze(1) - self.codes).square().sum(2)

    def extra_repr(self) -> str:
        """The shape of the codes."""
        return ", ".join(map(str, reversed(self.codes.shape)))


class LeNet5(nn.Module):
    """(N, 1, 32, 32) -> (N, 10): scores of the classes, minus the squared distance of layer F6 to each class's bitmap.

    The paper's answer is the nearest bitmap, so the largest score. It wants images with the ground at -0.1 and ink at 1.175.
    Layers have the paper's names in small letters; what stands behind each is the squashing function. The bitmaps are
    minigrad's own. Weights start uniform with variance ``1 / fan_in``, biases at 0.
    """

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.c1, self.f1 = nn.Conv2d(1, 6, 5), Squash()
        self.s2, self.f2 = Subsampling(6), Squash()
        self.c3, self.f3 = ConnectedConv2d(CONNECTIONS, 5), Squash()
        self.s4, self.f4 = Subsampling(16), Squash()
        self.c5, self.f5 = nn.Conv2d(16, 120, 5), Squash()
        self.flatten = nn.Flatten()
        self.f6, self.f7 = nn.Linear(120, 84), Squash()
        self.output = RBF(bitmaps())
        for layer in (self.c1, self.c5, self.f6):
            _start(layer.weight, nn.init.fans(layer.weight)[0])
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Any) -> Any:
        """Scores of a batch of images."""
        x = self.f2(self.s2(self.f1(self.c1(x))))
        x = self.f4(self.s4(self.f3(self.c3(x))))
        x = self.flatten(self.f5(self.c5(x)))
        return -self.output(self.f7(self.f6(x)))


def _start(weight: Tensor, fan_in: int) -> Tensor:
    bound = math.sqrt(3 / fan_in)
    return nn.init.uniform_(weight, -bound, bound)


def rbf_loss(scores: Tensor, labels: Tensor, floor: float = 0.1, reduction: str = "mean") -> Tensor:
    """``y_label + log(exp(-floor) + sum over i of exp(-y_i))`` for distances ``y = -scores``, averaged over the batch.

    Cross-entropy with one more class, of the fixed score ``-floor``: the right distance shrinks even where all others are
    large already. The paper trains with a criterion of this kind; how close this one is to it, and which floor it took, was not
    checked against its text.
    """
    extra = mg.full((len(scores), 1), -floor, dtype=scores.dtype)
    return F.cross_entropy(mg.cat([scores, extra], 1), labels, reduction=reduction)


def lenet5() -> LeNet5:
    """LeNet-5 with fresh weights; see `LeNet5`."""
    return LeNet5()
