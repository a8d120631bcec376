"""One optimiser step of one parameter: a single pass over its numbers and its state, all changed in place.

Arrays are flat, contiguous and of one type, float32 or float64; settings come in that type too, so that float32 is
never widened. `spread` runs a step on all threads where the array is large enough for that to pay.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.jit import Kernel, kernel, prange

__all__ = ["adam", "sgd"]

Array = np.ndarray[Any, Any]

#: Elements from which on several threads are faster than one, and how many each takes at a time.
PARALLEL_FROM = 1 << 17
_CHUNK = 1 << 15


def sgd(
    param: Array,
    grad: Array,
    buffer: Array | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> None:
    """``g = grad + weight_decay * param; buffer = momentum * buffer + (1 - dampening) * g; param -= lr * buffer``.

    On the `first` step the buffer becomes `g` itself; with `nesterov` the step is along ``g + momentum * buffer``;
    without a buffer along `g`. `maximize` turns the gradient round.
    """
    numbers = (lr, momentum, 1 - dampening, weight_decay, -1.0 if maximize else 1.0)
    flags = (buffer is not None, nesterov, first)
    _step(_sgd, _sgd_parallel, param, (grad, param if buffer is None else buffer), numbers, flags)


def adam(
    param: Array,
    grad: Array,
    mean: Array,
    square: Array,
    largest: Array | None,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """Adam (Kingma and Ba 2015, algorithm 1), or AdamW (Loshchilov and Hutter 2019, algorithm 2) if `decoupled`.

    `step` counts from 1. With `largest`, the largest second moment so far divides: AMSGrad (Reddi et al. 2018).
    """
    beta1, beta2 = betas
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    decay = 0.0 if decoupled else weight_decay
    numbers = (
        shrink,
        decay,
        1 - beta1,
        beta2,
        1 - beta2,
        lr / (1 - beta1**step),
        math.sqrt(1 - beta2**step),
        eps,
        -1.0 if maximize else 1.0,
    )
    arrays = (grad, mean, square, square if largest is None else largest)
    _step(_adam, _adam_parallel, param, arrays, numbers, (largest is not None,))


def _step(
    serial: Kernel,
    parallel: Kernel,
    param: Array,
    others: tuple[Array, ...],
    numbers: tuple[float, ...],
    flags: tuple[bool, ...],
) -> None:
    """Run one of the two on flat arrays; a parameter that is not contiguous is stepped in a copy and written back."""
    kind = param.dtype.type
    flat = np.ascontiguousarray(param).reshape(-1)
    arrays = [flat if a is param else np.ascontiguousarray(a).reshape(-1) for a in others]
    settings = (*(kind(number) for number in numbers), *flags)
    if flat.size < PARALLEL_FROM:
        serial(flat, *arrays, 0, flat.size, *settings)
    else:
        parallel(flat, *arrays, *settings)
    if not param.flags.c_contiguous:
        param[...] = flat.reshape(param.shape)


@kernel
def _sgd(param, grad, buffer, start, stop, lr, momentum, fresh, decay, sign, buffered, nesterov, first):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        g = sign * grad[i] + decay * param[i]
        if buffered:
            b = g if first else momentum * buffer[i] + fresh * g
            buffer[i] = b
            g = g + momentum * b if nesterov else b
        param[i] -= lr * g


@kernel(parallel=True)
def _sgd_parallel(param, grad, buffer, lr, momentum, fresh, decay, sign, buffered, nesterov, first):  # type: ignore[no-untyped-def]
    for part in prange((param.size + _CHUNK - 1) // _CHUNK):
        start, stop = part * _CHUNK, min(param.size, (part + 1) * _CHUNK)
        _sgd(param, grad, buffer, start, stop, lr, momentum, fresh, decay, sign, buffered, nesterov, first)


@kernel
def _adam(param, grad, mean, square, largest, start, stop, shrink, decay, w1, beta2, w2, step, root, eps, sign, keep):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        p = param[i] * shrink
        g = sign * grad[i] + decay * p
        m = mean[i] + w1 * (g - mean[i])
        v = beta2 * square[i] + w2 * g * g
        mean[i] = m
        square[i] = v
        if keep:
            v = max(v, largest[i])
            largest[i] = v
        param[i] = p - step * m / (math.sqrt(v) / root + eps)


@kernel(parallel=True)
def _adam_parallel(param, grad, mean, square, largest, shrink, decay, w1, beta2, w2, step, root, eps, sign, keep):  # type: ignore[no-untyped-def]
    for part in prange((param.size + _CHUNK - 1) // _CHUNK):
        start, stop = part * _CHUNK, min(param.size, (part + 1) * _CHUNK)
        _adam(param, grad, mean, square, largest, start, stop, shrink, decay, w1, beta2, w2, step, root, eps, sign, keep)
