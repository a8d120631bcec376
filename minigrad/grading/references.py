"""The right forward passes of what CNN courses set, in numpy: what a student's output and gradients are held against.

Arguments and settings are those of CS231n's assignments; a reference returns its outputs and, last, no cache. They are
written to be read beside the formula, and carry complex numbers through where they can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad.core import Array

__all__ = [
    "affine",
    "batchnorm",
    "conv",
    "dropout_plausible",
    "layernorm",
    "lstm_step",
    "max_pool",
    "relu",
    "rnn_step",
    "softmax",
    "spatial_batchnorm",
    "svm",
]


def affine(x: Array, w: Array, b: Array) -> tuple[Array, None]:
    """Each example of x (N, d1, ..., dk), flattened, times w (D, M), plus b (M,)."""
    return x.reshape(len(x), -1) @ w + b, None


def relu(x: Array) -> tuple[Array, None]:
    """max(0, x)."""
    return np.maximum(x, 0), None


def _windows(x: Array, height: int, width: int, stride: int) -> Array:
    """(N, C, H, W) -> (N, C, H', W', height, width)."""
    return np.lib.stride_tricks.sliding_window_view(x, (height, width), (2, 3))[:, :, ::stride, ::stride]


def conv(x: Array, w: Array, b: Array, conv_param: Mapping[str, Any]) -> tuple[Array, None]:
    """Cross-correlation of x (N, C, H, W) with w (F, C, HH, WW), plus b (F,); zero padding on every side."""
    pad, stride = conv_param["pad"], conv_param["stride"]
    windows = _windows(np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))), w.shape[2], w.shape[3], stride)
    return np.einsum("nchwij,fcij->nfhw", windows, w) + b[:, None, None], None


def max_pool(x: Array, pool_param: Mapping[str, Any]) -> tuple[Array, None]:
    """The largest of each window of x (N, C, H, W)."""
    size = pool_param["pool_height"], pool_param["pool_width"]
    return _windows(x, *size, pool_param["stride"]).max((4, 5)), None


def _normalised(x: Array, axes: int | tuple[int, ...], eps: float) -> Array:
    centred = x - x.mean(axes, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axes, keepdims=True) + eps))


def batchnorm(x: Array, gamma: Array, beta: Array, bn_param: Mapping[str, Any]) -> tuple[Array, None]:
    """x (N, D) normalised over the batch, with the biased variance (Ioffe & Szegedy 2015, algorithm 1)."""
    if bn_param["mode"] == "test":
        mean, var = bn_param["running_mean"], bn_param["running_var"]
        return gamma * (x - mean) / np.sqrt(var + bn_param.get("eps", 1e-5)) + beta, None
    return gamma * _normalised(x, 0, bn_param.get("eps", 1e-5)) + beta, None


def spatial_batchnorm(x: Array, gamma: Array, beta: Array, bn_param: Mapping[str, Any]) -> tuple[Array, None]:
    """x (N, C, H, W) normalised for each channel."""
    normal = _normalised(x, (0, 2, 3), bn_param.get("eps", 1e-5))
    return gamma[:, None, None] * normal + beta[:, None, None], None


def layernorm(x: Array, gamma: Array, beta: Array, ln_param: Mapping[str, Any]) -> tuple[Array, None]:
    """x (N, D) normalised for each example (Ba, Kiros & Hinton 2016)."""
    return gamma * _normalised(x, 1, ln_param.get("eps", 1e-5)) + beta, None


def softmax(x: Array, y: Array) -> tuple[Any, None]:
    """Cross-entropy of the scores x (N, C) with the labels y (N,), averaged over the batch."""
    shifted = x - x.real.max(1, keepdims=True)
    return (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y]).mean(), None


def svm(x: Array, y: Array) -> tuple[Any, None]:
    """The multiclass hinge loss of Weston and Watkins with margin 1, averaged over the batch."""
    margins = np.maximum(0, x - x[np.arange(len(y)), y][:, None] + 1)
    return (margins.sum(1) - 1).mean(), None


def rnn_step(x: Array, prev_h: Array, wx: Array, wh: Array, b: Array) -> tuple[Array, None]:
    """One step of a recurrent layer with tanh."""
    return np.tanh(x @ wx + prev_h @ wh + b), None


def lstm_step(x: Array, prev_h: Array, prev_c: Array, wx: Array, wh: Array, b: Array) -> tuple[Array, Array, None]:
    """One step of an LSTM (Hochreiter & Schmidhuber 1997), gates in the order input, forget, output, candidate."""
    i, f, o, g = np.split(x @ wx + prev_h @ wh + b, 4, axis=1)
    i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
    c = f * prev_c + i * np.tanh(g)
    return o * np.tanh(c), c, None


def dropout_plausible(arguments: Mapping[str, Any], outputs: list[Array]) -> str | None:
    """Whether an output can be inverted dropout's of x: every element 0 or scaled, about as many kept as should be."""
    x, param = arguments["x"], arguments["dropout_param"]
    out = outputs[0]
    if out.shape != x.shape:
        return f"the output has shape {list(out.shape)}, x has {list(x.shape)}"
    scaled = np.isclose(out, x / param["p"], 1e-9, 0)
    if not (scaled | (out == 0)).all():
        return "some elements are neither 0 nor x / p: inverted dropout scales what it keeps"
    kept, wanted = scaled.mean(), param["p"]
    if abs(kept - wanted) > 5 * np.sqrt(wanted * (1 - wanted) / x.size):
        return f"{kept:.0%} of the elements are kept, about {wanted:.0%} should be"
    return None
