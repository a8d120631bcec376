"""Convolution of stride 1 with images along a vector's lanes: the way for few channels and many images.

As many images as a vector has lanes are turned into (rows, channels, columns, images) by `images_in_lanes`. Neighbouring
pixels are then neighbouring vectors, wherever a row ends, and nothing is calculated beside the images: forward it is
`vector.Strip`, whose pixels are those of all images, by weight `vector.Dots`, by input `lanes.Scatter`. What is paid is the
turning, some five cycles for a vector each way.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import get_num_threads, interpreted, kernel, prange
from minigrad.kernels.frames import Array, Geometry, room_for
from minigrad.kernels.images_in_lanes import (
    Plan,
    blocks_of,
    cuts_of,
    into_lanes,
    shares_of,
    squares_of,
    sums_of,
)
from minigrad.kernels.lanes import Fold, Scatter, Turn
from minigrad.kernels.program import Step, Tables, handles_of
from minigrad.kernels.vector import Dots, Strip, machine_lanes, registers, run

__all__ = ["by_input", "by_weight", "forward"]

Shape = tuple[int, ...]
Type = np.dtype[Any]

#: So many products are added up lane by lane before lanes are summed, and these sums one to the other.
_CHUNK = 2048
#: So many vectors are set to zero at a time.
_CLEARED = 8


def forward(out: Array, x: Array, w: Array, bias: Array | None, geometry: Geometry) -> None:
    """Cross-correlation: ``out[n, f] = bias[f] + sum over c, r, s of w[f, c, r, s] * x[n, c, y + r, x + s]``."""
    plan = _forward_plan(x.shape, w.shape, out.shape, geometry, _lanes(out), out.dtype, get_num_threads(), interpreted())
    plan.run(out, x, np.ascontiguousarray(w), np.zeros(len(w), out.dtype) if bias is None else np.ascontiguousarray(bias))


def by_input(dx: Array, g: Array, w: Array, geometry: Geometry) -> None:
    """The derivative by the input: each cotangent spread over the window that it came from."""
    plan = _input_plan(dx.shape, w.shape, g.shape, geometry, _lanes(dx), dx.dtype, get_num_threads(), interpreted())
    plan.run(dx, g, np.ascontiguousarray(w), np.zeros(0, dx.dtype))


def by_weight(dw: Array, g: Array, x: Array, geometry: Geometry) -> None:
    """The derivative by the weight: each thread sums over its images lane by lane, then lanes and threads are added in turn."""
    plan = _weight_plan(x.shape, dw.shape, g.shape, geometry, _lanes(dw), dw.dtype, get_num_threads())
    room = room_for((len(plan.parts) - 1, int(plan.cuts[-1])), dw.dtype)
    micro = (each.handle for each in plan.micro)
    _by_weight(dw.reshape(-1), g.reshape(-1), x.reshape(-1), room, plan.cuts, plan.parts, *plan.tables, *micro)


def _lanes(array: Array) -> int:
    return machine_lanes() * 4 // int(array.dtype.itemsize)


def _cost(a: int, b: int, rounds: int) -> float:
    """Cycles: a multiply-add each, or a load, whichever is more, and two for the loop."""
    return rounds * (max(a * b, a + b) + 2)


# ------------------------------------------------------------------------------------------------ forward


@functools.lru_cache(maxsize=256)
def _forward_plan(
    x: Shape, w: Shape, out: Shape, geometry: Geometry, lanes: int, dtype: Type, threads: int, plain: bool
) -> Plan:
    """`plain` says whether micro-kernels are Python, which their handles are then."""
    _, (py, px), (dy, dx), groups = geometry
    batch, channels, height, width = x
    filters, (own, r, s), (ho, wo) = w[0] // groups, w[1:], out[2:]
    line = (width + 2 * px) * lanes  # of one channel; rows of all channels follow one another
    some, columns = min(
        ((a, b) for a in range(1, filters + 1) for b in range(1, wo + 1) if a * b + b <= registers() - 3 or a == b == 1),
        key=lambda n: _cost(n[0], n[1], -(-filters // n[0]) * -(-wo // n[1])),
    )
    firsts = np.array([group * filters + first for group in range(groups) for first in blocks_of(filters, some)])
    plane, pixels, taps = ho * wo, channels * height * width, own * r * s
    parts, ranges = shares_of(batch, lanes, threads, len(firsts), math.prod(out) * taps, some * plane)
    places = sums_of((line, channels), (channels * line, height), (lanes, width), first=(py * channels * line + px * lanes))
    into = squares_of([(0, pixels)], places, lanes)
    squares = [(firsts[a] * plane, (firsts[b - 1] + some) * plane) for a, b in ranges]
    back = squares_of(squares, sums_of((lanes, out[1] * plane)), lanes)
    cuts = cuts_of(
        (height + 2 * py) * channels * line + lanes, (out[1] * plane + 1) * lanes, len(firsts) * taps * some, 0,
        back.places.size, lanes * max(pixels, out[1] * plane, lanes),
    )  # fmt: skip
    made, weights = map(int, cuts[1:3])
    tables = Tables()
    inner = tables.place(*sums_of((dy * channels * line, r), (line, own), (dx * lanes, s)))
    lines = [tables.place(*((first + np.arange(some)) * plane * lanes)) for first in firsts]
    steps = [
        Step(
            0, made + at * lanes, job // (len(firsts) // groups) * own * line + at * lanes, inner, taps, lines[job],
            weights + job * taps * some, to_again=wo * lanes, source_again=channels * line,
        )
        for a, b in ranges for at in blocks_of(wo, columns) for job in range(a, b)
    ]  # fmt: skip
    ends = len(blocks_of(wo, columns)) * np.array(ranges)
    gather = np.arange(math.prod(w)).reshape(w)[firsts[:, None] + np.arange(some)].transpose(0, 3, 2, 4, 1)
    return Plan(
        cuts, parts, np.array([batch, pixels, out[1] * plane, plane, lanes]), made, gather.reshape(-1),
        handles_of([Strip(some, columns, lanes, dtype.name)]), tables.array(), np.array(steps),
        np.array([[[*span, ho]] for span in ends]), *into[:2], *back,
        Turn(False, lanes, dtype.name).handle, Turn(True, lanes, dtype.name).handle,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ by input


@functools.lru_cache(maxsize=256)
def _input_plan(x: Shape, w: Shape, g: Shape, geometry: Geometry, lanes: int, dtype: Type, threads: int, plain: bool) -> Plan:
    _, (py, px), (dy, dx), groups = geometry
    batch, channels, height, width = x
    filters, (own, r, s), (ho, wo) = w[0] // groups, w[1:], g[2:]
    row, line = (width + 2 * px) * lanes, g[1] * wo * lanes
    columns, taps = min(
        (
            (a, b)
            for a in range(1, wo + 1)
            for b in range(1, s + 1)
            if s % b == 0 and (a + (b - 1) * dx + b <= registers() - 2 or a == b == 1)
        ),
        key=lambda n: _cost(n[0], n[1], -(-wo // n[0]) * (s // n[1])),
    )
    columns = -(-wo // -(-wo // columns))
    parts, ranges = shares_of(batch, lanes, threads, channels, math.prod(g) * own * r * s, height * width)
    into = squares_of([(0, g[1] * ho * wo)], sums_of((wo * lanes, g[1]), (line, ho), (lanes, wo)), lanes)
    plane = height * width
    places = sums_of((height * row, channels), (row, height), (lanes, width), first=px * lanes)
    back = squares_of([(a * plane, b * plane) for a, b in ranges], places, lanes)
    cuts = cuts_of(
        (math.prod(g[1:]) + 1) * lanes, channels * height * row + lanes, math.prod(w), 0, 0,
        lanes * max(channels * plane, math.prod(g[1:]), lanes),
    )  # fmt: skip
    made, weights = map(int, cuts[1:3])
    tables = Tables()
    inner = tables.place(*sums_of((-dy * line, r), (wo * lanes, filters)))
    last, cleared = wo - (-(-wo // columns) - 1) * columns, min(_CLEARED, row // lanes)
    ways = [Scatter(columns, taps, dx, lanes, dtype.name), Scatter(last, taps, dx, lanes, dtype.name)]

    def steps_of(y: int, times: int, c: int) -> list[Step]:
        """One row of a channel: every row of the cotangent that reaches it, each column spread over a window's row."""
        to = made + (c * height + y) * row
        steps = [Step(2, to + at * lanes, 0, 0, 0, tables.place(0), to_again=row) for at in blocks_of(row // lanes, cleared)]
        first, end = _reached(y, py, dy, ho, r)
        if first >= end:
            return steps
        for t, at in itertools.product(range(s // taps), range(0, wo, columns)):
            source = (y + py) * line + c // own * filters * wo * lanes + at * lanes
            factors = weights + ((c * (s // taps) + t) * r + first) * filters * taps
            steps.append(
                Step(
                    int(at + columns > wo), to + at * lanes + t * taps * dx * lanes, source, inner + first * filters,
                    (end - first) * filters, inner, factors, row, line,
                )
            )  # fmt: skip
        return steps

    steps: list[Step] = []
    spans: list[list[int]] = []
    for a, b in ranges:
        for _, rows in itertools.groupby(range(height), key=lambda y: _reached(y, py, dy, ho, r)):
            first, *others = rows
            more = [step for c in range(a, b) for step in steps_of(first, 1 + len(others), c)]
            spans.append([len(steps), len(steps) + len(more), 1 + len(others)])
            steps += more
    turn = Turn(False, lanes, dtype.name).handle
    gather = np.arange(math.prod(w)).reshape(groups, filters, own, r, s // taps, taps).transpose(0, 2, 4, 3, 1, 5)
    return Plan(
        cuts, parts, np.array([batch, math.prod(g[1:]), channels * plane, plane, lanes]), 0, gather.reshape(-1),
        handles_of([*ways, Strip(1, cleared, lanes, dtype.name)]), tables.array(), np.array(steps),
        np.array(spans).reshape(len(ranges), -1, 3), *into[:2], *back, turn, turn,
    )  # fmt: skip


def _reached(y: int, padding: int, dilation: int, height: int, rows: int) -> tuple[int, int]:
    """Which rows of a window reach a row of the image from within the cotangent; none if the first is not before the end."""
    return max(0, (y + padding - height + dilation) // dilation), min(rows, (y + padding) // dilation + 1)


# ------------------------------------------------------------------------------------------------ by weight


class _Sums(NamedTuple):
    """As `Plan`; what is made is no image."""

    cuts: Array
    parts: Array
    tables: tuple[Array, ...]
    micro: tuple[Any, ...]


@functools.lru_cache(maxsize=256)
def _weight_plan(x: Shape, w: Shape, g: Shape, geometry: Geometry, lanes: int, dtype: Type, threads: int) -> _Sums:
    _, (py, px), (dy, dx), groups = geometry
    batch, channels, height, width = x
    filters, (own, r, s), (ho, wo) = w[0] // groups, w[1:], g[2:]
    line = (width + 2 * px) * lanes
    some, together = min(
        (
            (a, b)
            for a in range(1, filters + 1)
            for b in range(1, own * r * s + 1)
            if a * b + b <= registers() - 3 or a == b == 1
        ),
        key=lambda n: _cost(n[0], n[1], -(-filters // n[0]) * -(-own * r * s // n[1])),
    )
    taps = sums_of((line, own), (dy * channels * line, r), (dx * lanes, s))
    jobs = [(n, f, t) for n in range(groups) for f in blocks_of(filters, some) for t in blocks_of(len(taps), together)]
    rows = np.array(
        [
            [*(taps[t : t + together] + n * own * line), *((n * filters + f + np.arange(some)) * ho * wo * lanes)]
            for n, f, t in jobs
        ]
    )
    inner = np.stack([sums_of((channels * line, ho), (lanes, wo)), sums_of((wo * lanes, ho), (lanes, wo))], axis=-1)
    parts, ranges = shares_of(batch, lanes, threads, len(jobs), math.prod(g) * len(taps), lanes)
    places = sums_of((line, channels), (channels * line, height), (lanes, width), first=py * channels * line + px * lanes)
    into = squares_of([(0, len(places))], places, lanes)
    other = squares_of([(0, math.prod(g[1:]))], sums_of((lanes, math.prod(g[1:]))), lanes)
    total = -(-len(jobs) * some * together // lanes) * lanes
    cuts = cuts_of(
        (height + 2 * py) * channels * line + lanes,
        (math.prod(g[1:]) + 1) * lanes,
        total * lanes,
        total,
        total,
        lanes * max(len(places), math.prod(g[1:]), lanes),
    )
    flush = max(1, _CHUNK // (ho * wo))
    sizes = np.array([batch, len(places), math.prod(g[1:]), lanes, some, together, len(taps), flush * len(ranges)])
    firsts = np.array([[n * filters + f, t] for n, f, t in jobs])
    micro = Dots(some, together, lanes, dtype.name), Turn(False, lanes, dtype.name), Fold(lanes, dtype.name)
    return _Sums(cuts, parts, (sizes, np.array(ranges), inner.reshape(-1), rows, firsts, *into[:2], *other[:2]), micro)


@kernel(parallel=True, work=3)
def _by_weight(dw, g, x, room, cuts, parts, sizes, jobs, inner, rows, firsts, xi, xp, gi, gp, dots, turn, fold):  # type: ignore[no-untyped-def]
    """``dw`` (F, C / groups, R, S) from ``g`` (N, F, Ho, Wo) and ``x`` (N, C, H, W)."""
    for part in prange(len(parts) - 1):
        share = np.int64(part)
        own, span = room[share], parts[share : share + 2]
        _sum_of_share(g, x, own, cuts, span, sizes, jobs, inner, rows, xi, xp, gi, gp, dots, turn, fold)
    some, together, taps = sizes[4], sizes[5], sizes[6]
    for job in range(len(firsts)):
        for f in range(some):
            for t in range(together):
                total = room[0, cuts[3] + (job * some + f) * together + t]
                for part in range(1, len(parts) - 1):
                    total += room[part, cuts[3] + (job * some + f) * together + t]
                dw[(firsts[job, 0] + f) * taps + firsts[job, 1] + t] = total


@kernel
def _sum_of_share(g, x, own, cuts, span, sizes, jobs, inner, rows, xi, xp, gi, gp, dots, turn, fold):  # type: ignore[no-untyped-def]
    batch, x_pixels, g_pixels, lanes, often = sizes[0], sizes[1], sizes[2], sizes[3], sizes[7]
    frame, cotangent, sums = own[: cuts[1]], own[cuts[1] : cuts[2]], own[cuts[2] : cuts[3]]
    total, folded, spare = own[cuts[3] : cuts[4]], own[cuts[4] : cuts[5]], own[cuts[5] :]
    each = sizes[4] * sizes[5] * lanes
    frame[:] = 0
    sums[:] = 0
    total[:] = 0
    inside, since = -1, 0
    for unit in range(span[0], span[1]):
        n, piece = unit // len(jobs) * lanes, unit % len(jobs)
        if n != inside:
            into_lanes(frame, x, n, batch, x_pixels, xi, xp, spare, turn)
            into_lanes(cotangent, g, n, batch, g_pixels, gi, gp, spare, turn)
            inside = n
        for job in range(jobs[piece, 0], jobs[piece, 1]):
            run(dots, sums[job * each : (job + 1) * each], frame, 0, inner, len(inner) // 2, rows[job], cotangent)
        since += 1
        if since == often or unit == span[1] - 1:
            run(fold, folded, sums, 0, inner, len(sums) // (lanes * lanes), inner, sums)
            for i in range(len(total)):
                total[i] += folded[i]
            sums[:] = 0
            since = 0
