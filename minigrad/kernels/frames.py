"""What all ways to convolve share: how windows lie, images in frames of zeros, tables of offsets, shares of work."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted, kernel
from minigrad.kernels.memory import empty
from minigrad.kernels.vector import copy_row

__all__ = [
    "Array",
    "Frame",
    "Geometry",
    "Pair",
    "Places",
    "frame_of",
    "lay",
    "not_finite",
    "offsets",
    "output_length",
    "room_for",
    "shares",
]

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How windows lie on an image."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


class Frame(NamedTuple):
    """An image's place in a frame of zeros: the frame's size, and where the image's first pixel lies."""

    height: int
    width: int
    top: int
    left: int


class Places(NamedTuple):
    """The pixels that a correlation fills: rows and columns from `first` on, `spacing` apart, each a `step` in the frame."""

    frame: Frame
    size: Pair
    first: Pair
    spacing: Pair
    step: Pair


def output_length(length: int, window: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit: ``(W - F + 2P) / S + 1``, F being the dilated window's length."""
    return (length + 2 * padding - dilation * (window - 1) - 1) // stride + 1


def frame_of(x: Array, padding: Pair) -> Frame:
    """The frame that padding makes around images (N, C, H, W)."""
    return Frame(x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1], *padding)


def offsets(planes: int, rows: Array, columns: Array, frame: Frame) -> Array:
    """Where plane, row and column lie in a frame, for all of them, the column running fastest."""
    plane = np.arange(planes)[:, None, None] * (frame.height * frame.width)
    return np.asarray(plane + rows[:, None] * frame.width + columns, np.int64).ravel()


def shares(units: int) -> Array:
    """Where each thread's units of work begin, and where the last one's end."""
    return _shares(units, max(1, min(get_num_threads(), units)))


@functools.lru_cache(maxsize=256)
def _shares(units: int, threads: int) -> Array:
    return np.array([units * i // threads for i in range(threads + 1)])


@kernel
def lay(frame, start, fh, fw, top, left, image):  # type: ignore[no-untyped-def]
    """An image (C, H, W) into its frames, which begin at `start` of a flat array."""
    channels, height, width = image.shape
    pixels = image.reshape(-1)
    for c in range(channels):
        for y in range(height):
            copy_row(frame, start + (c * fh + top + y) * fw + left, pixels, (c * height + y) * width, width, 0)


@kernel
def not_finite(numbers):  # type: ignore[no-untyped-def]
    """0, or NaN if there is an Inf or NaN among the numbers."""
    total = numbers[0] * 0
    for i in range(len(numbers)):
        total += numbers[i] * 0
    return total


def room_for(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Memory for work; what lies there stays in lanes that nobody reads, but numpy would warn of its NaN."""
    return np.zeros(shape, dtype) if interpreted() else empty(shape, dtype)
