"""Blocks of images along a vector's lanes: how they come in and out, what is done in between, and who does it.

As many images as a vector has lanes are turned into rows of vectors. What then happens with a block is a program for
micro-kernels (`program`) over a thread's own memory, that a `Plan` has from the shapes alone: so there is one kernel for all
convolutions and derivatives that give images, `conv_images` and `conv_winograd_images`. Lanes that no image fills at the end
of a batch hold zeros.

Threads share out blocks of images, and where there are too few of these, the planes of each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from minigrad.jit import kernel, prange
from minigrad.kernels.frames import Array, not_finite, room_for
from minigrad.kernels.program import perform
from minigrad.kernels.vector import run

__all__ = [
    "Plan",
    "blocks_of",
    "cuts_of",
    "into_lanes",
    "shares_of",
    "squares_of",
    "sums_of",
]

#: A second thread is woken for so many multiply-adds.
_SHARED_FROM = 1 << 20
#: Memory of threads begins at multiples of so many bytes: a cache line, and the widest vector.
_ALIGNED = 64


class Plan(NamedTuple):
    """What follows from the shapes alone."""

    cuts: Array  # of a thread's memory: the image in its frame, what is made of it, weights, room for work, biases, spare room
    parts: Array  # where each thread's units begin: pieces of blocks of images
    sizes: Array  # images, pixels of each and of its result, and of a plane of it, lanes
    zeros: int  # so many numbers of the memory are 0 at first
    gather: Array  # the weights in the order in which they are read: which one, or -1 for a zero
    ways: Array  # the program: micro-kernels, small tables, all steps
    tables: Array
    steps: Array
    spans: Array  # of each piece and part of it the first step, the end, and how often they run; before them, steps run once
    images: Array  # squares that bring images into lanes, and the result out of them
    places: Array
    out_images: Array
    out_places: Array
    ends: Array
    turn: Any
    back: Any

    def run(self, out: Array, x: Array, w: Array, bias: Array) -> bool:
        """All arrays in row order; a bias for each plane of the result or none at all. Whether what was made is finite."""
        room, doubt = room_for((len(self.parts) - 1, int(self.cuts[-1])), out.dtype), np.zeros(len(self.parts) - 1, out.dtype)
        _convolve(out.reshape(-1), x.reshape(-1), w.reshape(-1), bias, room, doubt, *self)
        return bool(np.isfinite(doubt).all())


# ------------------------------------------------------------------------------------------------ what lies where


def cuts_of(*sizes: int) -> Array:
    """Where pieces of memory of so many numbers begin, and where the last one ends."""
    return np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)])


class _Shares(NamedTuple):
    """Who does what: where each thread's units begin and end, and which of the jobs each piece of a block of images does."""

    parts: Array
    ranges: list[tuple[int, int]]


def shares_of(batch: int, lanes: int, threads: int, jobs: int, macs: int, pixels: int) -> _Shares:
    """For so many jobs, each of which makes so many pixels: at least as many as there are lanes belong together."""
    blocks = -(-batch // lanes)
    threads = threads if macs >= _SHARED_FROM else 1
    pieces = 1 if blocks % threads == 0 or blocks >= 4 * threads or pixels < lanes else min(threads, jobs)
    units = blocks * pieces
    threads = min(threads, units)
    cuts = [jobs * i // pieces for i in range(pieces + 1)]
    return _Shares(np.array([units * i // threads for i in range(threads + 1)]), list(itertools.pairwise(cuts)))


class _Squares(NamedTuple):
    """How pixels become vectors, lanes x lanes numbers at a time; `ends` tells the squares of each piece of the work."""

    images: Array  # where the pixels of each image begin
    places: Array  # and where the vector of each pixel lies
    ends: Array


def squares_of(ranges: Iterable[tuple[int, int]], places: Array, lanes: int) -> _Squares:
    """Squares for ranges of an image's pixels; the last of a range overlaps the one before it.

    An image of fewer pixels than lanes is taken as if it had so many: what does not exist has a place behind all others.
    """
    apart = max(len(places), lanes)
    firsts = [np.minimum(np.arange(a, b, lanes), max(b - lanes, 0)) for a, b in ranges]
    first = np.concatenate(firsts)[:, None]
    filled = np.concatenate([places, np.full(apart - len(places), places.max() + lanes)])
    ends = np.cumsum([0, *(len(each) for each in firsts)])
    return _Squares(np.arange(lanes) * apart + first, filled[first + np.arange(lanes)], ends)


def sums_of(*axes: tuple[int, int], first: int = 0) -> Array:
    """Offsets of all places: for each axis the distance of two neighbours and how many there are, the last running fastest."""
    steps, counts = zip(*axes, strict=True)
    return np.tensordot(steps, np.indices(counts), 1).reshape(-1).astype(np.int64) + first


def blocks_of(count: int, some: int) -> list[int]:
    """Where blocks of `some` begin that cover `count`; the last overlaps the one before it."""
    return [min(first, count - some) for first in range(0, count, some)]


# ------------------------------------------------------------------------------------------------ loops


@kernel(parallel=True, work=4)
def _convolve(  # type: ignore[no-untyped-def]
    out, x, w, bias, room, doubt,
    cuts, parts, sizes, zeros, gather, ways, tables, steps, spans, xi, xp, oi, op, ends, turn, back,
):  # fmt: skip
    for part in prange(len(parts) - 1):
        own, mine, span = room[np.int64(part)], doubt[np.int64(part) :], parts[np.int64(part) :]
        _share(
            out, x, w, bias, own, mine,
            cuts, span, sizes, zeros, gather, ways, tables, steps, spans, xi, xp, oi, op, ends, turn, back,
        )  # fmt: skip


@kernel
def _share(  # type: ignore[no-untyped-def]
    out, x, w, bias, own, doubt,
    cuts, span, sizes, zeros, gather, ways, tables, steps, spans, xi, xp, oi, op, ends, turn, back,
):  # fmt: skip
    """One thread's pieces: into lanes, unless they are there, all steps, out of lanes."""
    batch, x_pixels, pixels, plane, lanes = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    frame, made, packed = own[: cuts[1]], own[cuts[1] : cuts[2]], own[cuts[2] : cuts[3]]
    plus, spare = own[cuts[4] : cuts[5]], own[cuts[5] :]
    own[:zeros] = 0
    for i in range(len(gather)):
        packed[i] = w[gather[i]] if gather[i] >= 0 else 0
    perform(ways, steps[: spans[0, 0, 0]], 0, own, tables)
    if len(bias):
        _biases(plus, bias, oi, plane)
    inside = -1
    for unit in range(span[0], span[1]):
        n, piece = unit // len(spans) * lanes, unit % len(spans)
        if n != inside:
            into_lanes(frame, x, n, batch, x_pixels, xi, xp, spare, turn)
            inside = n
        for i in range(spans.shape[1]):
            for time in range(spans[piece, i, 2]):
                perform(ways, steps[spans[piece, i, 0] : spans[piece, i, 1]], time, own, tables)
        if zeros > cuts[1]:  # all of what is made can be looked at
            doubt[0] += not_finite(made)
        a, b = ends[piece], ends[piece + 1]
        _out_of_lanes(out, made, n, batch, pixels, oi[a:b], op[a:b], spare, back, plus[a * lanes :])


@kernel
def into_lanes(frame, source, n, batch, pixels, images, places, spare, turn):  # type: ignore[no-untyped-def]
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
