"""Memory for results, used again: `empty` is `numpy.empty`, save that large blocks come back to a store when they are free.

A block that is new from the system costs a page fault for every 4 KB that is first written, which is more than most kernels
take to fill it; blocks of the same size are wanted again in every training step. They begin at a multiple of 64 bytes, a
cache line and the widest vector. A block is free when the array that was handed out and all its views are gone: the array's
base is a `_Lease`, a new one each time, whose end gives the block back.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from typing import Any

import numpy as np

__all__ = ["empty", "empty_like", "owns_memory", "release", "shares"]

Array = np.ndarray[Any, Any]

#: Smaller blocks the C library keeps itself (`_teach_allocator`), and gives them out faster than this store.
_FROM = 1 << 18
#: At most this many bytes of free blocks are kept in each class of sizes, but always one block.
_KEPT = 1 << 26
_ALIGNED = 64


class _Block(np.ndarray[Any, Any]):
    """A block of bytes. A class of its own, since numpy leaves out plain arrays when it notes what a view is a view of."""

    #: Where its first aligned byte is: finding out takes a microsecond.
    offset: int


class _Lease(np.ndarray[Any, Any]):
    """A view of a whole block; when the last array made of it is gone, the block goes back to the store.

    It does not come back itself: Python runs an object's `__del__` only once.
    """

    __slots__ = ()

    def __del__(self) -> None:
        block = self.base
        if type(block) is _Block:  # and not of a lease, or nothing's: who finds one can take views and copies of it
            kept = _free.setdefault(block.size, [])
            if not kept or (len(kept) + 1) * block.size <= _KEPT:
                kept.append(block)


#: Free blocks by size. `append` and `pop` of lists are atomic, so threads (and the garbage collector) need no lock.
_free: dict[int, list[_Block]] = {}


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array with unknown contents, in row order."""
    size = math.prod(shape) * dtype.itemsize
    if size < _FROM:
        return np.empty(shape, dtype)
    size = _rounded(size + _ALIGNED)
    try:
        block = _free[size].pop()
    except (KeyError, IndexError):
        block = _Block((size,), np.uint8)
        block.offset = -block.ctypes.data % _ALIGNED
    return np.ndarray(shape, dtype, buffer=block.view(_Lease), offset=block.offset)


def empty_like(array: Array) -> Array:
    """The same for the shape and type of an array; what is small, this finds out sooner."""
    shape, dtype = array.shape, array.dtype
    return np.empty(shape, dtype) if array.nbytes < _FROM else empty(shape, dtype)


def owns_memory(array: Array) -> bool:
    """Whether nobody else sees this array's memory: it is no view of another array."""
    return array.base is None or type(array.base) is _Lease


def shares(view: Array, array: Array) -> bool:
    """Whether a view that may have been taken of an array was: by their owner, which is quickly told, or their memory."""
    base = view.base
    return base is not None and (base is array or base is array.base or np.may_share_memory(view, array))


def release() -> None:
    """Give all free blocks back to the system, also those that the C library keeps, where it is glibc."""
    _free.clear()
    with contextlib.suppress(OSError, TypeError, AttributeError):  # other systems have no such function
        ctypes.CDLL(None).malloc_trim(0)


def _teach_allocator() -> None:
    """Let glibc keep what it is given back, instead of returning it to the system and fetching it anew every step.

    By default it returns the end of its heap whenever 128 KB of it are free, and every block from 128 KB upwards at once:
    one LeNet step at batch 32 then has 350 page faults, which double its time, or none, as the heap happens to lie. Both
    limits rise with the largest block that was ever freed (mallopt(3), M_MMAP_THRESHOLD), to its size and to twice its size.
    So a block of 16 MB, which is never touched and costs no memory, is taken and freed: 4 MB are too few for LeNet at batch
    256, and the more the process may keep, up to twice as much, the longer others wait for it. Where the limits are set by
    the user (MALLOC_TRIM_THRESHOLD_ and its kin) glibc does not move them, and another C library does nothing of it.
    """
    np.empty(1 << 24, np.uint8)


_teach_allocator()


def _rounded(size: int) -> int:
    """Up to a multiple of an eighth of its power of two: few classes, and little lost."""
    step = 1 << max(12, size.bit_length() - 4)
    return -(-size // step) * step
