"""One optimiser step of one parameter: a single pass over its numbers and its state, all changed in place.

`sgd` and `adam` take arrays of one shape and type (float32 or float64) and choose the loop. The loops go over flat
slices: taken as slices, and not by an index from `start` to `stop`, they compile to vector instructions, which is eight
times as fast. Settings are converted to the arrays' type, so that float32 is never widened.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.jit import Kernel, kernel, prange

__all__ = ["adam", "sgd"]

Array = np.ndarray[Any, Any]

#: Elements from which on waking a second thread pays, and how many a thread takes at a time.
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
) -> None:
    """``g = grad + weight_decay * param; buffer = momentum * buffer + (1 - dampening) * g; param -= lr * buffer``.

    With `nesterov` the step is along ``g + momentum * buffer``, without a buffer along `g`; `maximize` turns the
    gradient round.
    """
    sign = -1.0 if maximize else 1.0
    if buffer is None:
        _run(_sgd, param, (grad,), (lr, weight_decay, sign))
    else:
        _run(_sgd_momentum, param, (grad, buffer), (lr, momentum, 1.0 - dampening, weight_decay, sign), bool(nesterov))


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

    `step` counts from 1. With `largest`, the largest mean square so far divides: AMSGrad (Reddi et al. 2018).
    """
    beta1, beta2 = betas
    settings = (
        1.0 - lr * weight_decay if decoupled else 1.0,
        0.0 if decoupled else weight_decay,
        1.0 - beta1,
        beta2,
        1.0 - beta2,
        lr / (1.0 - beta1**step),
        math.sqrt(1.0 - beta2**step),
        eps,
        -1.0 if maximize else 1.0,
    )
    if largest is None:
        _run(_adam, param, (grad, mean, square), settings)
    else:
        _run(_amsgrad, param, (grad, mean, square, largest), settings)


def _run(loop: Kernel, param: Array, others: tuple[Array, ...], settings: tuple[float, ...], *flags: bool) -> None:
    """Run a loop over flat arrays, on all threads where that pays.

    State lies in row order; a parameter that does not is stepped in a copy and written back.
    """
    flat = param.ravel()
    chosen = loop if flat.size >= PARALLEL_FROM else loop.serial
    chosen(flat, *[a.ravel() for a in others], *map(float, settings), *flags)
    if not param.flags.c_contiguous:
        param[...] = flat.reshape(param.shape)


@kernel(parallel=True)
def _sgd(param, grad, lr, decay, sign):  # type: ignore[no-untyped-def]
    kind = param.dtype.type
    lr, decay, sign = kind(lr), kind(decay), kind(sign)
    for part in prange((param.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        p, g = param[here], grad[here]
        for i in range(p.size):
            p[i] -= lr * (sign * g[i] + decay * p[i])


@kernel(parallel=True)
def _sgd_momentum(param, grad, buffer, lr, momentum, fresh, decay, sign, nesterov):  # type: ignore[no-untyped-def]
    kind = param.dtype.type
    lr, momentum, fresh, decay, sign = kind(lr), kind(momentum), kind(fresh), kind(decay), kind(sign)
    for part in prange((param.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        p, g, b = param[here], grad[here], buffer[here]
        for i in range(p.size):
            d = sign * g[i] + decay * p[i]
            v = momentum * b[i] + fresh * d
            b[i] = v
            p[i] -= lr * (d + momentum * v if nesterov else v)


@kernel(parallel=True)
def _adam(param, grad, mean, square, shrink, decay, w1, beta2, w2, step, root, eps, sign):  # type: ignore[no-untyped-def]
    kind = param.dtype.type
    shrink, decay, sign, eps = kind(shrink), kind(decay), kind(sign), kind(eps)
    w1, beta2, w2, step, root = kind(w1), kind(beta2), kind(w2), kind(step), kind(root)
    for part in prange((param.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        p, g, m, v = param[here], grad[here], mean[here], square[here]
        for i in range(p.size):
            d = sign * g[i] + decay * p[i]
            m[i] += w1 * (d - m[i])
            v[i] = beta2 * v[i] + w2 * d * d
            p[i] = shrink * p[i] - step * m[i] / (np.sqrt(v[i]) / root + eps)


@kernel(parallel=True)
def _amsgrad(param, grad, mean, square, largest, shrink, decay, w1, beta2, w2, step, root, eps, sign):  # type: ignore[no-untyped-def]
    kind = param.dtype.type
    shrink, decay, sign, eps = kind(shrink), kind(decay), kind(sign), kind(eps)
    w1, beta2, w2, step, root = kind(w1), kind(beta2), kind(w2), kind(step), kind(root)
    for part in prange((param.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        p, g, m, v, top = param[here], grad[here], mean[here], square[here], largest[here]
        for i in range(p.size):
            d = sign * g[i] + decay * p[i]
            m[i] += w1 * (d - m[i])
            v[i] = beta2 * v[i] + w2 * d * d
        for i in range(p.size):  # more than four arrays in one loop are too many for the compiler to prove apart
            top[i] = top[i] if top[i] > v[i] else v[i]
        for i in range(p.size):
            p[i] = shrink * p[i] - step * m[i] / (np.sqrt(top[i]) / root + eps)
