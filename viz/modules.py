"""One node a module, as in the papers; channels that don't see each other (groups) stand in columns."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

from minigrad.viz.fold import folded, folded_key
from minigrad.viz.names import Names
from minigrad.viz.picture import Edge, Item, Picture, prefixes

__all__ = ["in_columns", "modules_of"]

_WIDTH, _GAP = 3.9, 0.22  # of a column and between two, in inches


def modules_of(picture: Picture, names: Names) -> Picture:
    """Each call of a module without children as one node; what containers compute themselves stays as it is."""
    leaves = {path for path in picture.boxes if _is_leaf_module(path[-1], names)}
    outermost = {path for path in leaves if not any(prefix in leaves for prefix in list(prefixes(path))[:-1])}
    operations: dict[str, list[Item]] = {}
    for item in picture.items.values():
        path = next((prefix for prefix in prefixes(item.path) if prefix in outermost), None)
        if path is not None and not item.is_leaf:
            operations.setdefault(folded_key(path), []).append(item)

    def change(item: Item) -> Item:
        return _layer(item, operations[item.key]) if item.key in operations else replace(item, keeps=(), kept=0)

    return replace(folded(picture, outermost).mapped(change), tight=True)


def _layer(item: Item, operations: list[Item]) -> Item:
    """A module's node: its class as the title, and the settings of its one operation, which are clearer than the module's."""
    kind, _, rest = item.settings.partition("(")
    settings = rest.removesuffix(")")
    if len(operations) == 1 and item.family in ("conv", "pool"):
        settings = operations[0].settings.removeprefix("window ")
    elif item.family == "linear":
        settings = re.sub(r"^(\d+), (\d+)", "\\1 \N{RIGHTWARDS ARROW} \\2", settings)
    return replace(item, kind="layer", owner=item.title, title=kind or item.title, settings=settings, kept=0, keeps=())


def _is_leaf_module(box: str, names: Names) -> bool:
    module: Any = names.module(box.partition("#")[0])
    return module is not None and next(iter(module.children()), None) is None


# ------------------------------------------------------------------------------------------------ columns


def in_columns(picture: Picture) -> Picture:
    """A grouped convolution and what belongs to it drawn as as many columns as it has groups.

    A layer is in columns if it is grouped or feeds a grouped one, with channelwise modules between: so AlexNet's first layer
    has two columns too, and its third, which sees both halves, takes an edge from each.
    """
    split = _splits(picture)
    if not split:
        return picture
    items: list[Item] = []
    for key, item in picture.items.items():
        columns = split.get(key, 1)
        if columns > 1 and not _mixes(item):
            items += _columns(item, columns)
        else:  # a bar over the columns
            width = _WIDTH * columns + _GAP * (columns - 1)
            items.append(replace(item, attributes=(("width", f"{width:g}"),) if item.kind == "layer" else ()))
    parts = {key: [f"{key}|{i}" for i in range(n)] for key, n in split.items() if not _mixes(picture.items[key])}
    edges: list[Edge] = []
    for edge in picture.edges:
        sources, targets = parts.get(edge.source, [edge.source]), parts.get(edge.target, [edge.target])
        parallel = len(sources) == len(targets) > 1 and not _sees_all(picture.items[edge.target])
        pairs = zip(sources, targets, strict=True) if parallel else ((s, t) for s in sources for t in targets)
        edges += [replace(edge, source=source, target=target) for source, target in pairs]
    rows = [Edge(one, other, "row") for keys in parts.values() for one, other in itertools.pairwise(keys)]
    return replace(picture, items={item.key: item for item in items}, edges=(*edges, *rows))


def _splits(picture: Picture) -> dict[str, int]:
    """In how many columns each item's output lies, where that is more than one."""
    sources: dict[str, list[str]] = {}
    for edge in picture.edges:
        sources.setdefault(edge.target, []).append(edge.source)
    split: dict[str, int] = {}
    for key, item in picture.items.items():  # forwards: what comes out of a grouped layer stays in columns
        above = max((split.get(source, 1) for source in sources.get(key, ())), default=1)
        count = item.columns if _weighted(item) else above if _channelwise(item) else 1
        if count > 1:
            split[key] = count
    wanted: dict[str, int] = {}
    for key, item in reversed(picture.items.items()):  # backwards: what goes into one is in columns already
        need = item.columns if _weighted(item) else wanted.get(key, 1) if _channelwise(item) else 1
        for source in sources.get(key, ()):
            wanted[source] = max(wanted.get(source, 1), need)
    for key, item in picture.items.items():
        if wanted.get(key, 1) > 1 and (_weighted(item) or _channelwise(item)) and not item.is_leaf:
            split[key] = max(split.get(key, 1), wanted[key])
    return {key: n for key, n in split.items() if (picture.items[key].shape or (0, 1))[1] % n == 0}


def _weighted(item: Item) -> bool:
    return item.family == "conv"


def _channelwise(item: Item) -> bool:
    has_channels = item.shape is not None and len(item.shape) >= 3
    return has_channels and item.family in ("activation", "pool", "norm", "regularisation")


def _mixes(item: Item) -> bool:
    """Whether it looks across channels without being a layer of weights: drawn as one bar over the columns."""
    return item.family == "norm" and "batch" not in item.title.lower()


def _sees_all(item: Item) -> bool:
    return _weighted(item) and item.columns == 1


def _columns(item: Item, count: int) -> list[Item]:
    shape = item.shape or ()
    part = (shape[0], shape[1] // count, *shape[2:])
    numbers: dict[str, Any] = {name: getattr(item, name) // count for name in ("macs", "flops", "parameters")}
    columns = []
    for i in range(count):
        place = (("width", f"{_WIDTH:g}"), ("group", f"column{i}"))
        whole = replace(item, key=f"{item.key}|{i}", shape=part, columns=count, attributes=place, **numbers)
        columns.append(whole if i == 0 else replace(whole, count=0))
    return columns
