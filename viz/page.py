"""A picture as one HTML file that moves: pan, zoom, search, fold, and step through a training step.

The page holds the picture as JSON and draws it with our own scripts (`assets/`): no network, no server, no Graphviz.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from minigrad.viz.labels import TIMES, amount, byte_size, exact, number, shape_text, shortened
from minigrad.viz.palette import DARK, FAMILIES, INK, KINDS, LABELS, SCALE, step_of
from minigrad.viz.picture import Item, Leaf, Path, Picture, Stats
from minigrad.viz.steps import Sizes, Step

__all__ = ["page"]

_SCRIPTS = ("layout.js", "view.js", "walk.js")
_MOST_STEPS = 2000  # positions of the slider; more operations share one
_LEGIBLE = 60  # nodes shown at first; modules are folded until it is so few


def page(picture: Picture, steps: Sequence[Step], theme: str = "auto") -> str:
    """The whole page as text."""
    data = {
        "title": picture.title,
        "notes": picture.notes,
        "legible": _LEGIBLE,
        **_Content(picture).data(),
        "steps": _steps(picture, steps),
        "families": [[family, label] for family, label in LABELS.items() if _present(picture, family)],
        "scale": picture.scale,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return (
        _asset("page.html")
        .replace("{{theme}}", theme)
        .replace("{{title}}", html.escape(shortened(picture.title or "minigrad", 80)))
        .replace("{{style}}", _colours() + _asset("style.css"))
        .replace("{{script}}", "\n".join(map(_asset, _SCRIPTS)))
        .replace("{{data}}", text.replace("<", "\\u003c"))  # last: data may say anything, also {{script}}
    )


@cache
def _asset(name: str) -> str:
    return files("minigrad.viz").joinpath("assets", name).read_text(encoding="utf-8")


def _present(picture: Picture, family: str) -> bool:
    return any((i.family if i.family in FAMILIES else "other") == family for i in picture.items.values() if not i.is_leaf)


def _colours() -> str:
    """The palette as CSS variables, light and dark."""
    names = {**FAMILIES, **KINDS}
    light = {f"{name}-{part}": getattr(colour, part) for name, colour in names.items() for part in ("fill", "line")}
    dark = {f"{name}-{part}": getattr(colour, f"dark_{part}") for name, colour in names.items() for part in ("fill", "line")}
    inks = INK._asdict()
    light |= inks | {f"scale{i}": one for i, (one, _) in enumerate(SCALE)}
    dark |= {name: DARK[colour] for name, colour in inks.items()} | {f"scale{i}": other for i, (_, other) in enumerate(SCALE)}
    bright, dim = (";".join(f"--{name}:{colour}" for name, colour in room.items()) for room in (light, dark))
    return (
        f":root{{{bright}}}\n@media (prefers-color-scheme:dark){{:root[data-theme=auto]{{{dim}}}}}\n"
        f":root[data-theme=dark]{{{dim}}}\n"
    )


# ------------------------------------------------------------------------------------------------ nodes and frames


class _Content:
    """Nodes, frames and edges with numbers for names; parameters go into the nodes that use them."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.frames: dict[Path, int] = {}
        self.users: dict[str, list[str]] = {}
        for edge in picture.edges:
            self.users.setdefault(edge.source, []).append(edge.target)
        self.within: dict[str, list[Item]] = {}
        for key, item in picture.items.items():
            if item.kind == "parameter":
                for user in dict.fromkeys(self.users.get(key, ())):
                    self.within.setdefault(user, []).append(item)
        self.drawn = [item for key, item in picture.items.items() if item.kind != "parameter" or key not in self.users]

    def data(self) -> dict[str, Any]:
        nodes = [self._node(item) for item in self.drawn]
        known = {item.key for item in self.drawn}
        edges = [
            [edge.source, edge.target, edge.kind]
            for edge in dict.fromkeys(self.picture.edges)
            if edge.kind != "row" and edge.source in known and edge.target in known
        ]
        return {"nodes": nodes, "frames": [self._frame(path) for path in list(self.frames)], "edges": edges}

    def _number(self, path: Path) -> int:
        """The frame's number, counted from 0, its outer ones before it; -1 for none."""
        if not path:
            return -1
        if path not in self.frames:
            self._number(path[:-1])
            self.frames[path] = len(self.frames)
        return self.frames[path]

    def _frame(self, path: Path) -> dict[str, Any]:
        box = self.picture.boxes[path]
        times = f" {TIMES} {exact(box.times)}" if box.times > 1 else ""
        name, about = shortened(box.name, 48) + times, shortened(box.settings, 60)
        return {"up": self._number(path[:-1]), "name": name, "about": about, "times": box.times}

    def _node(self, item: Item) -> dict[str, Any]:
        parameters = self.within.get(item.key, [])
        leaves = [*(leaf for other in parameters for leaf in other.leaves), *item.leaves]
        step = _worst(item, leaves)
        return {
            "id": item.key,
            "of": item.key.rpartition("|")[0] if item.kind == "layer" and item.columns > 1 else item.key,  # see `in_columns`
            "leaf": item.is_leaf,
            "sums": self._sums(item),
            "frame": self._number(item.path),
            "family": item.kind if item.kind in KINDS else item.family if item.family in FAMILIES else "other",
            "title": shortened(_title(item), 40),
            "owner": shortened(item.owner if not item.is_leaf else "", 60),
            "shape": shape_text(item.shape) if item.shape is not None else "",
            "lines": [shortened(line, 60) for line in _lines(item, parameters)],
            "tip": [*_facts(item, parameters), *(fact for leaf in leaves for fact in _leaf_facts(leaf))],
            "notes": [*item.notes, *(f"{leaf.name}: no gradient" for leaf in leaves if leaf.missing)],
            "broken": item.broken or any(other.broken for other in parameters),
            "missing": any(leaf.missing for leaf in leaves),
            **({"step": step} if step is not None else {}),
        }

    def _sums(self, item: Item) -> list[int]:
        """Parameters, MACs and bytes kept; a parameter that several operations use counts at the first."""
        own = [other for other in self.within.get(item.key, []) if self.users[other.key][0] == item.key]
        parameters = item.whole("parameters") + sum(other.whole("parameters") for other in own)
        return [parameters, item.whole("macs"), item.whole("kept")]


def _title(item: Item) -> str:
    return ", ".join(leaf.name for leaf in item.leaves) if item.is_leaf and item.leaves else item.title


def _worst(item: Item, leaves: Sequence[Leaf]) -> int | None:
    """Where on the scale its gradients stand: the one that is furthest from ordinary."""
    gradients = (item.gradient, *(leaf.gradient for leaf in leaves))
    known = [stats for stats in gradients if stats is not None and not stats.broken]
    middle = len(SCALE) // 2
    return max((step_of(stats.rms) for stats in known), key=lambda step: abs(step - middle), default=None)


def _lines(item: Item, parameters: Sequence[Item]) -> Iterator[str]:
    if item.settings:
        yield item.settings
    leaves = [leaf for other in parameters for leaf in other.leaves]
    if leaves:
        yield ", ".join(f"{leaf.name.rpartition('.')[2]} {shape_text(leaf.shape)}" for leaf in leaves[:3])
    elif item.parameters:
        yield f"{exact(item.parameters)} parameters"
    if item.result:
        yield item.result


def _facts(item: Item, parameters: Sequence[Item]) -> Iterator[tuple[str, str]]:
    """Names and numbers for who points at a node."""
    count = item.parameters + sum(other.parameters for other in parameters)
    if item.shape is not None and not item.leaves:
        yield "output", f"{shape_text(item.shape)} {item.dtype}"
    if count:
        yield "parameters", exact(count)
    if item.macs:
        yield "MACs", f"{amount(item.macs)} ({exact(item.macs)})"
    if item.flops:
        yield "FLOPs", amount(item.flops)
    if item.kept:
        yield "keeps", f"{', '.join(item.keeps)} {byte_size(item.kept)}".strip()
    if item.times > 1:
        yield "repeated", f"{exact(item.times)} times; the numbers are those of one"
    for name, stats in (("value", item.value), ("gradient", item.gradient)):
        if stats is not None:
            yield name, _stats(stats)


def _leaf_facts(leaf: Leaf) -> Iterator[tuple[str, str]]:
    yield shortened(leaf.name, 48), f"{shape_text(leaf.shape)} {leaf.dtype}"
    for name, stats in (("value", leaf.value), ("gradient", leaf.gradient)):
        if stats is not None:
            yield f"\N{NO-BREAK SPACE} {name}", _stats(stats)


def _stats(stats: Stats) -> str:
    broken = [f"{exact(count)} {kind}" for count, kind in ((stats.nans, "NaN"), (stats.infs, "Inf")) if count]
    if broken:
        return f"{', '.join(broken)} of {exact(stats.size)}"
    spread = f"{number(stats.minimum)} … {number(stats.mean)} … {number(stats.maximum)}"
    return f"{spread}, norm {number(stats.norm)}, {100 * stats.zeros / max(stats.size, 1):.3g} % zeros"


# ------------------------------------------------------------------------------------------------ steps


def _steps(picture: Picture, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The slider's positions; where there are very many operations, several share one."""
    share = -(-len(steps) // _MOST_STEPS) or 1
    forward = [step for step in steps if not step.backward]
    parts = [part for room in (forward, steps[len(forward) :]) for part in _parts(room, share)]
    return [_position(picture, part) for part in parts]


def _parts(steps: Sequence[Step], share: int) -> Iterator[Sequence[Step]]:
    return (steps[i : i + share] for i in range(0, len(steps), share))


def _position(picture: Picture, part: Sequence[Step]) -> dict[str, Any]:
    keys = dict.fromkeys(picture.stands.get(key, key) for step in part for key in step.keys)
    return {
        "at": list(keys),
        "back": part[0].backward,
        "computed": part[0].computed if len(part) == 1 else f"{exact(len(part))} operations, from {part[0].computed}",
        "kept": _told([size for step in part for size in step.kept]),
        "freed": _told([size for step in part for size in step.freed]),
        "size": sum(size for step in part for _, size in step.kept),
        "alive": max(step.alive for step in part),
        "held": max(step.held for step in part),
    }


def _told(sizes: Sequence[tuple[str, int]] | Sizes) -> str:
    words = [f"{name} {byte_size(size)}" for name, size in sizes[:4]]
    if len(sizes) > 4:
        words = [*words[:3], f"{len(sizes) - 3} more, {byte_size(sum(size for _, size in sizes[3:]))}"]
    return ", ".join(words)
