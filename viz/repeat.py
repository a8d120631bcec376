"""Repeated blocks: an unrolled recurrent cell, equal residual blocks. Drawn once, in a frame that says how often.

Operations in execution order are a sequence of tokens (name, shape, settings, module path without its numbers). A stretch of it
with period p is a candidate if each of its operations is wired as the one p places before: to the operation equally far
behind, or to the very same one. The stretch that saves most is folded, then what is before, after and inside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minigrad.core import Array
from minigrad.viz.picture import Box, Edge, Item, Path, Picture, prefixes

__all__ = ["Stretch", "repeats_folded", "stretches"]

_GRAM = 3  # tokens that must agree for a distance to be tried as a period
_TRIED = 12  # candidate periods, the most frequent first
_SLOTS = 6  # inputs of an operation whose wiring is compared


@dataclass(frozen=True, slots=True)
class Stretch:
    """`times` equal blocks of `period` operations each, from operation `start` on."""

    start: int
    period: int
    times: int

    @property
    def stop(self) -> int:
        """The first operation after it."""
        return self.start + self.period * self.times


def repeats_folded(picture: Picture, *, least_times: int = 2, least_saved: int = 1) -> Picture:
    """The picture with each repeated block drawn once, where that saves enough.

    A block must occur `least_times` in a row, and folding it must save `least_saved` operations.
    """
    computed = [item for item in picture.items.values() if not item.is_leaf]
    for stretch in stretches(picture, computed, least_times, least_saved):  # outer ones first
        picture = _fold(picture, [item.key for item in computed], stretch)
    return picture


# ------------------------------------------------------------------------------------------------ finding


def stretches(picture: Picture, computed: Sequence[Item], least_times: int, least_saved: int) -> list[Stretch]:
    """Stretches that don't overlap, or lie inside the first block of another, which comes before them."""
    tokens, wires = _tokens(computed), _wires(picture, computed)
    depths = _shared_depths(computed)
    found: list[Stretch] = []
    work = [(0, len(computed))]
    while work:
        start, stop = work.pop()
        best = _best(tokens, wires, depths, start, stop, least_times, least_saved)
        if best is not None:
            found.append(best)
            work += [(start, best.start), (best.stop, stop), (best.start, best.start + best.period)]
    return found


def _tokens(computed: Sequence[Item]) -> Array:
    known: dict[Any, int] = {}
    words = (
        (item.kind, item.title, item.shape, item.dtype, item.settings, tuple(map(_without_numbers, item.path)))
        for item in computed
    )
    return np.array([known.setdefault(word, len(known)) for word in words], np.int64)


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name.partition("#")[0])


def _wires(picture: Picture, computed: Sequence[Item]) -> Array:
    """For each operation, how far back each of its computed inputs lies, 0 where there is none; (operations, slots)."""
    at = {item.key: i for i, item in enumerate(computed)}
    wires = np.zeros((len(computed), _SLOTS), np.int64)
    filled = np.zeros(len(computed), np.int64)
    for edge in picture.edges:
        if edge.source in at and edge.target in at and edge.kind != "row":
            user = at[edge.target]
            if filled[user] < _SLOTS:
                wires[user, filled[user]] = user - at[edge.source]
                filled[user] += 1
    return wires


def _shared_depths(computed: Sequence[Item]) -> Array:
    """How many frames each operation shares with the one before it: blocks best begin where that is few."""
    depths = np.zeros(len(computed), np.int64)
    for i in range(1, len(computed)):
        one, other = computed[i - 1].path, computed[i].path
        depths[i] = next(
            (d for d, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
        )
    return depths


def _best(
    tokens: Array, wires: Array, depths: Array, start: int, stop: int, least_times: int, least_saved: int
) -> Stretch | None:
    best: Stretch | None = None
    for period in _periods(tokens[start:stop]):
        found = _longest(tokens, wires, start, stop, period)
        if found is None:
            continue
        first, last = found
        first = _aligned(depths, first, last, period)
        candidate = Stretch(first, period, (last - first) // period)
        if candidate.times < least_times or (candidate.times - 1) * period < least_saved:
            continue
        if best is None or (candidate.times - 1) * period > (best.times - 1) * best.period:
            best = candidate
    return best


def _periods(tokens: Array) -> list[int]:
    """The most frequent distances between an n-gram and its next occurrence."""
    for gram in (_GRAM, 1):
        if len(tokens) < 2 * gram:
            continue
        names = np.lib.stride_tricks.sliding_window_view(tokens, gram)
        _, labels = np.unique(names, axis=0, return_inverse=True)
        order = np.argsort(labels.reshape(-1), kind="stable")
        same = labels.reshape(-1)[order][1:] == labels.reshape(-1)[order][:-1]
        gaps = (order[1:] - order[:-1])[same]
        if len(gaps):
            counts = np.bincount(gaps)
            likely = np.argsort(-counts, kind="stable")[:_TRIED]
            return [int(gap) for gap in likely if counts[gap]]
    return []


def _longest(tokens: Array, wires: Array, start: int, stop: int, period: int) -> tuple[int, int] | None:
    """The longest stretch in which everything is as one period before; from its first block to its end."""
    if stop - start < 2 * period:
        return None
    early, late = slice(start, stop - period), slice(start + period, stop)
    alike = tokens[early] == tokens[late]
    same_step = wires[early] == wires[late]
    same_place = (wires[late] - wires[early] == period) & (wires[early] > 0)
    good = alike & (same_step | same_place).all(axis=1)
    first, length = _longest_run(good)
    if length == 0:
        return None
    # The block that starts a recurrence is wired in another way: its state comes from elsewhere.
    unlike = np.flatnonzero(~alike[max(first - period, 0) : first])
    extra = min(period, first) if not len(unlike) else min(period, first) - 1 - int(unlike[-1])
    first, length = first - extra, length + extra
    return (start + first, start + first + length + period) if length >= period else None


def _longest_run(good: Array) -> tuple[int, int]:
    """Start and length of the longest run of True."""
    padded = np.concatenate(([False], good, [False])).astype(np.int8)
    change = np.diff(padded)
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    if not len(starts):
        return 0, 0
    at = int(np.argmax(ends - starts))
    return int(starts[at]), int(ends[at] - starts[at])


def _aligned(depths: Array, first: int, last: int, period: int) -> int:
    """The place within the first period where the fewest frames are cut, without losing a whole block if possible."""
    spare = (last - first) % period
    window = depths[first : first + spare + 1] if spare else depths[first : first + 1]
    best = int(np.argmin(window))
    wider = depths[first : first + period]
    if wider.min() < window.min() and (last - first) // period > 2:
        return first + int(np.argmin(wider))
    return first + best


# ------------------------------------------------------------------------------------------------ folding


def _fold(picture: Picture, order: Sequence[str], stretch: Stretch) -> Picture:
    """Draw the stretch's first block for all of them."""
    stands_for: dict[str, str] = {}
    for i in range(stretch.start, stretch.stop):
        stands_for[order[i]] = order[stretch.start + (i - stretch.start) % stretch.period]
    block_of = {order[i]: (i - stretch.start) // stretch.period for i in range(stretch.start, stretch.stop)}
    leaves = _leaf_twins(picture, stands_for)
    twin = stands_for | leaves
    paths = _BlockPaths(picture, order, stretch)
    kept: dict[str, int] = {}
    for key, first in stands_for.items():
        kept[first] = kept.get(first, 0) + picture.items[key].whole("kept")
    troubled = _troubled(picture, twin)
    usual = {stands_for[order[i]]: order[i] for i in range(stretch.stop - stretch.period, stretch.stop)}
    items: dict[str, Item] = {}
    for key, item in picture.items.items():
        if twin.get(key, key) != key:
            continue
        if key in troubled:
            worst = troubled[key]
            notes = tuple(dict.fromkeys((*item.notes, *worst.notes)))
            item = replace(item, value=worst.value, gradient=worst.gradient, leaves=worst.leaves, notes=notes)
        if key in stands_for:
            like = picture.items[usual[key]]  # the first block may keep what the others find kept already
            times, place = item.times * stretch.times, paths.place(item.path)
            item = replace(item, times=times, path=place, kept=like.kept, keeps=like.keeps, kept_in_all=kept[key])
        elif key in leaves and _count(leaves, key) > 1:
            item = replace(item, times=item.times * _count(leaves, key), path=paths.place(item.path))
        elif key in leaves and len(item.path) > paths.depth:
            item = replace(item, path=item.path[: paths.depth])
        items[key] = item
    edges: dict[Edge, None] = {}
    for edge in picture.edges:
        one, other = block_of.get(edge.source), block_of.get(edge.target)
        kind = "again" if one is not None and other is not None and one != other else edge.kind
        source, target = twin.get(edge.source, edge.source), twin.get(edge.target, edge.target)
        if source in items and target in items:
            edges.setdefault(replace(edge, source=source, target=target, kind=kind))
    used = {prefix for item in items.values() for prefix in prefixes(item.path)}
    boxes = {path: box for path, box in {**picture.boxes, **paths.boxes()}.items() if path in used}
    return replace(picture, items=items, edges=tuple(edges), boxes=boxes, stands=picture.standing(twin))


def _troubled(picture: Picture, twin: dict[str, str]) -> dict[str, Item]:
    """By the item that stands for several, the one of them to show where something is wrong: with a note, if there is one."""
    found: dict[str, Item] = {}
    for key, first in twin.items():
        item = picture.items[key]
        wrong = item.broken or any(leaf.missing for leaf in item.leaves)
        if wrong and (first not in found or (item.notes and not found[first].notes)):
            found[first] = item
    return found


def _leaf_twins(picture: Picture, stands_for: dict[str, str]) -> dict[str, str]:
    """Parameters and constants of the blocks, each with the one that stands for it: used alike, and of one shape."""
    users: dict[str, list[str]] = {}
    for edge in picture.edges:
        if edge.source in picture.items and picture.items[edge.source].is_leaf:
            users.setdefault(edge.source, []).append(edge.target)
    first: dict[Any, str] = {}
    twins: dict[str, str] = {}
    for key, targets in users.items():
        if all(target in stands_for for target in targets):
            item = picture.items[key]
            shapes = tuple((_without_numbers(leaf.name), leaf.shape) for leaf in item.leaves)
            alike = (item.kind, shapes, tuple(dict.fromkeys(stands_for[target] for target in targets)))
            twins[key] = first.setdefault(alike, key)
    return twins


def _count(twins: dict[str, str], key: str) -> int:
    return sum(other == key for other in twins.values())


class _BlockPaths:
    """Where a block's items lie: in a module's frame of their own, if each block is one module, else in a new frame."""

    def __init__(self, picture: Picture, order: Sequence[str], stretch: Stretch) -> None:
        inside = [picture.items[order[i]].path for i in range(stretch.start, stretch.start + stretch.period)]
        last = picture.items.get(order[stretch.stop - 1], picture.items[order[stretch.start]])
        every = [*inside, last.path]
        self.depth = _common(every)
        self.times = stretch.times
        heads = {path[: self.depth + 1] for path in inside}
        head = next(iter(heads))
        self.module: Path | None = None
        if len(heads) == 1 and len(head) > self.depth and last.path[: self.depth + 1] != head:
            self.module, self.names = head, (picture.boxes[head], picture.boxes[last.path[: self.depth + 1]])
        self.frame = (*inside[0][: self.depth], f"repeat {stretch.start}")
        self.old = picture.boxes

    def place(self, path: Path) -> Path:
        """The path within the folded picture."""
        return path if self.module is not None else (*self.frame, *path[self.depth :])

    def boxes(self) -> dict[Path, Box]:
        """The frames that are new or have another name."""
        if self.module is not None:
            one, other = self.names
            return {self.module: replace(one, name=f"{one.name} … {other.name}", times=self.times)}
        outside = self.frame[:-1]
        within = [path for path in self.old if path[: self.depth] == outside and len(path) > self.depth]
        moved = {self.place(path): self.old[path] for path in within}
        return {self.frame: Box("repeated", times=self.times), **moved}


def _common(paths: Sequence[Path]) -> int:
    """How many frames all paths share."""
    depth = 0
    while all(len(path) > depth for path in paths) and len({path[depth] for path in paths}) == 1:
        depth += 1
    return depth
