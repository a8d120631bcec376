"""Images as points of tiles, the way into every one of Winograd's convolutions; and what else these have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import kernel
from minigrad.kernels.frames import Array, Pair
from minigrad.kernels.lanes import Transpose
from minigrad.kernels.vector import run
from minigrad.kernels.vector_nested import Nested
from minigrad.kernels.winograd_matrices import Matrix
from minigrad.kernels.winograd_tiles import Axis

__all__ = ["CHUNK", "Tiles", "distance", "size_of_chunks", "tiles_of", "to_points", "vectors_for"]

#: So many products at most are summed in one run before they are added to the others, for the sake of accuracy.
CHUNK = 48


class Tiles(NamedTuple):
    """How images become points of tiles: (N, C, H, W) -> (chunks of channels, points, tiles, channels of a chunk)."""

    images: int
    planes: int  # of an image, all groups together
    channels: int  # of a group
    height: int
    width: int
    rows: int  # of tiles in an image
    columns: int
    step_y: int  # from one tile to the next
    step_x: int
    reach_y: int  # of a tile
    reach_x: int
    first_y: int  # the place of the first tile in the image; negative in the padding
    first_x: int
    chunk: int
    chunks: int
    points: int
    room: int  # tiles for which there is place
    apart: int  # numbers from one point to the next
    lanes: int
    turn: Any
    nested: Any
    steps: Array  # of the nested map in the lines
    strides: Array  # and in the points


@kernel
def to_points(part, parts, points, lines, source, row, rows, group, s):  # type: ignore[no-untyped-def]
    """One thread's part of so many rows of tiles from `row` on, counted through all images."""
    across = (s.columns - 1) * s.step_x + s.reach_x
    line = across * s.chunk
    left, right = max(0, -s.first_x), min(across, s.width - s.first_x)
    lines[: s.reach_y * line] = 0
    squares = np.array([s.height * s.width, s.chunk, right - left])
    units = rows * s.chunks
    for unit in range(units * part // parts, units * (part + 1) // parts):
        n, ty = (row + unit // s.chunks) // s.rows, (row + unit // s.chunks) % s.rows
        piece, tile = unit % s.chunks, unit // s.chunks * s.columns
        some = min(s.chunk, s.channels - piece * s.chunk)
        plane = n * s.planes + group * s.channels + piece * s.chunk
        for i in range(s.reach_y):
            y = s.first_y + ty * s.step_y + i
            if y < 0 or y >= s.height:
                lines[i * line : (i + 1) * line] = 0
            elif right > left:
                at = (plane * s.height + y) * s.width + s.first_x + left
                run(s.turn, lines[i * line + left * s.chunk :], source, at, squares, some, squares, lines)
        for tx in range(s.columns):
            to = points[piece * s.points * s.apart + (tile + tx) * s.chunk :]
            run(s.nested, to, lines, tx * s.step_x * s.chunk, s.steps, s.chunk // s.lanes, s.strides, lines)


# ------------------------------------------------------------------------------------------------ sizes


def tiles_of(
    shape: tuple[int, ...],
    channels: int,
    down: Axis,
    along: Axis,
    maps: tuple[Matrix, Matrix],
    origin: Pair,
    chunk: int,
    room: int,
    lanes: int,
    dtype: np.dtype[Any],
) -> Tiles:
    """The tables for images of a shape: tiles that begin at `origin` and go through a pair of maps, for rows and columns."""
    y, x = maps
    line, apart = ((along.tiles - 1) * along.step + len(x[0])) * chunk, distance(room * chunk, lanes)
    return Tiles(
        shape[0], shape[1], channels, shape[2], shape[3], down.tiles, along.tiles, down.step, along.step, len(y[0]), len(x[0]),
        origin[0] + down.first, origin[1] + along.first, chunk, -(-channels // chunk), len(y) * len(x), room, apart, lanes,
        Transpose(lanes, dtype.name).handle, Nested(y, x, lanes, dtype.name).handle,
        np.array([line, chunk, lanes]), np.array([len(x) * apart, apart, lanes]),
    )  # fmt: skip


def size_of_chunks(channels: int, lanes: int) -> int:
    """How many channels are summed in one run: whole vectors, few runs, few zeros."""
    vectors = -(-channels // lanes)
    return lanes * min(range(1, CHUNK // lanes + 1), key=lambda n: -(-vectors // n) * (n * lanes + 10))


def distance(numbers: int, lanes: int) -> int:
    """A distance between points: a power of two would put all of them into the same few places of a cache."""
    return numbers + lanes


def vectors_for(outputs: int, lanes: int) -> int:
    """How many vectors of the result are calculated together: as few zeros as may be, then two."""
    return min((2, 3, 1), key=lambda v: -(-outputs // (v * lanes)) * v * (1.1 if v == 1 else 1))
