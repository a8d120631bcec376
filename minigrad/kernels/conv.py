"""Convolution in two dimensions and its two derivatives, all made of one micro-kernel (`vector.Block`).

    x (N, C, H, W), w (F, C / groups, R, S) -> out (N, F, Ho, Wo)

    forward   lanes are filters,  the inner sum runs over channels and taps,     tiles of output pixels
    input     lanes are channels, the inner sum runs over filters and taps,      tiles of input pixels
    weight    lanes are filters,  the inner sum runs over output pixels,         tiles of taps

Each image is first laid into a frame of zeros, so that no tap can miss. Then every product that is wanted lies at a sum of
offsets: of the pixel, of the tap, of the group. The derivative by the input is a convolution again, of the framed
cotangent with the weights turned round; with a stride it falls apart into stride x stride convolutions, each of which
fills one pixel in so many and uses only the taps that can reach it, so no zero is ever multiplied.

Threads share out images (and blocks of filters); the weight's gradient is summed thread by thread, so there the thread
count changes rounding. The same thread count gives the same bits.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, kernel, prange
from minigrad.kernels.vector import Block, machine_lanes, registers, run

__all__ = ["Geometry", "conv2d", "conv2d_input", "conv2d_weight", "output_length"]

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]

#: So many output pixels at least are summed in one run of a block by the weight's gradient.
_LONG = 1024


class Geometry(NamedTuple):
    """How windows lie on an image."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


class _Frame(NamedTuple):
    """An image's place in a frame of zeros: the frame's size, and where the image's first pixel lies."""

    height: int
    width: int
    top: int
    left: int


def output_length(length: int, window: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit: ``(W - F + 2P) / S + 1``, F being the dilated window's length."""
    return (length + 2 * padding - dilation * (window - 1) - 1) // stride + 1


def conv2d(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> None:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    (sy, sx), (py, px), (dy, dx), groups = geometry
    frame = _Frame(x.shape[2] + 2 * py, x.shape[3] + 2 * px, py, px)
    offset = np.zeros(len(w), out.dtype) if bias is None else np.ascontiguousarray(bias)
    rows, columns = np.arange(w.shape[2]) * dy, np.arange(w.shape[3]) * dx
    inner = _offsets(w.shape[1], rows, columns, frame)
    taps = w.reshape(groups, w.shape[0] // groups, len(inner)).transpose(0, 2, 1)
    _correlate(out, x, taps, offset, inner, frame, out.shape[2:], (0, 0), (1, 1), (sy, sx))


def conv2d_input(dx: Array, g: Array, w: Array, geometry: Geometry) -> None:
    """The derivative by the input: each cotangent spread over the window that it came from."""
    stride, padding, dilation, groups = geometry
    nothing = np.zeros(dx.shape[1], dx.dtype)
    grouped = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for phase in itertools.product(range(min(stride[0], dx.shape[2])), range(min(stride[1], dx.shape[3]))):
        reach = [_reaching(*each) for each in zip(phase, w.shape[2:], stride, padding, dilation, strict=True)]
        count = [-(-(n - a) // s) for n, a, s in zip(dx.shape[2:], phase, stride, strict=True)]
        (rows, steps_y), (columns, steps_x) = reach
        frame = _frame_for(g.shape[2:], (steps_y, steps_x), count)
        inner = _offsets(grouped.shape[1], steps_y + frame.top, steps_x + frame.left, frame)
        taps = grouped[:, :, :, rows][..., columns]  # (groups, F / groups, C / groups, rows, columns)
        taps = taps.transpose(0, 1, 3, 4, 2).reshape(groups, len(inner), w.shape[1])
        _correlate(dx, g, taps, nothing, inner, frame, (count[0], count[1]), phase, stride, (1, 1))


def conv2d_weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight: each thread sums over its images, then the threads' sums are added in turn."""
    (sy, sx), (py, px), (dy, dx), groups = geometry
    filters, channels, r, s = dw.shape
    frame = _Frame(x.shape[2] + 2 * py, x.shape[3] + 2 * px, py, px)
    pixels = g.shape[2] * g.shape[3]
    block = _block_of_taps(filters // groups, s, dx, dw.dtype)
    lines = _offsets(channels, np.arange(r) * dy, np.arange(s) * dx if block.columns == 1 else np.zeros(1, int), frame)
    lines = np.concatenate([lines, np.zeros(-len(lines) % block.rows, np.int64)])  # the last tile may hold idle rows
    together = max(1, min(-(-_LONG // max(pixels, 1)), len(x)))
    image = frame.height * frame.width * x.shape[1]
    positions = _offsets(1, np.arange(g.shape[2]) * sy, np.arange(g.shape[3]) * sx, frame)
    inner = (np.arange(together)[:, None] * image + positions).ravel()
    shares = _shares(len(x))
    blocks = -(-(filters // groups) // block.width)
    total = np.zeros((len(shares) - 1, groups, blocks, len(lines) * block.columns, block.width), dw.dtype)
    _sum_weight(
        total,
        np.ascontiguousarray(x),
        np.ascontiguousarray(g),
        shares,
        inner,
        lines,
        together,
        *frame,
        block.rows,
        block.handle,
    )
    sums = total.sum(axis=0)[:, :, : channels * r * s]  # (groups, blocks, K, width)
    wide = sums.transpose(0, 1, 3, 2).reshape(groups, blocks * block.width, channels * r * s)
    dw[...] = wide[:, : filters // groups].reshape(dw.shape)


# ------------------------------------------------------------------------------------------------ tables of offsets


def _offsets(planes: int, rows: Array, columns: Array, frame: _Frame) -> Array:
    """Where plane, row and column lie in a frame, for all of them, the column running fastest."""
    plane = np.arange(planes)[:, None, None] * (frame.height * frame.width)
    return np.asarray(plane + rows[:, None] * frame.width + columns, np.int64).ravel()


def _reaching(phase: int, window: int, stride: int, padding: int, dilation: int) -> tuple[Array, Array]:
    """The taps that touch input ``phase + stride * t``, and by how much output ``t + step`` is ahead of t for each."""
    taps = np.arange(window)
    distance = phase + padding - taps * dilation
    touching = distance % stride == 0
    return taps[touching], distance[touching] // stride


def _frame_for(size: tuple[int, ...], steps: tuple[Array, Array], count: list[int]) -> _Frame:
    """The frame around a cotangent in which every step from every pixel ends."""
    before = [max(0, -int(step.min(initial=0))) for step in steps]
    after = [max(0, int(step.max(initial=0)) + n - length) for step, n, length in zip(steps, count, size, strict=True)]
    return _Frame(size[0] + before[0] + after[0], size[1] + before[1] + after[1], before[0], before[1])


def _shares(units: int) -> Array:
    """Where each thread's units of work begin, and where the last one's end."""
    threads = max(1, min(get_num_threads(), units))
    return np.array([units * i // threads for i in range(threads + 1)])


# ------------------------------------------------------------------------------------------------ shapes of tiles


def _vectors(outputs: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Lanes and vectors for so many filters: vectors as short as still hold them, two where one is not enough."""
    lanes = machine_lanes() * 4 // dtype.itemsize
    while lanes > 4 and outputs <= lanes // 2:
        lanes //= 2
    return lanes, 1 if outputs <= lanes else 2


def _tile_size(vectors: int) -> int:
    """How many scalars a tile may have: its accumulators, its vectors and one scalar fit the registers."""
    return (registers() - 3 - vectors) // vectors if vectors > 1 else registers() // 2


def _block_of_pixels(outputs: int, count: Pair, step: int, dtype: np.dtype[Any]) -> Block:
    """A tile as wide as divides the row evenly, and as many rows as fit."""
    lanes, vectors = _vectors(outputs, dtype)
    most = _tile_size(vectors)
    columns = -(-count[1] // -(-count[1] // most))
    return Block(max(1, min(most // columns, count[0])), columns, step, lanes, vectors, dtype.name)


def _block_of_taps(filters: int, width: int, dilation: int, dtype: np.dtype[Any]) -> Block:
    """A tile of whole rows of a window, or of single taps where a row is too long."""
    lanes, vectors = _vectors(filters, dtype)
    most = _tile_size(vectors)
    rows, columns = (most // width, width) if width <= most else (min(most, 8), 1)
    return Block(rows, columns, dilation, lanes, vectors, dtype.name)


# ------------------------------------------------------------------------------------------------ the loops around the block


def _correlate(
    out: Array,
    source: Array,
    taps: Array,
    bias: Array,
    inner: Array,
    frame: _Frame,
    count: tuple[int, ...],
    first: Pair,
    spacing: Pair,
    step: Pair,
) -> None:
    """``out[n, f, first + spacing * t] = bias[f] + sum over k of taps[k, f] * source[n, step * t + inner[k]]``, framed.

    ``taps`` is (groups, K, outputs); t runs over `count` rows and columns.
    """
    if not out.size or 0 in count:
        return
    groups, _, outputs = taps.shape
    block = _block_of_pixels(outputs, (count[0], count[1]), step[1], out.dtype)
    blocks = -(-outputs // block.width)
    weights = np.zeros((groups, blocks, len(inner), block.width), out.dtype)
    for b in range(blocks):
        part = taps[:, :, b * block.width : (b + 1) * block.width]
        weights[:, b, :, : part.shape[2]] = part
    _pixels(
        out, np.ascontiguousarray(source), weights, bias, inner, _shares(len(out) * groups * blocks), *frame, *count, *first,
        *spacing, step[0], step[1], block.rows, block.columns, block.handle,
    )  # fmt: skip


@kernel(parallel=True)
def _pixels(out, source, weights, bias, inner, shares, fh, fw, top, left, ho, wo, ay, ax, ty, tx, sy, sx, rows, columns, block):  # type: ignore[no-untyped-def]
    groups, blocks, taps, width = weights.shape
    outputs = out.shape[1] // groups
    for part in prange(len(shares) - 1):
        frame = np.zeros((source.shape[1], fh, fw), source.dtype)
        tile = np.empty((rows, columns, width), source.dtype)
        starts = np.empty(rows, np.int64)
        image = -1
        for unit in range(shares[part], shares[part + 1]):
            n, group, b = unit // (groups * blocks), unit // blocks % groups, unit % blocks
            if n != image:
                _lay(frame, source[n], top, left)
                image = n
            channels = source.shape[1] // groups
            for y in range(0, ho, rows):
                y = min(y, ho - rows)  # the last tile overlaps the one before it
                for x in range(0, wo, columns):
                    x = min(x, wo - columns)
                    for r in range(rows):
                        starts[r] = (y + r) * sy * fw
                    tile[:] = 0
                    run(block, tile, frame, group * channels * fh * fw + x * sx, inner, taps, starts, weights[group, b])
                    for f in range(min(width, outputs - b * width)):
                        at = group * outputs + b * width + f
                        for r in range(rows):
                            line = out[n, at, ay + (y + r) * ty]
                            for c in range(columns):
                                line[ax + (x + c) * tx] = tile[r, c, f] + bias[at]


@kernel(parallel=True, work=1)
def _sum_weight(total, x, g, shares, inner, lines, together, fh, fw, top, left, rows, block):  # type: ignore[no-untyped-def]
    _, groups, blocks, taps, width = total.shape
    pixels = g.shape[2] * g.shape[3]
    filters, channels = g.shape[1] // groups, x.shape[1] // groups
    tile = rows * (taps // len(lines))
    for part in prange(len(shares) - 1):
        frames = np.zeros((together, x.shape[1], fh, fw), x.dtype)
        turned = np.zeros((together * pixels, width), g.dtype)
        for n in range(shares[part], shares[part + 1], together):
            images = min(together, shares[part + 1] - n)
            for i in range(images):
                _lay(frames[i], x[n + i], top, left)
            for group in range(groups):
                for b in range(blocks):
                    first = group * filters + b * width
                    some = min(width, filters - b * width)
                    for i in range(images):
                        _turn(turned[i * pixels : (i + 1) * pixels], g[n + i, first : first + some])
                    for f in range(some, width):
                        turned[:, f] = 0
                    start = group * channels * fh * fw
                    for t in range(len(lines) // rows):
                        sums = total[part, group, b, t * tile : (t + 1) * tile]
                        some_lines = lines[t * rows : (t + 1) * rows]
                        run(block, sums, frames, start, inner, images * pixels, some_lines, turned)


@kernel
def _lay(frame, image, top, left):  # type: ignore[no-untyped-def]
    """An image into its frame."""
    channels, height, width = image.shape
    for c in range(channels):
        for y in range(height):
            line = frame[c, top + y, left : left + width]
            pixels = image[c, y]
            for x in range(len(line)):
                line[x] = pixels[x]


@kernel
def _turn(turned, planes):  # type: ignore[no-untyped-def]
    """(F, Ho, Wo) -> (Ho * Wo, F)."""
    filters, height, width = planes.shape
    for f in range(filters):
        for y in range(height):
            line = planes[f, y]
            for x in range(width):
                turned[y * width + x, f] = line[x]
