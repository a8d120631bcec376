"""Softmax and cross-entropy over rows: (rows, classes), contiguous. Long rows lose nothing: chunks are summed in float64.

Everything is said by a row's largest element and by ``sum(exp(x - largest))``: no exponential overflows, and none is taken
of a difference that was rounded twice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.exponential import exp, exponentials, mass
from minigrad.kernels.rows import largest, over_rows

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

Array = np.ndarray[Any, Any]

#: A thread takes rows together until they have so many numbers.
_BLOCK = 2048


def _scaled_python(to: Array, row: Array, factor: float) -> None:
    np.multiply(row, row.dtype.type(factor), out=to)


def _pulled_python(to: Array, h: Array, y: Array, mean: float) -> None:
    np.multiply(y, h - y.dtype.type(mean), out=to)


_sum = over_rows(
    lambda row: float(row.sum(dtype=np.float64)), lambda emit, row: ([], [row]), outputs=0, inputs=1, sums=1, vectors=2
)
_dot = over_rows(
    lambda a, b: float((a * b).sum(dtype=np.float64)),
    lambda emit, a, b: ([], [emit.builder.fmul(a, b)]),
    outputs=0,
    inputs=2,
    sums=1,
    vectors=2,
)
#: ``to = row * factor``
_scaled = over_rows(
    _scaled_python, lambda emit, row, factor: ([emit.builder.fmul(row, factor)], []), outputs=1, inputs=1, sums=0
)
#: ``to = y * (h - mean)``
_pulled = over_rows(
    _pulled_python,
    lambda emit, h, y, mean: ([emit.builder.fmul(y, emit.builder.fsub(h, mean))], []),
    outputs=1,
    inputs=2,
    sums=0,
)


@kernel(parallel=True)
def softmax(out, x):  # type: ignore[no-untyped-def]
    """Each row's exponentials over their sum."""
    rows = max(1, _BLOCK // x.shape[1])
    for block in prange((x.shape[0] + rows - 1) // rows):
        here = slice(block * rows, (block + 1) * rows)
        _softmax(out[here], x[here])


@kernel
def _softmax(out, x):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        to = out[i]
        _scaled(to, to, 1 / exponentials(to, x[i], largest(x[i])))


@kernel(parallel=True)
def softmax_backward(out, g, y):  # type: ignore[no-untyped-def]
    """``y * (g - sum(g * y))``, y being the softmax."""
    for i in prange(y.shape[0]):
        _pulled(out[i], g[i], y[i], _dot(g[i], y[i]))


@kernel(parallel=True)
def log_softmax(out, x):  # type: ignore[no-untyped-def]
    """Each row less the logarithm of its exponentials' sum."""
    rows = max(1, _BLOCK // x.shape[1])
    for block in prange((x.shape[0] + rows - 1) // rows):
        here = slice(block * rows, (block + 1) * rows)
        _log_softmax(out[here], x[here])


@kernel
def _log_softmax(out, x):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        row, to = x[i], out[i]
        peak = largest(row)
        level = x.dtype.type(math.log(mass(row, peak)))
        for j in range(len(row)):
            to[j] = (row[j] - peak) - level


@kernel(parallel=True)
def log_softmax_backward(out, g, y):  # type: ignore[no-untyped-def]
    """``g - exp(y) * sum(g)``, y being the log-softmax."""
    for i in prange(y.shape[0]):
        to, h, v = out[i], g[i], y[i]
        scale = y.dtype.type(_sum(h))
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
    total = np.float64(0)
    for i in range(len(target)):
        if target[i] != ignore:
            total += weight[target[i]]
    return total


@kernel(parallel=True, work=2)
def cross_entropy(losses, total, x, target, weight, ignore, smoothing):  # type: ignore[no-untyped-def]
    """Each row's loss, class weights applied, 0 where the target is to be ignored; `total`: their sum, and that of weights.

    Gives the first row whose target is no class, or -1.
    """
    stranger = first_stranger(target, x.shape[1], ignore)
    if stranger < 0:
        rows = max(1, _BLOCK // x.shape[1])
        for block in prange((x.shape[0] + rows - 1) // rows):
            here = slice(block * rows, (block + 1) * rows)
            _losses(losses[here], x[here], target[here], weight, ignore, smoothing)
        total[0] = 0
        for i in range(len(losses)):
            total[0] += losses[i]
        total[1] = weight_of(target, weight, ignore)
    return stranger


@kernel
def _losses(losses, x, target, weight, ignore, smoothing):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        losses[i] = 0
        if target[i] != ignore:
            row = x[i]
            peak = largest(row)
            level = math.log(mass(row, peak)) + peak
            loss = (1 - smoothing) * weight[target[i]] * (level - row[target[i]])
            if smoothing > 0:
                for j in range(len(row)):
                    loss += smoothing / len(row) * weight[j] * (level - row[j])
            losses[i] = loss


@kernel(parallel=True)
def cross_entropy_backward(out, g, x, target, weight, ignore, smoothing, mean):  # type: ignore[no-untyped-def]
    """The gradient by the logits; g is that of each row's loss, or one number, that of their sum or mean."""
    whole = weight_of(target, weight, ignore) if mean else 1.0
    share = 1 / whole if whole != 0 else 0.0  # no row counts
    rows = max(1, _BLOCK // x.shape[1])
    for block in prange((x.shape[0] + rows - 1) // rows):
        here = slice(block * rows, (block + 1) * rows)
        _gradients(out[here], g if len(g) == 1 else g[here], share, x[here], target[here], weight, ignore, smoothing)


@kernel
def _gradients(out, g, share, x, target, weight, ignore, smoothing):  # type: ignore[no-untyped-def]
    smooth = 0.0
    if smoothing > 0:
        for j in range(len(weight)):
            smooth += smoothing / len(weight) * weight[j]
    for i in range(len(x)):
        to, goal = out[i], target[i]
        if goal == ignore:
            to[:] = 0
        else:
            h = share * (g[0] if len(g) == 1 else g[i])
            own = (1 - smoothing) * weight[goal]
            total = exponentials(to, x[i], largest(x[i]))
            _scaled(to, to, h * (own + smooth) / total)
            if smoothing > 0:
                for j in range(len(to)):
                    to[j] -= h * smoothing / len(to) * weight[j]
            to[goal] -= h * own
