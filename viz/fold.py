"""Smaller pictures from larger ones: several items become one, the edges between them go, their numbers add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from minigrad.viz.palette import FAMILIES
from minigrad.viz.picture import Edge, Item, Path, Picture, PictureError, Stats, prefixes

__all__ = [
    "beside",
    "coarser",
    "deepest",
    "folded",
    "folded_key",
    "folded_to_depth",
    "legible",
    "merged",
    "segmented",
    "summed",
    "unboxed",
]


def unboxed(picture: Picture) -> Picture:
    """Without the frames that hold a single operation: its node says the module's name instead.

    A frame round a frame and nothing else stays: it is a name that somebody gave.
    """
    held: dict[Path, list[Item]] = {}
    for item in picture.items.values():
        for prefix in prefixes(item.path):
            held.setdefault(prefix, []).append(item)
    single = {path for path, items in held.items() if _is_single(path, items) and picture.boxes[path].times == 1}

    def change(item: Item) -> Item:
        around = next((i for i, prefix in enumerate(prefixes(item.path)) if prefix in single), None)
        if around is None:
            return item
        box = picture.boxes[item.path[: around + 1]]
        owner = item.owner if item.is_leaf else f"{box.name} {box.settings}".rstrip()
        return replace(item, path=item.path[:around], owner=owner)

    boxes = {path: box for path, box in picture.boxes.items() if not any(prefix in single for prefix in prefixes(path))}
    return replace(picture.mapped(change), boxes=boxes)


def _is_single(path: Path, items: list[Item]) -> bool:
    computed = [item for item in items if not item.is_leaf]
    return len(computed) == 1 and computed[0].kind == "op" and computed[0].path == path


def summed(key: str, items: Iterable[Item], **what: object) -> Item:
    """One item for several: their numbers added up, the last operation's shape, whatever else `what` says."""
    parts = list(items)
    computed = [item for item in parts if not item.is_leaf] or parts
    last = computed[-1]
    base = Item(
        key,
        "module",
        last.title,
        family=_main_family(computed),
        shape=last.shape,
        dtype=last.dtype,
        path=last.path,
        macs=sum(item.whole("macs") for item in parts),
        flops=sum(item.whole("flops") for item in parts),
        parameters=sum(item.whole("parameters") for item in parts),
        kept=sum(item.whole("kept") for item in parts),
        count=sum(item.count * item.times for item in parts),
        columns=max(item.columns for item in computed),
        leaves=tuple(leaf for item in parts if item.kind == "parameter" for leaf in item.leaves),
        value=_telling(item.value for item in reversed(computed)),
        gradient=_telling(item.gradient for item in reversed(computed)),
        notes=tuple(dict.fromkeys(note for item in parts for note in item.notes))[:4],
    )
    return replace(base, **what)  # type: ignore[arg-type]  # dataclasses.replace can't know which fields


def _telling(numbers: Iterable[Stats | None]) -> Stats | None:
    """What to say of several: the first that is broken, or else the first."""
    known = list(numbers)
    return next((stats for stats in known if stats is not None and stats.broken), known[0])


def _main_family(items: list[Item]) -> str:
    """The family of the operation with most work in it; of equals the first."""
    return max(items, key=lambda item: (item.macs, item.family in FAMILIES and item.family != "other")).family


def merged(picture: Picture, groups: Mapping[str, str], made: Mapping[str, Item]) -> Picture:
    """The picture with items in groups (item -> group) replaced by one item for each group (`made`, by group).

    Edges inside a group go, equal edges become one. A group stands where its first operation stood.
    """
    items: dict[str, Item] = {}
    with_operations = {groups[key] for key, item in picture.items.items() if key in groups and not item.is_leaf}
    for key, item in picture.items.items():
        group = groups.get(key)
        if group is None:
            items[key] = item
        elif not item.is_leaf or group not in with_operations:
            items.setdefault(group, made[group])
    edges: dict[tuple[str, str, str], Edge] = {}
    for edge in picture.edges:
        source, target = groups.get(edge.source, edge.source), groups.get(edge.target, edge.target)
        if source != target or edge.kind == "again":
            edges.setdefault((source, target, edge.kind), replace(edge, source=source, target=target))
    used = {prefix for item in items.values() for prefix in prefixes(item.path)}
    boxes = {path: box for path, box in picture.boxes.items() if path in used}
    return replace(picture, items=items, edges=tuple(edges.values()), boxes=boxes, stands=picture.standing(groups))


def deepest(picture: Picture) -> int:
    """How many frames lie round the innermost item."""
    return max((len(item.path) for item in picture.items.values()), default=0)


def folded_to_depth(picture: Picture, depth: int) -> Picture:
    """Every module `depth` frames deep (1: the model's own children) drawn as one node."""
    if depth < 1:
        raise PictureError(f"depth={depth}: at least 1, the model's own children")
    return folded(picture, {path for path in picture.boxes if len(path) == depth})


def folded(picture: Picture, paths: set[Path]) -> Picture:
    """The frames at `paths` drawn as one node each."""
    groups: dict[str, str] = {}
    members: dict[str, list[Item]] = {}
    places: dict[str, Path] = {}
    for key, item in picture.items.items():
        path = next((prefix for prefix in prefixes(item.path) if prefix in paths), None)
        if path is not None:
            group = folded_key(path)
            groups[key] = group
            members.setdefault(group, []).append(item)
            places[group] = path
    made = {group: _module(group, items, picture, places[group]) for group, items in members.items()}
    return merged(picture, groups, made)


def folded_key(path: Path) -> str:
    """The key of the node that stands for a frame."""
    return "fold " + "/".join(path)


def _module(group: str, items: list[Item], picture: Picture, path: Path) -> Item:
    box = picture.boxes[path]
    return summed(group, items, title=box.name, settings=box.settings, path=path[:-1])


def coarser(picture: Picture) -> Picture | None:
    """One level less: the deepest modules as one node each; without modules, stretches of operations as one node each."""
    depth = deepest(picture)
    if depth:
        return folded_to_depth(picture, depth)
    computed = sum(not item.is_leaf for item in picture.items.values())
    return segmented(picture, max(computed // 4, 8)) if computed > 16 else None


def legible(picture: Picture, most: int) -> Picture:
    """The picture, folded level by level until it has at most so many items; a note says so."""
    before = len(picture.items)
    while len(picture.items) > most:
        smaller = coarser(picture)
        if smaller is None or len(smaller.items) >= len(picture.items):
            break
        picture = smaller
    return picture.noted(f"{before:,} items folded into {len(picture.items)}") if len(picture.items) < before else picture


_TALL = 18  # operations one above the other that still fit a page


def beside(picture: Picture) -> Picture:
    """A tall chain of a few large modules with its modules beside each other, so that it fits a page."""
    computed = [item for item in picture.items.values() if not item.is_leaf]
    rooms: dict[str, int] = {}
    for item in computed:
        if not item.path:
            return picture
        rooms[item.path[0]] = rooms.get(item.path[0], 0) + 1

    def crosses(edge: Edge) -> bool:
        one, other = picture.items[edge.source], picture.items[edge.target]
        return bool(one.path and other.path and one.path[0] != other.path[0])

    bridges = [edge for edge in picture.edges if crosses(edge)]
    chain = len(bridges) == len(rooms) - 1 == len({edge.source for edge in bridges})
    if len(computed) <= _TALL or not chain or not 2 <= len(rooms) <= 3 or min(rooms.values()) < _TALL // 3:
        return picture
    edges = (replace(edge, kind="across") if edge in bridges else edge for edge in picture.edges)
    return replace(picture, edges=tuple(edges))


def segmented(picture: Picture, most: int) -> Picture:
    """Operations in execution order, cut into at most so many stretches, each drawn as one node."""
    computed = [item for item in picture.items.values() if not item.is_leaf]
    length = -(-len(computed) // most)
    groups: dict[str, str] = {}
    made: dict[str, Item] = {}
    for start in range(0, len(computed), length):
        part = computed[start : start + length]
        key = f"part {start}"
        groups |= {item.key: key for item in part}
        made[key] = summed(
            key, part, title=f"{sum(item.count for item in part):,} operations", settings=_inventory(part), path=()
        )
    users: dict[str, set[str]] = {}
    for edge in picture.edges:
        users.setdefault(edge.source, set()).add(groups.get(edge.target, edge.target))
    for key, item in picture.items.items():  # a parameter that only one stretch uses goes into it
        if item.kind in ("parameter", "constant") and len(users.get(key, ())) == 1:
            group = next(iter(users[key]))
            if group in made:
                groups[key] = group
                made[group] = replace(made[group], parameters=made[group].parameters + item.parameters)
    return merged(picture, groups, made)


def _inventory(items: Iterable[Item]) -> str:
    """The most frequent operations: ``12 add, 6 mul, …``."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item.title] = counts.get(item.title, 0) + item.count
    usual = sorted(counts.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{count} {name}" for name, count in usual[:4]) + (", …" if len(usual) > 4 else "")
