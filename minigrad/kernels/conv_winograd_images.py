"""Winograd's convolution with images along a vector's lanes: the way for few channels and many images.

Where channels are few, those of `conv_winograd` would leave lanes empty. Here images lie along the lanes as in `conv_images`:
no number is turned between a transform and the products, and every step adds or multiplies whole vectors.

    a row of tiles     image -> lines       the transform of columns, for whole lines of all channels
    a tile, its row r  lines -> points      the transform of rows
                       points -> sums       products, summed over channels, and the way back from a row's points
    a tile             sums -> result       the way back from the columns' points

So what lies between two steps is small: a tile's sums take some 40 KB. All of it is a program for micro-kernels (`program`),
one for each kind of a row of tiles, over a thread's own memory. The window's points (100 KB at LeNet's second layer) are made
by each thread; threads share out blocks of images, and where these are few, the planes of the result.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted
from minigrad.kernels.frames import Array, Geometry
from minigrad.kernels.images_in_lanes import Plan, blocks_of, cuts_of, shares_of, squares_of, sums_of
from minigrad.kernels.lanes import Turn
from minigrad.kernels.program import Step, Tables, handles_of
from minigrad.kernels.vector import machine_lanes, registers
from minigrad.kernels.vector_nested import Mixing, Nested
from minigrad.kernels.winograd_matrices import Matrix, Transforms, transforms
from minigrad.kernels.winograd_tiles import Axis, tiling

__all__ = ["forward"]

Shape = tuple[int, ...]
Type = np.dtype[Any]

#: The matrix that changes nothing.
_ONE = transforms(1, 1).taps


def forward(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> bool:
    """Cross-correlation, as `conv_direct.forward`; whether the result is finite, without which it may not be right."""
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    given = np.zeros(len(w), out.dtype) if bias is None else np.ascontiguousarray(bias)
    lanes = machine_lanes() * 4 // out.itemsize
    plan = _plan(out.shape, x.shape, w.shape, geometry, lanes, out.dtype, get_num_threads(), interpreted())
    return plan.run(out, x, w, given)


# ------------------------------------------------------------------------------------------------ what follows from shapes


class _Kind(NamedTuple):
    """Tiles of one size along an axis."""

    axis: Axis
    maps: Transforms

    @property
    def reach(self) -> int:
        """How far they see."""
        return self.axis.first + (self.axis.tiles - 1) * self.axis.step + len(self.maps.inputs[0])

    @classmethod
    def along(cls, length: int, taps: int) -> list[_Kind]:
        """Those that cover it."""
        return [cls(axis, transforms(axis.step, taps)) for axis in tiling(length, taps)]


@functools.lru_cache(maxsize=256)
def _plan(out: Shape, x: Shape, w: Shape, geometry: Geometry, lanes: int, dtype: Type, threads: int, plain: bool) -> Plan:
    """`plain` says whether micro-kernels are Python, which their handles are then."""
    _, (top, left), _, groups = geometry
    rows, columns = (_Kind.along(n, r) for n, r in zip(out[2:], w[2:], strict=True))
    height, width = (
        max(n + 2 * padding, max(kind.reach for kind in kinds))
        for n, padding, kinds in zip(x[2:], (top, left), (rows, columns), strict=True)
    )
    outputs, plane, line = w[0] // groups, math.prod(out[2:]), x[1] * width * lanes
    together = min(max(1, (registers() - 3) // max(kind.maps.products for kind in columns)), outputs)
    firsts = [(g, f) for g in range(groups) for f in blocks_of(outputs, together)]
    points = [sum(kind.axis.tiles * kind.maps.products for kind in kinds) for kinds in (rows, columns)]
    macs = math.prod((x[0], w[0], w[1], *points))
    parts, ranges = shares_of(x[0], lanes, threads, len(firsts), macs, together * plane)
    begins = [g * outputs + f for g, f in firsts]
    first = (top * x[1] * width + left) * lanes
    images = squares_of(
        [(0, math.prod(x[1:]))], sums_of((width * lanes, x[1]), (line, x[2]), (lanes, x[3]), first=first), lanes
    )
    made = [(begins[a] * plane, (begins[b - 1] + together) * plane) for a, b in ranges]
    results = squares_of(made, _places(rows, columns, out, groups) * lanes, lanes)
    program = _Program(rows, columns, x[1] // groups, outputs, groups, width, together, lanes, dtype.name, w[2:])
    cuts = cuts_of(
        height * line + lanes,
        (math.prod(sum(k.axis.step * k.axis.tiles for k in kinds) for kinds in (rows, columns)) * out[1] + 1) * lanes,
        groups * math.prod(w[2:]) * program.point,
        groups * program.points + program.work,
        results.places.size,
        lanes * max(math.prod(x[1:]), out[1] * plane, lanes),
    )
    steps, spans = program.write([firsts[a:b] for a, b in ranges], cuts)
    gather = np.full((groups, math.prod(w[2:]), w[1], program.pitch), -1)
    gather[..., :outputs] = np.arange(math.prod(w)).reshape(groups, outputs, w[1], -1).transpose(0, 3, 2, 1)
    return Plan(
        cuts, parts, np.array([x[0], math.prod(x[1:]), out[1] * plane, plane, lanes]), int(cuts[2]), gather.reshape(-1),
        handles_of(program.ways), program.tables.array(), steps, spans, *images[:2], *results,
        Turn(False, lanes, dtype.name).handle, Turn(True, lanes, dtype.name).handle,
    )  # fmt: skip


def _places(rows: list[_Kind], columns: list[_Kind], out: Shape, groups: int) -> Array:
    """Where each number of the result is made: tile by tile, group by group, in rows of all planes' columns."""
    places, outputs = np.empty(out[1:], np.int64), out[1] // groups
    at = 0
    for (first_y, step_y, tiles_y), _ in rows:
        for top in range(first_y, first_y + step_y * tiles_y, step_y):
            for (first_x, step_x, tiles_x), _ in columns:
                for left in range(first_x, first_x + step_x * tiles_x, step_x):
                    for group in range(groups):
                        made = np.arange(at, at + step_y * outputs * step_x).reshape(step_y, outputs, step_x)
                        to = places[group * outputs : (group + 1) * outputs, top : top + step_y, left : left + step_x]
                        to[...] = made.swapaxes(0, 1)[:, : to.shape[1], : to.shape[2]]
                        at += made.size
    return places.reshape(-1)


class _Program:
    """Writes the steps; all lengths are numbers of a thread's memory."""

    def __init__(
        self,
        rows: list[_Kind],
        columns: list[_Kind],
        channels: int,  # of a group
        outputs: int,
        groups: int,
        width: int,  # of a line in the frame
        together: int,  # planes of the result in a block
        lanes: int,
        dtype: str,
        window: Shape,
    ) -> None:
        self.rows, self.columns, self.channels, self.outputs, self.groups = rows, columns, channels, outputs, groups
        self.width, self.together, self.lanes, self.dtype, self.window = width, together, lanes, dtype, window
        self.pitch = -(-outputs // lanes) * lanes
        self.point = channels * self.pitch  # all weights of a point
        self.line = groups * channels * width * lanes
        self.points = sum(a.maps.products * b.maps.products for a in rows for b in columns) * self.point
        self.ways: list[Any] = []
        self.tables = Tables()
        most = max(kind.maps.products for kind in rows)
        row = max(kind.axis.step for kind in columns) * outputs * lanes
        self.work = max(
            most * (self.line + row) + channels * max(kind.maps.products for kind in columns) * lanes,
            self.point * most * window[1],
        )

    def write(self, pieces: list[list[tuple[int, int]]], cuts: Array) -> tuple[Array, Array]:
        """All steps, and for each piece of the planes and each kind of rows of tiles their span, and how often they run."""
        self.frame, self.made, self.weights, self.windows = map(int, cuts[:4])
        self.scratch = self.windows + self.groups * self.points
        steps, spans = self._all_windows(), []
        for blocks in pieces:
            made = self.made
            for i, kind in enumerate(self.rows):
                more, each = self._row_of_tiles(i, made, blocks)
                spans.append([len(steps), len(steps) + len(more), kind.axis.tiles])
                steps += more
                made += each * kind.axis.tiles
        return np.array(steps, np.int64), np.array(spans).reshape(len(pieces), len(self.rows), 3)

    def _way(self, kernel: Any) -> int:
        if kernel not in self.ways:
            self.ways.append(kernel)
        return self.ways.index(kernel)

    def _map(self, matrix: Matrix, to: int, source: int, apart: tuple[int, int], count: int, vectors: tuple[int, int]) -> Step:
        """A matrix for `count` columns of vectors; how far apart rows and columns lie here and there."""
        way = self._way(Nested(matrix, _ONE, self.lanes, self.dtype))
        inner, rows = (self.tables.place(step, 0, vector) for step, vector in zip(apart, vectors, strict=True))
        return Step(way, to, source, inner, count, rows)

    def _start(self, i: int, j: int) -> int:
        """Where a kind's points begin in a group's."""
        kinds = [a.maps.products * b.maps.products for a in self.rows for b in self.columns]
        return self.windows + sum(kinds[: i * len(self.columns) + j]) * self.point

    def _all_windows(self) -> list[Step]:
        """(taps, channels, planes) -> for each kind of tile (rows of points, points of a row, channels, planes)."""
        steps, (height, width), near = [], self.window, (self.lanes, self.lanes)
        row = width * self.point
        for group, (i, down) in itertools.product(range(self.groups), enumerate(self.rows)):
            taps = self.weights + group * height * row
            steps.append(self._map(down.maps.taps, self.scratch, taps, (row, row), row // self.lanes, near))
            for r, (j, along) in itertools.product(range(down.maps.products), enumerate(self.columns)):
                to = group * self.points + self._start(i, j) + r * along.maps.products * self.point
                count = self.point // self.lanes
                steps.append(self._map(along.maps.taps, to, self.scratch + r * row, (self.point, self.point), count, near))
        return steps

    def _row_of_tiles(self, i: int, made: int, blocks: list[tuple[int, int]]) -> tuple[list[Step], int]:
        """For some blocks of planes, and how many numbers a row of tiles has."""
        (first, step, _), maps = self.rows[i]
        at, count = self.frame + first * self.line, self.line // self.lanes
        lines = self._map(maps.inputs, self.scratch, at, (self.line, self.line), count, (self.lanes, self.lanes))
        steps = [lines._replace(source_again=step * self.line)]
        each, own = 0, [[f for g, f in blocks if g == group] for group in range(self.groups)]
        for j, kind in enumerate(self.columns):
            for tile, group in itertools.product(range(kind.axis.tiles), range(self.groups)):
                if own[group]:
                    steps += self._tile(i, j, tile, group, own[group], made + each)
                each += step * self.outputs * kind.axis.step * self.lanes
        return [s._replace(to_again=each) if self.made <= s.to < self.weights else s for s in steps], each

    def _tile(self, i: int, j: int, tile: int, group: int, firsts: list[int], made: int) -> list[Step]:
        """One tile of some planes: (rows, planes, columns) of the result."""
        (first, step, _), maps = self.columns[j]
        down, lanes = self.rows[i].maps, self.lanes
        row = self.outputs * step * lanes
        sums = self.scratch + down.products * self.line
        points = sums + down.products * row
        mixing = self._way(Mixing(maps.outputs, self.together, self.pitch, self.point, lanes, self.dtype))
        shape, blocks = self.tables.place(self.channels, step * lanes), self.tables.place(*firsts)
        steps = []
        for r in range(down.products):
            at = self.scratch + ((r * self.groups + group) * self.channels * self.width + first + tile * step) * lanes
            ahead = self.width * lanes, maps.products * lanes
            steps.append(self._map(maps.inputs, points, at, (lanes, lanes), self.channels, ahead))
            own = group * self.points + self._start(i, j) + r * maps.products * self.point
            steps.append(Step(mixing, sums + r * row, points, shape, len(firsts), blocks, own))
        begin, end = firsts[0] * step, (firsts[-1] + self.together) * step
        to, at, near = made + begin * lanes, sums + begin * lanes, (lanes, lanes)
        return [*steps, self._map(down.outputs, to, at, (row, row), end - begin, near)]
