"""Layers, losses and models: ``from minigrad import nn``."""

from pathlib import Path

from minigrad.anomaly import own_room
from minigrad.nn import functional, init, utils
from minigrad.nn.activation import (
    ELU,
    LeakyReLU,
    LogSoftmax,
    Maxout,
    PReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from minigrad.nn.containers import ModuleDict, ModuleList, Sequential
from minigrad.nn.conv import Conv1d, Conv2d
from minigrad.nn.linear import Identity, Linear
from minigrad.nn.loss import CrossEntropyLoss, MSELoss, NLLLoss
from minigrad.nn.module import Module
from minigrad.nn.norm import BatchNorm1d, BatchNorm2d, LocalResponseNorm
from minigrad.nn.parameter import Parameter
from minigrad.nn.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from minigrad.nn.shape import Dropout, Flatten, Unflatten

__all__ = [
    "ELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Maxout",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "PReLU",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Unflatten",
    "functional",
    "init",
    "utils",
]

own_room(str(Path(__file__).parent))  # anomaly messages name the user's line, not a layer's
