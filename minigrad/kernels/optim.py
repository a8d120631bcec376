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

__all__ = ["adam", "is_small", "sgd", "sgd_together"]

Array = np.ndarray[Any, Any]

#: Elements from which on waking a second thread pays, and how many a thread takes at a time.
PARALLEL_FROM = 1 << 17
_CHUNK = 1 << 15
#: So many small parameters are stepped in one call. A call takes always as many, for each number would be compiled anew.
_TOGETHER = 10
_NOTHING = np.empty(0, np.float32)


def sgd(
    param: Array,
    grad: Array,
    buffer: Array | None,
    lr: float,
    momentum: float,
    fresh: float,
    decay: float,
    sign: float,
    nesterov: bool,
) -> None:
    """``d = sign * grad + decay * param; buffer = momentum * buffer + fresh * d; param -= lr * buffer``.

    With `nesterov` the step is along ``d + momentum * buffer``, without a buffer along `d`.
    """
    if buffer is None:
        _run(_sgd, param, (grad,), (lr, decay, sign))
    else:
        _run(_sgd_momentum, param, (grad, buffer), (lr, momentum, fresh, decay, sign), nesterov)


def is_small(param: Array, grad: Array, buffer: Array) -> bool:
    """Whether these of one parameter are among those that `sgd_together` takes: float32, in row order, not for threads."""
    return (
        param.size < PARALLEL_FROM
        and param.dtype.char == grad.dtype.char == buffer.dtype.char == "f"
        and param.flags.c_contiguous
        and grad.flags.carray  # may be written to, too, or numba would take the tuple of them for one of several types
        and buffer.flags.c_contiguous
    )


def sgd_together(
    steps: list[tuple[Array, Array, Array]],
    lr: float,
    momentum: float,
    fresh: float,
    decay: float,
    sign: float,
    nesterov: bool,
) -> None:
    """`sgd` of several parameters, each given with gradient and buffer: a call for each few of them instead of for each."""
    for first in range(0, len(steps), _TOGETHER):
        some = steps[first : first + _TOGETHER]
        flat = [tuple([a.reshape(-1) for a in arrays]) for arrays in zip(*some, strict=True)]
        missing = (_NOTHING,) * (_TOGETHER - len(some))
        params, grads, buffers = [arrays + missing for arrays in flat]
        _sgd_several(params, grads, buffers, lr, momentum, fresh, decay, sign, nesterov)


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


@kernel
def _decayed(gradient, decay, value):  # type: ignore[no-untyped-def]
    """With the weight's decay; without one a weight may be Inf, as a mask is."""
    return gradient + decay * value if decay != 0 else gradient


@kernel
def _between(old, new, share):  # type: ignore[no-untyped-def]
    """``old + share * (new - old)``, from the nearer side: the other is rounded away where one is much the larger."""
    return old + share * (new - old) if share < 0.5 else new - (new - old) * (1 - share)


@kernel(parallel=True)
def _sgd(param, grad, lr, decay, sign):  # type: ignore[no-untyped-def]
    kind = param.dtype.type
    lr, decay, sign = kind(lr), kind(decay), kind(sign)
    for part in prange((param.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        p, g = param[here], grad[here]
        for i in range(p.size):
            p[i] -= lr * _decayed(sign * g[i], decay, p[i])


@kernel(parallel=True)
def _sgd_momentum(param, grad, buffer, lr, momentum, fresh, decay, sign, nesterov):  # type: ignore[no-untyped-def]
    for part in prange((param.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        _momentum_step(param[here], grad[here], buffer[here], lr, momentum, fresh, decay, sign, nesterov)


@kernel
def _momentum_step(p, g, b, lr, momentum, fresh, decay, sign, nesterov):  # type: ignore[no-untyped-def]
    kind = p.dtype.type
    lr, momentum, fresh, decay, sign = kind(lr), kind(momentum), kind(fresh), kind(decay), kind(sign)
    for i in range(p.size):
        d = _decayed(sign * g[i], decay, p[i])
        v = momentum * b[i] + fresh * d
        b[i] = v
        p[i] -= lr * (d + momentum * v if nesterov else v)


@kernel
def _sgd_several(params, grads, buffers, lr, momentum, fresh, decay, sign, nesterov):  # type: ignore[no-untyped-def]
    for i in range(len(params)):
        _momentum_step(params[i], grads[i], buffers[i], lr, momentum, fresh, decay, sign, nesterov)


@kernel(parallel=True)
def _adam(param, grad, mean, square, shrink, decay, w1, beta2, w2, step, root, eps, sign):  # type: ignore[no-untyped-def]
    kind = param.dtype.type
    shrink, decay, sign, eps = kind(shrink), kind(decay), kind(sign), kind(eps)
    w1, beta2, w2, step, root = kind(w1), kind(beta2), kind(w2), kind(step), kind(root)
    for part in prange((param.size + _CHUNK - 1) // _CHUNK):
        here = slice(part * _CHUNK, (part + 1) * _CHUNK)
        p, g, m, v = param[here], grad[here], mean[here], square[here]
        for i in range(p.size):
            d = _decayed(sign * g[i], decay, p[i])
            m[i] = _between(m[i], d, w1)
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
            d = _decayed(sign * g[i], decay, p[i])
            m[i] = _between(m[i], d, w1)
            v[i] = beta2 * v[i] + w2 * d * d
        for i in range(p.size):  # more than four arrays in one loop are too many for the compiler to prove apart
            top[i] = top[i] if top[i] > v[i] else v[i]
        for i in range(p.size):
            p[i] = shrink * p[i] - step * m[i] / (np.sqrt(top[i]) / root + eps)
