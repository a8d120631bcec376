"""Weights in the order in which a micro-kernel reads them: for each of its steps the numbers of a whole block of outputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.frames import Array
from minigrad.kernels.memory import empty

__all__ = ["Packing", "Source", "pack"]


class Source(NamedTuple):
    """Where weights lie: of the first output of the first group the k-th at ``at[k]``, and so far apart is the next one's."""

    at: Array
    outputs: int  # of a group
    apart: int
    groups: int
    between: int  # the first weights of two groups


class Packing(NamedTuple):
    """A shape (groups, blocks, K, width) and where its numbers come from; what a block has too much is filled with zeros."""

    shape: tuple[int, int, int, int]
    source: Source

    @classmethod
    def of(cls, source: Source, width: int) -> Packing:
        """In blocks of so many outputs."""
        places = source.at.astype(np.uint64)  # numba looks at every signed index whether it is negative
        return cls((source.groups, -(-source.outputs // width), len(places), width), source._replace(at=places))


def pack(w: Array, packing: Packing) -> Array:
    """The weights (in row order) as a packing says."""
    packed = empty(packing.shape, w.dtype)
    at, outputs, apart, _, between = packing.source
    _pack(packed, w.reshape(-1), at, outputs, apart, between)
    return packed


@kernel(parallel=True, light=4)
def _pack(packed, w, at, outputs, apart, between):  # type: ignore[no-untyped-def]
    groups, blocks, taps, width = packed.shape
    step = np.uint64(width)
    for unit in prange(groups * blocks):
        block = np.int64(unit)
        numbers = packed.reshape(-1)[block * taps * width :]
        first = block % blocks * width
        some = min(width, outputs - first)
        start = block // blocks * between + first * apart
        for f in range(some):  # outermost, so that the loop inside is long
            own, to = w[start + f * apart :], np.uint64(f)
            for k in range(taps):
                numbers[to] = own[at[k]]
                to += step
        if some < width:
            for k in range(taps):
                for f in range(some, width):
                    numbers[k * width + f] = 0
