"""Softmax and cross-entropy over rows: (rows, classes), contiguous. Sums run in float64, so long rows lose nothing.

Everything is said by a row's largest element and by ``sum(exp(x - largest))``: no exponential overflows, and none is taken
of a difference that was rounded twice.
"""

from __future__ import annotations

import math

from minigrad.jit import kernel, prange
from minigrad.kernels.scalar import exp, maximum

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "first_stranger",
    "log_softmax",
    "log_softmax_backward",
    "softmax",
    "softmax_backward",
    "weight_of",
]


@kernel
def _largest(row):  # type: ignore[no-untyped-def]
    """The row's largest; NaN if there is one."""
    peak = row[0]
    for j in range(len(row)):
        peak = maximum(peak, row[j])
    return peak


@kernel
def _total(row, peak):  # type: ignore[no-untyped-def]
    """``sum(exp(row - peak))``."""
    total = 0.0
    for j in range(len(row)):
        total += exp(row[j] - peak)
    return total


@kernel(parallel=True)
def softmax(out, x):  # type: ignore[no-untyped-def]
    """Each row's exponentials over their sum."""
    for i in prange(x.shape[0]):
        row, to = x[i], out[i]
        peak, total = _largest(row), 0.0
        for j in range(len(row)):
            to[j] = exp(row[j] - peak)
        for j in range(len(row)):
            total += to[j]
        scale = x.dtype.type(1 / total)
        for j in range(len(row)):
            to[j] *= scale


@kernel(parallel=True)
def softmax_backward(out, g, y):  # type: ignore[no-untyped-def]
    """``y * (g - sum(g * y))``, y being the softmax."""
    for i in prange(y.shape[0]):
        to, h, v = out[i], g[i], y[i]
        total = 0.0
        for j in range(len(v)):
            total += float(h[j]) * v[j]
        mean = y.dtype.type(total)
        for j in range(len(v)):
            to[j] = v[j] * (h[j] - mean)


@kernel(parallel=True)
def log_softmax(out, x):  # type: ignore[no-untyped-def]
    """Each row less the logarithm of its exponentials' sum."""
    for i in prange(x.shape[0]):
        row, to = x[i], out[i]
        peak = _largest(row)
        level = x.dtype.type(math.log(_total(row, peak)))
        for j in range(len(row)):
            to[j] = (row[j] - peak) - level


@kernel(parallel=True)
def log_softmax_backward(out, g, y):  # type: ignore[no-untyped-def]
    """``g - exp(y) * sum(g)``, y being the log-softmax."""
    for i in prange(y.shape[0]):
        to, h, v = out[i], g[i], y[i]
        total = 0.0
        for j in range(len(v)):
            total += h[j]
        scale = y.dtype.type(total)
        for j in range(len(v)):
            to[j] = h[j] - exp(v[j]) * scale


@kernel
def first_stranger(target, classes, ignore):  # type: ignore[no-untyped-def]
    """The first place whose target is no class and not to be ignored either; -1 if there is none."""
    for i in range(len(target)):
        if (target[i] < 0 or target[i] >= classes) and target[i] != ignore:
            return i
    return -1


@kernel
def weight_of(target, weight, ignore):  # type: ignore[no-untyped-def]
    """The class weights of the rows that count, added up: what a mean divides by."""
    total = 0.0
    for i in range(len(target)):
        if target[i] != ignore:
            total += weight[target[i]]
    return total


@kernel(parallel=True, work=1)
def cross_entropy(losses, x, target, weight, ignore, smoothing):  # type: ignore[no-untyped-def]
    """Each row's loss, class weights applied; 0 where the target is to be ignored."""
    classes = x.shape[1]
    for i in prange(x.shape[0]):
        losses[i] = 0
        if target[i] != ignore:
            row = x[i]
            peak = _largest(row)
            level = math.log(_total(row, peak)) + peak
            loss = (1 - smoothing) * weight[target[i]] * (level - row[target[i]])
            if smoothing > 0:
                for j in range(classes):
                    loss += smoothing / classes * weight[j] * (level - row[j])
            losses[i] = loss


@kernel(parallel=True)
def cross_entropy_backward(out, g, x, target, weight, ignore, smoothing):  # type: ignore[no-untyped-def]
    """The gradient by the logits, g being that of each row's loss."""
    classes = x.shape[1]
    total_weight = 0.0
    for j in range(classes):
        total_weight += weight[j]
    for i in prange(x.shape[0]):
        row, to = x[i], out[i]
        if target[i] == ignore:
            for j in range(classes):
                to[j] = 0
        else:
            peak = _largest(row)
            own = (1 - smoothing) * weight[target[i]]
            share = x.dtype.type(g[i] * (own + smoothing / classes * total_weight) / _total(row, peak))
            for j in range(classes):
                to[j] = share * exp(row[j] - peak)
            if smoothing > 0:
                for j in range(classes):
                    to[j] -= g[i] * smoothing / classes * weight[j]
            to[target[i]] -= g[i] * own
