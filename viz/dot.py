"""From a picture to DOT text: a pure function, the same picture giving the same bytes.

Labels are Graphviz's HTML-like tables; every name goes through `escaped`, so that a module may be called ``a<b>&"c"``.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

import graphviz

from minigrad.viz.labels import TIMES, amount, byte_size, exact, number, shape_text, shortened
from minigrad.viz.palette import FAMILIES, INK, KINDS, LABELS, SCALE, Colour, colour_of, step_of
from minigrad.viz.picture import Box, Edge, Item, Leaf, Path, Picture, Stats, prefixes

__all__ = ["dot_text", "escaped"]

_FONT = "Helvetica,Arial,sans-serif"
_HATCHED = ":".join([KINDS["parameter"].fill, INK.hatch] * 9)  # Graphviz has no hatching: stripes
_EDGES = {
    "data": {},
    "across": {"constraint": "false"},
    "again": {"style": "dashed", "constraint": "false"},
    "saved": {"color": FAMILIES["norm"].line, "constraint": "false", "arrowsize": "0.5", "penwidth": "0.9"},
    "gradient": {"color": FAMILIES["loss"].line},
    "row": {"style": "invis"},
}


def dot_text(picture: Picture, *, direction: str = "TB") -> str:
    """The picture in the DOT language; `direction` is TB (top to bottom) or LR."""
    graph = graphviz.Digraph("minigrad", graph_attr=_graph_attributes(picture, direction))
    graph.attr("node", shape="box", style="rounded,filled", fontname=_FONT, fontsize="11", penwidth="1.1", margin="0.09,0.05")
    graph.attr("node", height="0.2", width="0.2", fontcolor=INK.text)
    graph.attr("edge", fontname=_FONT, fontsize="9", color=INK.edge, fontcolor=INK.soft, arrowsize="0.6", penwidth="1.1")
    _Frames(picture).write(graph)
    for leaf, operation in _beside(picture).items():
        _level(graph, leaf, operation)
    for edge in picture.edges:
        if edge.kind == "row":
            _level(graph, edge.source, edge.target)
        _edge(graph, edge, picture)
    return str(graph.source)


def _level(graph: graphviz.Digraph, *keys: str) -> None:
    with graph.subgraph() as level:
        level.attr(rank="same")
        for key in keys:
            level.node(key)


def escaped(text: str, limit: int = 80) -> str:
    """Text for a label: what XML reserves is written out, what can't be drawn is shown as an escape."""
    return html.escape(shortened(text, limit), quote=True)


# ------------------------------------------------------------------------------------------------ frames


def _graph_attributes(picture: Picture, direction: str) -> dict[str, str]:
    attributes = {
        "rankdir": direction,
        "newrank": "true",
        "bgcolor": INK.paper,
        "fontname": _FONT,
        "fontsize": "11",
        "fontcolor": INK.text,
        "nodesep": "0.22",
        "ranksep": "0.17" if picture.tight else "0.26",
        "pad": "0.25",
        "labelloc": "t",
        "labeljust": "l",
        "compound": "true",
    }
    if picture.title or picture.notes:
        attributes["label"] = _heading(picture)
    return attributes


def _heading(picture: Picture) -> str:
    rows = [f'<FONT POINT-SIZE="16">{_bold(picture.title, 80)}</FONT>'] if picture.title else []
    rows += [_soft(note, 10, limit=140) for note in picture.notes]
    rows += [" &nbsp; ".join(map(_swatch, families))] if (families := _families(picture)) else []
    rows += [_scale()] if picture.scale else []
    lines = "".join(f'<TR><TD ALIGN="LEFT">{row}</TD></TR>' for row in rows)
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">{lines}</TABLE>>'


def _families(picture: Picture) -> list[str]:
    present = {item.family if item.family in FAMILIES else "other" for item in picture.items.values() if not item.is_leaf}
    return [family for family in LABELS if family in present]


_SQUARE = "\N{BLACK SQUARE}"  # text, since Graphviz stretches tables within tables


def _swatch(family: str) -> str:
    return f'<FONT POINT-SIZE="13" COLOR="{FAMILIES[family].line}">{_SQUARE}</FONT> {_soft(LABELS[family])}'


def _scale() -> str:
    """The colours of gradients, with what their ends mean."""
    squares = "".join(f'<FONT POINT-SIZE="13" COLOR="{fill}">{_SQUARE}</FONT>' for fill, _ in SCALE)
    left, right = _soft("gradient (root mean square): vanishing, 1e-9"), _soft("1e3, exploding")
    return f"{left} {squares} {right} &nbsp; {_soft('numbers: minimum … mean … maximum')}"


class _Frames:
    """Writes items into the frames in which they lie, frames within frames."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.dtype = _usual_dtype(picture)
        self.items: dict[Path, list[Item]] = {}
        self.children: dict[Path, dict[Path, None]] = {}
        for item in picture.items.values():
            self.items.setdefault(item.path, []).append(item)
            for prefix in prefixes(item.path):
                self.children.setdefault(prefix[:-1], {})[prefix] = None
        self.number = 0

    def write(self, graph: graphviz.Digraph, path: Path = ()) -> None:
        for item in self.items.get(path, ()):
            graph.node(item.key, **_node_attributes(item, self.dtype))
        for child in sorted(self.children.get(path, ()), key=self._is_kept, reverse=True):
            with graph.subgraph(name=f"cluster{self.number}") as frame:
                self.number += 1
                frame.attr(**_frame_attributes(self.picture.boxes[child], len(child)))
                self.write(frame, child)

    def _is_kept(self, path: Path) -> bool:
        """Whether a frame holds only what is kept; written first, it comes to stand left, between the passes."""
        within = self.items.get(path, ())
        return bool(within) and all(item.kind == "saved" for item in within)


def _beside(picture: Picture) -> dict[str, str]:
    """Parameters that belong at the side of one operation: parameter -> operation."""
    users: dict[str, list[str]] = {}
    for edge in picture.edges:
        users.setdefault(edge.source, []).append(edge.target)
    return {
        key: users[key][0]
        for key, item in picture.items.items()
        if item.kind in ("parameter", "constant") and len(users.get(key, ())) == 1
    }


def _frame_attributes(box: Box, depth: int) -> dict[str, str]:
    times = f' <FONT COLOR="{INK.warm}"><B>{TIMES} {box.times}</B></FONT>' if box.times > 1 else ""
    label = f"{_bold(box.name)}{times} {_soft(box.settings, 10) if box.settings else ''}".rstrip()
    return {
        "label": f"<{label}>",
        "labeljust": "l",
        "labelloc": "t",
        "style": "rounded,filled",
        "color": INK.warm if box.times > 1 else INK.frame,
        "fillcolor": INK.panel if depth % 2 else INK.paper,
        "penwidth": "1.4" if box.times > 1 else "1",
        "margin": "10",
    }


# ------------------------------------------------------------------------------------------------ nodes


def _usual_dtype(picture: Picture) -> str:
    """The type that goes without saying: that of most operations."""
    counts: dict[str, int] = {}
    for item in picture.items.values():
        if not item.is_leaf:
            counts[item.dtype] = counts.get(item.dtype, 0) + 1
    return max(sorted(counts), key=lambda name: counts[name], default="float32")


def _node_attributes(item: Item, dtype: str) -> dict[str, str]:
    colour = colour_of(item.kind, item.family)
    attributes = {"label": f"<{_table(_rows(item, dtype))}>", "fillcolor": colour.fill, "color": _line(item, colour)}
    attributes["class"] = item.kind
    if item.result:
        attributes["color"] = FAMILIES["loss"].line
        attributes["penwidth"] = "1.8"
    if item.kind == "constant":
        attributes["style"] = "rounded,filled,dashed"
    if item.kind == "input":
        attributes["penwidth"] = "1.8"
    if item.kind == "module" and item.count > 1:
        attributes["peripheries"] = "2"
    if item.broken:
        attributes["penwidth"] = "2.4"
    if any(leaf.missing for leaf in item.leaves):
        attributes |= {"style": "striped", "fillcolor": _HATCHED, "color": INK.frame}
    return attributes | dict(item.attributes)


def _line(item: Item, colour: Colour) -> str:
    return INK.alarm if item.broken else colour.line


def _rows(item: Item, dtype: str) -> Iterator[tuple[str, str]]:
    """Each row's left and right cell."""
    if item.is_leaf:
        for leaf in item.leaves:
            yield from _leaf_rows(leaf, leaf.name.removeprefix(f"{item.owner}."), dtype)
    elif item.kind == "layer":
        yield from _layer_rows(item, dtype)
        yield from _numbers(item)
        for leaf in item.leaves:
            yield from _numbers(leaf, f"{leaf.name.rpartition('.')[2]} ")
    else:
        yield from _operation_rows(item, dtype)
        yield from _numbers(item)
    if item.result:
        yield _coloured(item.result, FAMILIES["loss"].line), ""
    for note in item.notes:
        yield _coloured(note, INK.warm), ""


def _operation_rows(item: Item, dtype: str) -> Iterator[tuple[str, str]]:
    if item.owner:
        name, _, rest = item.owner.partition(" ")
        yield f'<FONT POINT-SIZE="10">{_bold(name, 40)}</FONT> &nbsp;{_soft(rest, 9)}'.rstrip(), ""
    yield f"{_bold(item.title)}", _shape(item.shape, item.dtype, dtype) if item.shape is not None else ""
    for line in _details(item):
        yield _soft(line), ""


def _numbers(part: Item | Leaf, name: str = "") -> Iterator[tuple[str, str]]:
    """What is known of a value and its gradient."""
    if part.value is not None:
        yield _stats(f"{name}value", part.value), ""
    if part.gradient is not None:
        grade = "" if part.gradient.broken else f"BGCOLOR:{SCALE[step_of(part.gradient.rms)][0]}"
        yield _stats(f"{name}gradient", part.gradient), grade
    if isinstance(part, Leaf) and part.missing:
        yield _coloured(f"{name}no gradient arrived", INK.alarm), ""


def _layer_rows(item: Item, dtype: str) -> Iterator[tuple[str, str]]:
    """A module in one line, or in two if it has parameters."""
    name = f"<B>{escaped(item.owner, 40)}</B> {escaped(item.title, 40)}"
    line = f"{name} {_soft(item.settings)}" if item.settings and not item.parameters else name
    yield line, _shape(item.shape, item.dtype, dtype) if item.shape is not None else ""
    if item.parameters:
        counts = f"{exact(item.parameters)} parameters" + (f" · {amount(item.macs)} MACs" if item.macs else "")
        yield _soft(f"{item.settings} · {counts}" if item.settings else counts), ""


def _details(item: Item) -> Iterator[str]:
    if item.settings:
        yield item.settings
    counts = []
    if item.parameters:
        counts.append(f"{exact(item.parameters)} parameters")
    if item.macs:
        counts.append(f"{amount(item.macs)} MACs")
    if item.kept and item.kind == "op":
        counts.append(f"keeps {', '.join(item.keeps)} {byte_size(item.kept)}")
    elif item.kept:
        counts.append(f"keeps {byte_size(item.kept)}")
    if counts:
        yield " · ".join(counts)


def _leaf_rows(leaf: Leaf, name: str, dtype: str) -> Iterator[tuple[str, str]]:
    yield f'<FONT POINT-SIZE="10">{escaped(name, 44) or "?"}</FONT>', _shape(leaf.shape, leaf.dtype, dtype)
    yield from _numbers(leaf)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = []
    for left, right in rows:
        if right.startswith("BGCOLOR:"):
            colour = right.removeprefix("BGCOLOR:")
            lines.append(f'<TR><TD ALIGN="LEFT" COLSPAN="2" BGCOLOR="{colour}">{left}</TD></TR>')
        elif right:
            lines.append(f'<TR><TD ALIGN="LEFT">{left}</TD><TD ALIGN="RIGHT">{right}</TD></TR>')
        else:
            lines.append(f'<TR><TD ALIGN="LEFT" COLSPAN="2">{left}</TD></TR>')
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">{"".join(lines)}</TABLE>'


def _shape(shape: tuple[int, ...], dtype: str, usual: str) -> str:
    suffix = "" if dtype == usual else f" {_soft(dtype)}"
    return f'<FONT POINT-SIZE="10">&nbsp;&nbsp;{escaped(shape_text(shape))}</FONT>{suffix}'


def _stats(name: str, stats: Stats) -> str:
    broken = [f"{count} {kind}" for count, kind in ((stats.nans, "NaN"), (stats.infs, "Inf")) if count]
    if broken:
        return _coloured(f"{name}: {', '.join(broken)} of {stats.size}", INK.alarm)
    spread = f"{number(stats.minimum)} … {number(stats.mean)} … {number(stats.maximum)}, norm {number(stats.norm)}"
    if stats.size == 1:
        spread = number(stats.mean)
    return f'<FONT POINT-SIZE="9">{escaped(f"{name} {spread}", 90)}</FONT>'


def _soft(text: str, size: int = 9, limit: int = 90) -> str:
    if not text:
        return ""  # an empty FONT is a syntax error to Graphviz
    return f'<FONT POINT-SIZE="{size}" COLOR="{INK.soft}">{escaped(text, limit)}</FONT>'


def _bold(text: str, limit: int = 48) -> str:
    return f"<B>{escaped(text, limit) or '?'}</B>"


def _coloured(text: str, colour: str) -> str:
    return f'<FONT POINT-SIZE="9" COLOR="{colour}"><B>{escaped(text)}</B></FONT>'


# ------------------------------------------------------------------------------------------------ edges


def _edge(graph: graphviz.Digraph, edge: Edge, picture: Picture) -> None:
    attributes: dict[str, str] = dict(_EDGES[edge.kind])
    if edge.kind == "data" and picture.items[edge.source].is_leaf:
        attributes |= {"color": INK.frame, "arrowsize": "0.4"}
    if edge.label:
        attributes["label"] = f"<{_soft(edge.label)}>"
    graph.edge(edge.source, edge.target, **attributes)
