"""AlexNet: five convolutions and three linear layers for images of 227x227. Krizhevsky, Sutskever and Hinton 2012."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from minigrad import nn

__all__ = ["AlexNet", "alexnet"]


class AlexNet(nn.Module):
    """(N, 3, 227, 227) -> (N, num_classes).

    `groups` is 2 as in the paper, where two graphics cards held half of the channels each and conv2, conv4 and conv5
    saw only their own half (60,965,224 parameters), or 1 for a single column (62,378,344). `norm_order` says what
    follows the first two convolutions: 'paper' ReLU, normalisation, pooling; 'lecture' ReLU, pooling, normalisation.

    Weights start normal with variance ``2 / fan_in`` (He et al. 2015) and biases at 0. The paper's start (deviation
    0.01, some biases 1) needs its schedule of 90 epochs to leave the first plateau; this one learns at once.
    """

    def __init__(self, groups: int = 2, norm_order: str = "paper", num_classes: int = 1000) -> None:
        """Raises ValueError for another number of groups than 1 or 2, or an unknown order."""
        super().__init__()
        if groups not in (1, 2):
            raise ValueError(f"alexnet: groups = {groups}; there are 1 and 2")
        if norm_order not in ("paper", "lecture"):
            raise ValueError(f"alexnet: norm_order {norm_order!r}; there are 'paper' and 'lecture'")
        self.features = nn.Sequential(_features(groups, norm_order))
        self.classifier = nn.Sequential(_classifier(num_classes))
        self.apply(_start)

    def forward(self, x: Any) -> Any:
        """Logits of a batch of images."""
        return self.classifier(self.features(x))


def _features(groups: int, norm_order: str) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, conv in (1, nn.Conv2d(3, 96, 11, stride=4)), (2, nn.Conv2d(96, 256, 5, padding=2, groups=groups)):
        layers[f"conv{i}"] = conv
        layers[f"relu{i}"] = nn.ReLU()
        rest = {
            f"norm{i}": nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),  # the paper's alpha is 1e-4, not over 5
            f"pool{i}": nn.MaxPool2d(3, 2),  # windows overlap
        }
        layers.update(rest if norm_order == "paper" else reversed(rest.items()))
    layers["conv3"] = nn.Conv2d(256, 384, 3, padding=1)
    layers["relu3"] = nn.ReLU()
    layers["conv4"] = nn.Conv2d(384, 384, 3, padding=1, groups=groups)
    layers["relu4"] = nn.ReLU()
    layers["conv5"] = nn.Conv2d(384, 256, 3, padding=1, groups=groups)
    layers["relu5"] = nn.ReLU()
    layers["pool5"] = nn.MaxPool2d(3, 2)
    return layers


def _classifier(num_classes: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        flatten=nn.Flatten(),
        drop6=nn.Dropout(0.5),
        fc6=nn.Linear(256 * 6 * 6, 4096),
        relu6=nn.ReLU(),
        drop7=nn.Dropout(0.5),
        fc7=nn.Linear(4096, 4096),
        relu7=nn.ReLU(),
        fc8=nn.Linear(4096, num_classes),
    )


def _start(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def alexnet(groups: int = 2, norm_order: str = "paper", num_classes: int = 1000) -> AlexNet:
    """AlexNet with fresh weights; see `AlexNet`."""
    return AlexNet(groups, norm_order, num_classes)
