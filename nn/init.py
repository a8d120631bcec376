"""Initial values, drawn from minigrad's generator (`manual_seed`) into a tensor's own memory, whatever is being recorded."""

from __future__ import annotations

import contextlib
import importlib
import math
import threading
from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from minigrad.core import Array, TensorBase
from minigrad.random import generator

__all__ = [
    "calculate_gain",
    "constant_",
    "eye_",
    "fans",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "skip",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

T = TypeVar("T", bound=TensorBase)

_GAINS = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


class _Skipping(threading.local):
    on = False


_skipping = _Skipping()


@contextlib.contextmanager
def skip() -> Iterator[None]:
    """Draw no random numbers inside the block: weights stay as memory came, for who loads others or only looks at shapes.

    ``with nn.init.skip(): model = AlexNet()`` saves drawing 61 million numbers. Constants (zeros, ones) are still written.
    """
    before, _skipping.on = _skipping.on, True
    try:
        yield
    finally:
        _skipping.on = before


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much a nonlinearity shrinks the deviation of its input, to be made good by the weights before it.

    `param` is leaky_relu's slope (0.01 unless given). Raises ValueError for a name that is not known.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"calculate_gain: no gain for {nonlinearity!r}; there are {sorted([*_GAINS, 'leaky_relu'])}")
    return _GAINS[nonlinearity]


def fans(tensor: TensorBase) -> tuple[int, int]:
    """How many inputs reach one output (fan_in) and how many outputs one input (fan_out), for a weight (out, in, ...)."""
    if tensor.ndim < 2:
        raise ValueError(f"init: fan_in and fan_out need a weight (out, in, ...), got shape {list(tensor.shape)}")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _written(tensor: T, values: Array) -> T:
    tensor.array[...] = values
    tensor.touched()
    return tensor


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0) -> T:
    """Uniform over [a, b)."""
    if _skipping.on:
        return tensor
    values = generator().random(tensor.shape, dtype=_drawn_type(tensor))
    return _written(tensor, values * (b - a) + a)


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    """Normal with this mean and standard deviation."""
    if _skipping.on:
        return tensor
    values = generator().standard_normal(tensor.shape, dtype=_drawn_type(tensor))
    return _written(tensor, values * std + mean)


def _drawn_type(tensor: TensorBase) -> type[np.float32] | type[np.float64]:
    return np.float32 if tensor.dtype == np.float32 else np.float64


def trunc_normal_(tensor: T, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> T:
    """Normal, but only within [a, b] (values, not multiples of `std`), by inverting the distribution function."""
    if _skipping.on:
        return tensor
    special = importlib.import_module("scipy.special")  # late: the only initialisation that needs it
    low, high = (special.ndtr((edge - mean) / std) for edge in (a, b))
    share = low + (high - low) * generator().random(tensor.shape)
    return _written(tensor, np.clip(special.ndtri(share) * std + mean, a, b))


def constant_(tensor: T, val: float) -> T:
    """All `val`."""
    return _written(tensor, np.asarray(val))


def zeros_(tensor: T) -> T:
    """All 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    """All 1."""
    return constant_(tensor, 1.0)


def eye_(tensor: T) -> T:
    """1 on the diagonal of a matrix, else 0."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: a matrix is needed, got shape {list(tensor.shape)}")
    return _written(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """Uniform with the variance ``gain^2 * 2 / (fan_in + fan_out)``. Glorot and Bengio 2010, eq. 16."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: T, gain: float = 1.0) -> T:
    """Normal with the variance ``gain^2 * 2 / (fan_in + fan_out)``. Glorot and Bengio 2010, eq. 12."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))))


def kaiming_uniform_(tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Uniform with the variance ``gain^2 / fan``; `a` is leaky_relu's slope. He et al. 2015, eq. 10."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Normal with the variance ``gain^2 / fan``; `a` is leaky_relu's slope. He et al. 2015, eq. 10."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def _kaiming_std(tensor: TensorBase, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode {mode!r}; there are 'fan_in' and 'fan_out'")
    fan_in, fan_out = fans(tensor)
    fan = fan_in if mode == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0  # an empty weight has nothing to draw


def orthogonal_(tensor: T, gain: float = 1.0) -> T:
    """Orthonormal rows or columns, whichever are fewer, times `gain`; further axes count as columns. Saxe et al. 2014."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: two or more axes are needed, got shape {list(tensor.shape)}")
    if _skipping.on or not tensor.numel():
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    drawn = generator().standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q *= np.sign(np.diag(r))  # else qr's choice of signs would favour some rotations
    return _written(tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))
