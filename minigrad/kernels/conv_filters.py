"""Convolution with filters along a vector's lanes (`vector.Block`): tiles of output pixels, each against many filters.

The way for many channels: nothing is wasted at the borders of images, and a weight is loaded once for a whole tile. What
is calculated filter by filter must be turned round on its way into (N, F, H, W), which costs where filters are few.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted, kernel, prange
from minigrad.kernels.frames import Array, Frame, Geometry, Pair, Places, lay, offsets, shares
from minigrad.kernels.lanes import Transpose
from minigrad.kernels.memory import empty
from minigrad.kernels.packing import Packing, Source, pack
from minigrad.kernels.program import handles_of
from minigrad.kernels.vector import Block, copy_row, machine_lanes, registers, run

__all__ = ["Correlation", "Phase", "weight"]

Shape = tuple[int, ...]
Type = np.dtype[Any]

#: So many output pixels at least are laid out together by the weight's gradient, and so many at most summed in one chain.
_LONG = 1024
_PIXELS = 256
#: So many taps at most are summed in one chain by the other two.
_CHAIN = 512
#: Bytes of results that wait to be turned round together: planes are then written in long pieces.
_BAND = 1 << 15

_first = operator.itemgetter(0)


class Phase(NamedTuple):
    """What fills one pixel in so many: weights, how far ahead each of them sees, and which pixels these are."""

    source: Source
    inner: Array
    places: Places


class Correlation(NamedTuple):
    """``out[n, f, first + spacing * t] = bias[f] + sum over k of weights[k, f] * source[n, step * t + inner[k]]``, framed.

    Several phases fill all pixels together; they share the frame, the spacing and the step.
    """

    packings: tuple[Packing, ...]
    inner: Array
    parts: Array
    phases: Array
    sizes: Array
    blocks: Array  # handles, of a `Block` for each phase
    turn: Any  # a `Transpose`'s handle

    @classmethod
    def of(cls, out: Shape, x: Shape, phases: Sequence[Phase], dtype: Type, lanes: int) -> Correlation:
        """For arrays of these shapes."""
        frame, _, _, spacing, step = phases[0].places
        counts = tuple(each.places.size for each in phases)
        blocks = _blocks_of_pixels(phases[0].source.outputs, counts, step[1], dtype, lanes)
        packings = tuple(Packing.of(each.source, blocks[0].width) for each in phases)
        taps = np.cumsum([0, *(len(each.inner) for each in phases)])
        weights = np.cumsum([0, *(math.prod(each.shape) for each in packings)])
        table = [
            [*each.places.size, *each.places.first, block.rows, block.columns, taps[i], taps[i + 1], weights[i]]
            for i, (each, block) in enumerate(zip(phases, blocks, strict=True))
        ]
        groups, many, _, width = packings[0].shape
        rows, area = max(each.places.size[0] for each in phases), max(block.rows * block.columns for block in blocks)
        ahead = max(block.rows for block in blocks) - 1
        sizes = np.array([*frame, *spacing, *step, groups, many, width, rows, area, ahead])
        inner, turn = np.concatenate([each.inner for each in phases]), Transpose(lanes * 4 // dtype.itemsize, dtype.name)
        parts = shares(out[0] * groups * many)
        return cls(packings, inner, parts, np.array(table), sizes, handles_of(blocks), turn.handle)

    def run(self, out: Array, source: Array, w: Array, bias: Array) -> None:
        """Run it; all arrays in row order."""
        weights = [pack(w, packing).reshape(-1) for packing in self.packings]
        flat = weights[0] if len(weights) == 1 else np.concatenate(weights)
        _pixels(out, source, flat, bias, self.inner, self.parts, self.phases, self.sizes, self.blocks, self.turn)


def weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight: each thread sums over its images, then the threads' sums are added in turn."""
    plan = _weight_plan(dw.shape, g.shape, x.shape, geometry, dw.dtype, machine_lanes(), get_num_threads(), interpreted())
    total = empty(plan.total, dw.dtype)
    _sum_weight(total, x, g, plan.parts, plan.inner, plan.lines, plan.sizes, plan.block, plan.turn)
    _add_up(dw.reshape(len(dw), -1), total)


class _Plan(NamedTuple):
    """Tables of the weight's gradient: places of pixels and of lines of taps; images laid out together, and the frame."""

    block: Any  # handles of a `Block` and a `Transpose`
    turn: Any
    total: tuple[int, int, int, int, int]  # threads, groups, blocks of filters, taps, filters
    parts: Array
    inner: Array
    lines: Array
    sizes: Array


@functools.lru_cache(maxsize=256)
def _weight_plan(
    dw: Shape, g: Shape, x: Shape, geometry: Geometry, dtype: Type, machine: int, threads: int, plain: bool
) -> _Plan:
    """`plain` says whether micro-kernels are Python, which their handles are then."""
    (sy, sx), padding, (dy, dx), groups = geometry
    filters, channels, r, s = dw
    frame = Frame(x[2] + 2 * padding[0], x[3] + 2 * padding[1], *padding)
    block = _block_of_taps(filters // groups, s, dx, dtype, machine)
    lines = offsets(channels, np.arange(r) * dy, np.arange(s) * dx if block.columns == 1 else np.zeros(1, int), frame)
    lines = np.concatenate([lines, np.zeros(-len(lines) % block.rows, np.int64)])  # the last tile may hold idle rows
    together = max(1, min(-(-_LONG // (g[2] * g[3])), x[0]))
    positions = offsets(1, np.arange(g[2]) * sy, np.arange(g[3]) * sx, frame)
    inner = (np.arange(together)[:, None] * (frame.height * frame.width * x[1]) + positions).ravel()
    parts = shares(x[0])
    total = (len(parts) - 1, groups, -(-(filters // groups) // block.width), len(lines) * block.columns, block.width)
    turn = Transpose(machine * 4 // dtype.itemsize, dtype.name)
    return _Plan(block.handle, turn.handle, total, parts, inner, lines, np.array([together, *frame, block.rows]))


def _vectors(outputs: int, dtype: np.dtype[Any], machine: int) -> tuple[int, int]:
    """Lanes and vectors for so many filters: vectors as short as still hold them, two where one is not enough."""
    lanes = machine * 4 // dtype.itemsize
    while lanes > 4 and outputs <= lanes // 2:
        lanes //= 2
    return lanes, 1 if outputs <= lanes else 2


def _tile_size(vectors: int) -> int:
    """How many scalars a tile may have: its accumulators, its vectors and one scalar fit the registers."""
    return (registers() - 1 - vectors) // vectors


@functools.lru_cache(maxsize=1024)
def _blocks_of_pixels(
    outputs: int, counts: tuple[Pair, ...], step: int, dtype: np.dtype[Any], machine: int
) -> tuple[Block, ...]:
    """For each phase, of so many pixels, the tile with which the fewest multiply-adds are made in vain, at the ends of rows and
    at the bottom. All are equally wide, since the phases' weights and results lie in one table each.

    What a tile loads for each of its sums costs about as much as one multiply-add and a half.
    """
    lanes, vectors = _vectors(outputs, dtype, machine)

    def tiles(vectors: int, count: Pair) -> Iterator[Block]:
        most = _tile_size(vectors)
        for columns in range(max(1, min(most, count[1]) // 3), min(most, count[1]) + 1):
            yield Block(max(1, min(most // columns, count[0])), columns, step, lanes, vectors, dtype.name)

    def cycles(block: Block, count: Pair) -> float:
        tiles = -(-count[0] // block.rows) * -(-count[1] // block.columns) * -(-outputs // block.width)
        return tiles * (block.rows * block.columns * block.vectors + 1.5)

    def cheapest(vectors: int) -> tuple[float, tuple[Block, ...]]:
        best = [min(((cycles(tile, count), tile) for tile in tiles(vectors, count)), key=_first) for count in counts]
        return sum(map(_first, best)), tuple(tile for _, tile in best)

    # Of equal ones those with fewer vectors, which read fewer weights.
    return min((cheapest(some) for some in range(1, vectors + 1)), key=_first)[1]


@functools.lru_cache(maxsize=1024)
def _block_of_taps(filters: int, width: int, dilation: int, dtype: np.dtype[Any], machine: int) -> Block:
    """A tile of whole rows of a window, or of single taps where a row is too long."""
    lanes, vectors = _vectors(filters, dtype, machine)
    most = _tile_size(vectors)
    rows, columns = (most // width, width) if width <= most else (min(most, 8), 1)
    return Block(rows, columns, dilation, lanes, vectors, dtype.name)


@kernel(parallel=True)
def _pixels(out, source, weights, bias, inner, shares, phases, sizes, blocks, turn):  # type: ignore[no-untyped-def]
    for part in prange(len(shares) - 1):
        _share_of_pixels(shares[np.int64(part) :], out, source, weights, bias, inner, phases, sizes, blocks, turn)


@kernel
def _share_of_pixels(span, out, source, weights, bias, inner, phases, sizes, blocks, turn):  # type: ignore[no-untyped-def]
    """One thread's units, blocks of filters of an image: some rows of all phases are made, then turned into planes."""
    fh, fw, spacing, groups, many, width = sizes[0], sizes[1], sizes[4], sizes[8], sizes[9], sizes[10]
    _, planes, height, wide = out.shape
    outputs, line = planes // groups, wide * width
    ahead = sizes[13]
    band = max(1, _BAND // ((ahead + 1) * spacing * line * source.itemsize)) * (ahead + 1)
    frame = np.zeros(source.shape[1] * fh * fw, source.dtype)
    begun, tile = np.zeros((sizes[12], width), source.dtype), np.empty(sizes[12] * width, source.dtype)
    sums, flat = np.empty((band + 2 * ahead) * spacing * line, source.dtype), out.reshape(-1)
    image = -1
    for unit in range(span[0], span[1]):
        n, group, b = unit // (groups * many), unit // many % groups, unit % many
        if n != image:
            lay(frame, 0, fh, fw, sizes[2], sizes[3], source[n])
            image = n
        start, first = group * source.shape[1] // groups * fh * fw, group * outputs + b * width
        some = min(width, outputs - b * width)
        for f in range(some):
            begun[:, f] = bias[first + f]
        for f in range(some, width):
            begun[:, f] = 0
        squares = np.array([width, height * wide, some])
        for y in range(0, sizes[11], band):
            for p in range(len(phases)):
                own = weights[phases[p, 8] + (group * many + b) * (phases[p, 7] - phases[p, 6]) * width :]
                _rows(sums, wide, y, band, tile, begun.reshape(-1), frame, start, own, inner, phases[p], sizes, blocks[p])
            pixels = (min((y + band) * spacing, height) - y * spacing) * wide
            to = ((n * planes + first) * height + y * spacing) * wide
            run(turn, flat[to:], sums, ahead * spacing * line, squares, pixels, squares, sums)


@kernel
def _rows(sums, wide, y, band, tile, begun, frame, start, weights, inner, phase, sizes, block):  # type: ignore[no-untyped-def]
    """Some rows of a phase, tile by tile; a tile may reach beyond these, for which there is room before and behind."""
    ty, tx, sy, sx, width, ahead = sizes[4], sizes[5], sizes[6], sizes[7], sizes[10], sizes[13]
    ho, wo, rows, columns, line = phase[0], phase[1], phase[4], phase[5], wide * sizes[10]
    starts = np.empty(rows, np.int64)
    own = inner[phase[6] : phase[7]]
    for down in range(y, min(y + band, ho), rows):
        down = min(down, ho - rows)  # the last tile overlaps the one before it
        for r in range(rows):
            starts[r] = (down + r) * sy * sizes[1]
        for x in range(0, wo, columns):
            x = min(x, wo - columns)
            at = ((down - y + ahead) * ty + phase[2]) * line + (phase[3] + x * tx) * width
            if rows == 1 and tx == 1:
                copy_row(sums, at, begun, 0, columns * width, 0)
                _add_taps(block, sums[at:], frame, start + x * sx, own, starts, weights, width)
                continue
            copy_row(tile, 0, begun, 0, rows * columns * width, 0)
            _add_taps(block, tile, frame, start + x * sx, own, starts, weights, width)
            long = columns if tx == 1 else 1  # so many pixels lie side by side
            for r in range(rows):
                for c in range(0, columns, long):
                    to = at + r * ty * line + c * tx * width
                    copy_row(sums, to, tile, (r * columns + c) * width, long * width, 0)


@kernel
def _add_taps(block, tile, frame, start, inner, starts, weights, width):  # type: ignore[no-untyped-def]
    """A chunk of taps is summed by itself before it is added: a long chain of sums rounds more."""
    for k in range(0, len(inner), _CHAIN):
        run(block, tile, frame, start, inner[k:], min(_CHAIN, len(inner) - k), starts, weights[k * width :])


@kernel(parallel=True, work=1)
def _sum_weight(total, x, g, shares, inner, lines, sizes, block, turn):  # type: ignore[no-untyped-def]
    for part in prange(len(shares) - 1):
        _share_of_sums(total[np.int64(part)], shares[np.int64(part) :], x, g, inner, lines, sizes, block, turn)


@kernel
def _share_of_sums(total, span, x, g, inner, lines, sizes, block, turn):  # type: ignore[no-untyped-def]
    """One thread's images, some together; cotangents are turned round, so that filters lie side by side."""
    together, fh, fw, top, left, rows = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    groups, blocks, taps, width = total.shape
    pixels, image = g.shape[2] * g.shape[3], x.shape[1] * fh * fw
    filters, channels = g.shape[1] // groups, x.shape[1] // groups
    tile = rows * (taps // len(lines))
    frames = np.zeros(together * image, x.dtype)
    turned, flat = np.zeros((together * pixels, width), g.dtype), g.reshape(-1)
    squares = np.array([pixels, width, pixels])
    total[:] = 0
    for n in range(span[0], span[1], together):
        images = min(together, span[1] - n)
        for i in range(images):
            lay(frames, i * image, fh, fw, top, left, x[n + i])
        for group in range(groups):
            for b in range(blocks):
                first = group * filters + b * width
                some = min(width, filters - b * width)
                for i in range(images):
                    at = ((n + i) * groups * filters + first) * pixels
                    run(turn, turned[i * pixels :], flat, at, squares, some, squares, flat)
                for f in range(some, width):
                    turned[:, f] = 0
                start = group * channels * fh * fw
                for t in range(len(lines) // rows):
                    sums = total[group, b, t * tile : (t + 1) * tile]
                    own = lines[t * rows : (t + 1) * rows]
                    for k in range(0, images * pixels, _PIXELS):
                        run(block, sums, frames, start, inner[k:], min(_PIXELS, images * pixels - k), own, turned[k:])


@kernel(parallel=True)
def _add_up(dw, total):  # type: ignore[no-untyped-def]
    """The threads' sums, and the result in its own order: (F, C / groups * R * S)."""
    threads, groups, blocks, _, width = total.shape
    outputs, step = len(dw) // groups, np.uint64(width)
    for unit in prange(groups * blocks):
        group, b = np.int64(unit) // blocks, np.int64(unit) % blocks
        for f in range(min(width, outputs - b * width)):
            line = dw[group * outputs + b * width + f]
            for part in range(threads):
                own, at = total[part, group, b].reshape(-1)[f:], np.uint64(0)
                for k in range(len(line)):
                    line[k] = own[at] if part == 0 else line[k] + own[at]
                    at += step
