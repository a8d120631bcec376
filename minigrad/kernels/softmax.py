"""Softmax and cross-entropy over rows: (rows, classes), contiguous. Sums run in float64, so long rows lose nothing."""

from __future__ import annotations

import math

from minigrad.jit import kernel, prange

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "log_softmax",
    "log_softmax_backward",
    "softmax",
    "softmax_backward",
]


@kernel
def _log_sum_exp(row):  # type: ignore[no-untyped-def]
    """``log(sum(exp(row)))`` without overflow; -inf for a row of -inf, NaN if there is one."""
    peak = row[0]
    for value in row:
        if value > peak or value != value:
            peak = value
    if not math.isfinite(peak):
        return float(peak)
    total = 0.0
    for value in row:
        total += math.exp(value - peak)
    return math.log(total) + peak


@kernel(parallel=True)
def softmax(out, x):  # type: ignore[no-untyped-def]
    """Each row's exponentials over their sum."""
    for i in prange(x.shape[0]):
        level = _log_sum_exp(x[i])
        for j in range(x.shape[1]):
            out[i, j] = math.exp(x[i, j] - level)


@kernel(parallel=True)
def softmax_backward(out, g, y):  # type: ignore[no-untyped-def]
    """``y * (g - sum(g * y))``, y being the softmax."""
    for i in prange(y.shape[0]):
        total = 0.0
        for j in range(y.shape[1]):
            total += float(g[i, j]) * y[i, j]
        for j in range(y.shape[1]):
            out[i, j] = y[i, j] * (g[i, j] - total)


@kernel(parallel=True)
def log_softmax(out, x):  # type: ignore[no-untyped-def]
    """Each row less the logarithm of its exponentials' sum."""
    for i in prange(x.shape[0]):
        level = _log_sum_exp(x[i])
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] - level


@kernel(parallel=True)
def log_softmax_backward(out, g, y):  # type: ignore[no-untyped-def]
    """``g - exp(y) * sum(g)``, y being the log-softmax."""
    for i in prange(y.shape[0]):
        total = 0.0
        for j in range(y.shape[1]):
            total += g[i, j]
        for j in range(y.shape[1]):
            out[i, j] = g[i, j] - math.exp(y[i, j]) * total


@kernel(parallel=True, work=1)
def cross_entropy(losses, x, target, weight, ignore, smoothing):  # type: ignore[no-untyped-def]
    """Each row's loss, class weights applied; 0 where the target is to be ignored."""
    classes = x.shape[1]
    for i in prange(x.shape[0]):
        losses[i] = 0
        if target[i] != ignore:
            level = _log_sum_exp(x[i])
            loss = (1 - smoothing) * weight[target[i]] * (level - x[i, target[i]])
            if smoothing > 0:
                for j in range(classes):
                    loss += smoothing / classes * weight[j] * (level - x[i, j])
            losses[i] = loss


@kernel(parallel=True)
def cross_entropy_backward(out, g, x, target, weight, ignore, smoothing):  # type: ignore[no-untyped-def]
    """The gradient by the logits, g being that of each row's loss."""
    classes = x.shape[1]
    total_weight = 0.0
    for j in range(classes):
        total_weight += weight[j]
    for i in prange(x.shape[0]):
        if target[i] == ignore:
            for j in range(classes):
                out[i, j] = 0
        else:
            level = _log_sum_exp(x[i])
            own = (1 - smoothing) * weight[target[i]]
            share = own + smoothing / classes * total_weight
            for j in range(classes):
                goal = smoothing / classes * weight[j] + (own if j == target[i] else 0.0)
                out[i, j] = g[i] * (share * math.exp(x[i, j] - level) - goal)
