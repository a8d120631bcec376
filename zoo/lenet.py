"""LeNet for digits of 28x28, in today's form: CONV-POOL-CONV-POOL-FC-FC-FC."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from minigrad import nn

__all__ = ["LeNet", "lenet"]


class LeNet(nn.Module):
    """(N, 1, 28, 28) -> (N, num_classes). After LeCun et al. 1998, with ReLU and max-pooling: 61,706 parameters.

    The first convolution pads by 2, so that from there on all shapes are those of the paper's 32x32 input.
    """

    def __init__(self, num_classes: int = 10) -> None:
        """Weights start as PyTorch's layers do: uniform within ``1 / sqrt(fan_in)``."""
        super().__init__()
        features = OrderedDict(
            conv1=nn.Conv2d(1, 6, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
        )
        classifier = OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(400, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, num_classes),
        )
        self.features = nn.Sequential(features)
        self.classifier = nn.Sequential(classifier)

    def forward(self, x: Any) -> Any:
        """Logits of a batch of images."""
        return self.classifier(self.features(x))


def lenet(num_classes: int = 10) -> LeNet:
    """LeNet with fresh weights; see `LeNet`."""
    return LeNet(num_classes)
