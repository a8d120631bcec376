"""Scratch memory that is kept between calls: fresh pages cost more than the work that is done in them."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

__all__ = ["scratch"]

#: More than this is given back after use.
_KEPT_BYTES = 64 << 20


class _Pool(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[str, np.ndarray[Any, Any]] = {}


_pool = _Pool()


def scratch(key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """An array with undefined contents, good until the same key is asked for again by the same thread."""
    nbytes = math.prod(shape) * dtype.itemsize
    buffer = _pool.buffers.get(key)
    if buffer is None or buffer.nbytes < nbytes:
        buffer = np.empty(nbytes, np.uint8)
        if nbytes <= _KEPT_BYTES:
            _pool.buffers[key] = buffer
    return buffer[:nbytes].view(dtype).reshape(shape)
