"""Matrix products: numpy's BLAS does the arithmetic, minigrad decides on how many threads.

BLAS's own threads go on spinning after a product and would take the cores from the kernels that follow (a LeNet step of 32
images: 7.6 ms instead of 3.1). So BLAS works on the thread that calls it, and a large product is cut into as many parts as
there are threads, each a product of its own. Cuts lie between rows or columns of the result, never within a sum.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from minigrad.jit import get_num_threads, kernel
from minigrad.kernels.memory import empty

__all__ = ["matmul"]

Array = np.ndarray[Any, Any]

#: Multiply-adds from which on a second thread pays: waking one takes some 30 us, in which one core does this many.
_SPLIT_FROM = 3_000_000


def matmul(a: Array, b: Array) -> Array:
    """``a @ b`` for two matrices of one floating-point type."""
    (rows, inner), columns = a.shape, b.shape[1]
    out = empty((rows, columns), a.dtype)
    if inner == 1:  # a sum of one product: BLAS would pack both sides first, and numpy's loops start anew for each row
        _outer(out, a.ravel(), b.ravel())
        return out
    _one_thread()
    threads = get_num_threads() if rows * inner * columns >= _SPLIT_FROM else 1
    if threads == 1 or max(rows, columns) < 2 * threads:
        return np.matmul(a, b, out=out)
    if columns >= rows:
        cuts = [columns * i // threads for i in range(threads + 1)]
        parts = [(a, b[:, start:end], out[:, start:end]) for start, end in itertools.pairwise(cuts)]
    else:
        cuts = [rows * i // threads for i in range(threads + 1)]
        parts = [(a[start:end], b, out[start:end]) for start, end in itertools.pairwise(cuts)]
    others = [_pool(threads - 1).submit(_product, *part) for part in parts[1:]]
    _product(*parts[0])
    for other in others:
        other.result()
    return out


@kernel
def _outer(out, column, row):  # type: ignore[no-untyped-def]
    for i in range(len(column)):
        to, factor = out[i], column[i]
        for j in range(len(row)):
            to[j] = factor * row[j]


def _product(a: Array, b: Array, out: Array) -> None:
    with np.errstate(all="ignore"):  # a thread of the pool does not inherit what its caller has switched off
        np.matmul(a, b, out=out)


@functools.cache
def _one_thread() -> None:
    """Tell BLAS once to stay on the calling thread. Where it can't be told (Apple's Accelerate), it does as it likes."""
    with contextlib.suppress(Exception):
        controller = importlib.import_module("threadpoolctl").ThreadpoolController  # late: not every process multiplies
        for library in controller().select(user_api="blas").lib_controllers:
            library.set_num_threads(1)


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="minigrad-blas")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
