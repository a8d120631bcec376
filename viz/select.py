"""Parts of a picture: only what is asked for, with edges led past what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from minigrad.viz.picture import Edge, Item, Picture, PictureError, prefixes

__all__ = ["Patterns", "bridged", "chosen", "focused", "only_used", "styled"]

Patterns = str | Iterable[str] | None


def chosen(picture: Picture, include: Patterns = None, exclude: Patterns = None) -> Picture:
    """The operations whose name, family or module fits `include` (all, if None) and does not fit `exclude`.

    Patterns are the shell's (``conv*``). Edges lead past what is left out; parameters go with their last user.
    """
    wanted, unwanted = _listed(include), _listed(exclude)
    if not wanted and not unwanted:
        return picture

    def stays(item: Item) -> bool:
        words = _words(item)
        return (not wanted or _fits(words, wanted)) and not _fits(words, unwanted)

    kept = {key for key, item in picture.items.items() if item.is_leaf or stays(item)}
    if not any(not picture.items[key].is_leaf for key in kept):
        raise PictureError(f"nothing is left to draw with include={include!r}, exclude={exclude!r}")
    return only_used(bridged(picture, kept))


def focused(picture: Picture, module: str) -> Picture:
    """Only what lies in `module` (a dotted path), and what its operations take from and give to, in grey."""
    inside = {key for key, item in picture.items.items() if not item.is_leaf and any(_within(box, module) for box in item.path)}
    if not inside:
        known = sorted({box.name for box in picture.boxes.values()})
        raise PictureError(f"focus={module!r}: nothing was recorded in a module of that name; there are {', '.join(known)}")
    near = {edge.source for edge in picture.edges if edge.target in inside}
    near |= {edge.target for edge in picture.edges if edge.source in inside}
    edges = tuple(edge for edge in picture.edges if edge.source in inside or edge.target in inside)
    items = [
        item if key in inside or item.is_leaf else _neighbour(item)
        for key, item in picture.items.items()
        if key in inside or key in near
    ]
    part = replace(picture, edges=edges).with_items(items)
    used = {prefix for item in items for prefix in prefixes(item.path)}
    return replace(part, boxes={path: box for path, box in picture.boxes.items() if path in used})


def styled(picture: Picture, style: Callable[[Item], Mapping[str, Any] | None]) -> Picture:
    """The picture with the Graphviz attributes that ``style(item)`` gives for each item."""

    def change(item: Item) -> Item:
        given = style(item) or {}
        return replace(item, attributes=tuple((str(name), str(value)) for name, value in given.items()))

    return picture.mapped(change)


def _listed(patterns: Patterns) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns or ())


def _words(item: Item) -> list[str]:
    return [item.title, item.family, *item.path]


def _fits(words: Iterable[str], patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(word, pattern) for word in words for pattern in patterns)


def _within(box: str, module: str) -> bool:
    name = box.partition("#")[0]
    return name == module or name.startswith(f"{module}.")


def _neighbour(item: Item) -> Item:
    return replace(item, kind="more", path=(), macs=0, flops=0, parameters=0, kept=0, keeps=(), notes=(), settings="")


def bridged(picture: Picture, kept: set[str]) -> Picture:
    """The items in `kept`; where one was left out, its users get an edge from what it was computed from."""
    inputs: dict[str, list[Edge]] = {}
    for edge in picture.edges:
        inputs.setdefault(edge.target, []).append(edge)
    origins: dict[str, dict[str, None]] = {}
    edges: dict[Edge, None] = {}
    for key in picture.items:
        found: dict[str, None] = {}
        for edge in inputs.get(key, ()):
            for source in (edge.source,) if edge.source in kept else origins.get(edge.source, ()):
                if key in kept:
                    edges.setdefault(replace(edge, source=source))
                elif picture.items[source].kind != "parameter":
                    found[source] = None
        if key not in kept:
            origins[key] = found
    return replace(picture, edges=tuple(edges)).with_items(item for key, item in picture.items.items() if key in kept)


def only_used(picture: Picture) -> Picture:
    """Without parameters and inputs that lead nowhere, and without empty frames."""
    sources = {edge.source for edge in picture.edges}
    part = picture.with_items(item for key, item in picture.items.items() if not item.is_leaf or key in sources)
    used = {prefix for item in part.items.values() for prefix in prefixes(item.path)}
    return replace(part, boxes={path: box for path, box in picture.boxes.items() if path in used})
