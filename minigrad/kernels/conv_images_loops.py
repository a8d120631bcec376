"""The loops of `conv_images`, which says what lies where: for each block of images into lanes, micro-kernels, out of lanes."""

from __future__ import annotations

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.vector import run

__all__ = ["by_input", "by_weight", "forward"]


@kernel
def _into_lanes(frame, source, n, batch, pixels, images, places, spare, turn):  # type: ignore[no-untyped-def]
    """Images from the n-th on, as many as there are lanes; zeros for those that there are not."""
    lanes = images.shape[1]
    if n + lanes <= batch and pixels >= lanes:
        run(turn, frame, source, n * pixels, images, len(images), places, frame)
        return
    apart = max(pixels, lanes)
    spare[:] = 0
    for i in range(min(lanes, batch - n)):
        for p in range(pixels):
            spare[i * apart + p] = source[(n + i) * pixels + p]
    run(turn, frame, spare, 0, images, len(images), places, frame)


@kernel
def _out_of_lanes(out, made, n, batch, pixels, images, places, spare, turn, plus):  # type: ignore[no-untyped-def]
    """Back to images from the n-th on, for the pixels of the squares that are given; numbers are added to them."""
    lanes = images.shape[1]
    if n + lanes <= batch and pixels >= lanes:
        run(turn, out[n * pixels :], made, 0, places, len(images), images, plus)
        return
    apart = max(pixels, lanes)
    run(turn, spare, made, 0, places, len(images), images, plus)
    for i in range(min(lanes, batch - n)):
        for p in range(images[0, 0], min(pixels, images[len(images) - 1, 0] + lanes)):
            out[(n + i) * pixels + p] = spare[i * apart + p]


# ------------------------------------------------------------------------------------------------ forward


@kernel(parallel=True, work=4)
def forward(out, x, w, bias, room, cuts, parts, sizes, jobs, inner, firsts, lines, xi, xp, oi, op, ends, strip, turn, back):  # type: ignore[no-untyped-def]
    """``out`` (N, F, Ho, Wo) from ``x`` (N, C, H, W), ``w`` (F, C / groups, R, S) and ``bias`` (F,)."""
    for part in prange(len(parts) - 1):
        share = np.int64(part)
        own, span = room[share], parts[share : share + 2]
        _forward(
            out, x, w, bias, own, cuts, span, sizes, jobs, inner, firsts, lines, xi, xp, oi, op, ends, strip, turn, back
        )  # fmt: skip


@kernel
def _forward(out, x, w, bias, own, cuts, span, sizes, jobs, inner, firsts, lines, xi, xp, oi, op, ends, strip, turn, back):  # type: ignore[no-untyped-def]
    batch, x_pixels, pixels, ho, wo = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    line, lanes, columns, blocks, group = sizes[5], sizes[6], sizes[7], sizes[8], sizes[9]
    frame, made, packed = own[: cuts[1]], own[cuts[1] : cuts[2]], own[cuts[2] : cuts[3]]
    plus, spare = own[cuts[3] : cuts[4]], own[cuts[4] :]
    taps, some = len(inner), lines.shape[1]
    _pack(packed, w, firsts, some)
    _biases(plus, bias, oi, ho * wo)
    frame[:] = 0
    inside = -1
    for unit in range(span[0], span[1]):
        n, piece = unit // len(jobs) * lanes, unit % len(jobs)
        if n != inside:
            _into_lanes(frame, x, n, batch, x_pixels, xi, xp, spare, turn)
            inside = n
        for y in range(ho):
            for column in range(0, wo, columns):
                at = min(column, wo - columns)  # the last piece of a row overlaps the one before it
                for job in range(jobs[piece, 0], jobs[piece, 1]):
                    start = y * line + at * lanes + job // blocks * group
                    weights = packed[job * taps * some : (job + 1) * taps * some]
                    run(strip, made[(y * wo + at) * lanes :], frame, start, inner, taps, lines[job], weights)
        a, b = ends[piece], ends[piece + 1]
        _out_of_lanes(out, made, n, batch, pixels, oi[a:b], op[a:b], spare, back, plus[a * lanes :])


@kernel
def _biases(plus, bias, images, plane):  # type: ignore[no-untyped-def]
    """For each pixel of each square, its filter's bias."""
    lanes = images.shape[1]
    f, end = -1, 0
    for k in range(len(images)):
        first, at = images[k, 0], 0
        while at < lanes:
            if first + at >= end and f + 1 < len(bias):
                f, end = f + 1, end + plane
                continue
            if first + at < end - plane:  # the next piece's squares begin before the last one's end
                f, end = f - 1, end - plane
                continue
            to = min(lanes, end - first) if f + 1 < len(bias) else lanes
            plus[k * lanes + at : k * lanes + to] = bias[f]
            at = to


@kernel
def _pack(packed, w, firsts, some):  # type: ignore[no-untyped-def]
    """(F, C, R, S) -> (blocks of filters, R, C, S, filters of a block)."""
    _, channels, height, width = w.shape
    numbers, each = w.reshape(-1), channels * height * width
    at = 0
    for job in range(len(firsts)):
        for r in range(height):
            for c in range(channels):
                for s in range(width):
                    tap = firsts[job] * each + (c * height + r) * width + s
                    for f in range(some):
                        packed[at + f] = numbers[tap + f * each]
                    at += some


# ------------------------------------------------------------------------------------------------ by input


@kernel(parallel=True, work=3)
def by_input(dx, g, w, room, cuts, parts, sizes, jobs, inner, gi, gp, oi, op, ends, scatter, last, turn):  # type: ignore[no-untyped-def]
    """``dx`` (N, C, H, W) from ``g`` (N, F, Ho, Wo) and ``w`` (F, C / groups, R, S)."""
    for part in prange(len(parts) - 1):
        share = np.int64(part)
        own, span = room[share], parts[share : share + 2]
        _by_input(dx, g, w, own, cuts, span, sizes, jobs, inner, gi, gp, oi, op, ends, scatter, last, turn)


@kernel
def _by_input(dx, g, w, own, cuts, span, sizes, jobs, inner, gi, gp, oi, op, ends, scatter, last, turn):  # type: ignore[no-untyped-def]
    batch, g_pixels, pixels, height, lanes = sizes[0], sizes[1], sizes[2], sizes[3], sizes[8]
    packed, spare = own[cuts[2] : cuts[3]], own[cuts[3] :]
    cotangent, made = own[: cuts[1]], own[cuts[1] : cuts[2]]
    _pack_turned(packed, w, len(inner) // w.shape[2], sizes[12])
    inside = -1
    for unit in range(span[0], span[1]):
        n, piece = unit // len(jobs) * lanes, unit % len(jobs)
        if n != inside:
            _into_lanes(cotangent, g, n, batch, g_pixels, gi, gp, spare, turn)
            inside = n
        for y in range(height):
            _input_row(made, cotangent, packed, w.shape, y, jobs[piece], sizes, inner, scatter, last)
        a, b = ends[piece], ends[piece + 1]
        _out_of_lanes(dx, made, n, batch, pixels, oi[a:b], op[a:b], spare, turn, spare)


@kernel
def _input_row(made, cotangent, packed, shape, y, jobs, sizes, inner, scatter, last):  # type: ignore[no-untyped-def]
    """One row of some channels: every row of the cotangent that reaches it, each column spread over a window's row."""
    height, row, ho, wo, line, lanes = sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8]
    py, dy, columns, taps, step, group = sizes[9], sizes[10], sizes[11], sizes[12], sizes[13], sizes[14]
    filters, rows = len(inner) // shape[2], shape[2]
    first, end = max(0, (y + py - ho + dy) // dy), min(rows, (y + py) // dy + 1)
    for c in range(jobs[0], jobs[1]):
        to = (c * height + y) * row
        made[to : to + row] = 0
        if first >= end:
            continue
        for t in range(shape[3] // taps):
            weights = packed[((c * (shape[3] // taps) + t) * rows + first) * filters * taps :]
            for at in range(0, wo, columns):
                start = (y + py) * line + c // shape[1] * group + at * lanes
                way = scatter if at + columns <= wo else last
                begin = inner[first * filters :]
                run(
                    way,
                    made[to + at * lanes + t * taps * step :],
                    cotangent,
                    start,
                    begin,
                    (end - first) * filters,
                    inner,
                    weights,
                )


@kernel
def _pack_turned(packed, w, filters, taps):  # type: ignore[no-untyped-def]
    """(F, C / groups, R, S) -> (C, parts of S, R, F / groups, taps of a part)."""
    total, channels, height, width = w.shape
    numbers = w.reshape(-1)
    at = 0
    for group in range(total // filters):
        for c in range(channels):
            for piece in range(width // taps):
                for r in range(height):
                    for f in range(filters):
                        line = (((group * filters + f) * channels + c) * height + r) * width + piece * taps
                        for s in range(taps):
                            packed[at + s] = numbers[line + s]
                        at += taps


# ------------------------------------------------------------------------------------------------ by weight


@kernel(parallel=True, work=3)
def by_weight(dw, g, x, room, cuts, parts, sizes, jobs, inner, rows, firsts, xi, xp, gi, gp, dots, turn, fold):  # type: ignore[no-untyped-def]
    """``dw`` (F, C / groups, R, S) from ``g`` (N, F, Ho, Wo) and ``x`` (N, C, H, W)."""
    for part in prange(len(parts) - 1):
        share = np.int64(part)
        own, span = room[share], parts[share : share + 2]
        _by_weight(g, x, own, cuts, span, sizes, jobs, inner, rows, xi, xp, gi, gp, dots, turn, fold)
    some, together, taps = sizes[4], sizes[5], sizes[6]
    for job in range(len(firsts)):
        for f in range(some):
            for t in range(together):
                total = room[0, cuts[3] + (job * some + f) * together + t]
                for part in range(1, len(parts) - 1):
                    total += room[part, cuts[3] + (job * some + f) * together + t]
                dw[(firsts[job, 0] + f) * taps + firsts[job, 1] + t] = total


@kernel
def _by_weight(g, x, own, cuts, span, sizes, jobs, inner, rows, xi, xp, gi, gp, dots, turn, fold):  # type: ignore[no-untyped-def]
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
            _into_lanes(frame, x, n, batch, x_pixels, xi, xp, spare, turn)
            _into_lanes(cotangent, g, n, batch, g_pixels, gi, gp, spare, turn)
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
