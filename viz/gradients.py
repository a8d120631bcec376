"""The graph of gradients. A backward pass with `create_graph` is recorded like any other, and drawn by the same code.

Each of its operations lies in the module whose operation it differentiates: a hook on every forward node, which runs just
before the node's formulas, sets the scope that new nodes get.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minigrad.core import TensorBase, grad, make_tensor
from minigrad.errors import GradientError
from minigrad.graph import Node, reachable
from minigrad.modes import modes
from minigrad.viz.names import Names, owner_of
from minigrad.viz.picture import Box, Edge, Item, Leaf, Picture, prefixes
from minigrad.viz.record import Recorded, record
from minigrad.viz.select import bridged, only_used

__all__ = ["Backward", "backward_picture", "both_picture", "differentiate", "served_by"]


@dataclass
class Backward:
    """The leaves that got a gradient, the gradients, the nodes of the forward pass, and which of them each new node serves."""

    root: TensorBase
    leaves: list[TensorBase]
    gradients: list[Any]
    forward: list[Node]
    origins: dict[int, Node]  # number of a backward node -> the forward node that it differentiates


def differentiate(roots: Sequence[TensorBase]) -> Backward:
    """Record the backward pass of the roots' sum for every leaf that wants a gradient; nothing is freed, no `grad` touched."""
    forward = reachable(tensor.edge for tensor in roots)
    if any(node.saved is None for node in forward):
        raise GradientError(
            "graph: backward() has walked this graph and freed what it kept; draw its gradients before that, "
            "or call backward(retain_graph=True)"
        )
    leaves = list({id(edge): edge for node in forward for edge in node.edges if isinstance(edge, TensorBase)}.values())
    seeds = [_seed(tensor) for tensor in roots]
    origins: dict[int, Node] = {}
    with _scopes(forward) as served:
        gradients = grad(list(roots), leaves, seeds, create_graph=True, allow_unused=True)
    old = {node.number for node in forward}
    for node in reachable(g.node for g in gradients if g is not None and g.node is not None):
        if node.number not in old:
            at = int(node.scope or -1) if (node.scope or "").isdigit() else -1
            origin = served[at] if at >= 0 else None
            node.scope = origin.scope if origin is not None else None
            if origin is not None:
                origins[node.number] = origin
    return Backward(roots[0], leaves, list(gradients), forward, origins)


def _seed(root: TensorBase) -> TensorBase:
    """Ones that require a gradient themselves, so that every step from them on is recorded."""
    seed = make_tensor(np.ones_like(root.array)).requires_grad_()
    seed.name = "1"
    return seed


@contextlib.contextmanager
def _scopes(forward: Sequence[Node]) -> Iterator[list[Node]]:
    """Within the block, a forward node's place in the list given is the scope of what its formulas record."""
    before = modes.now.scope
    kept = [node.hooks for node in forward]
    for at, node in enumerate(forward):

        def enter(_g: Any, at: int = at) -> None:
            modes.now.scope = str(at)

        node.hooks = [*(node.hooks or ()), enter]
    try:
        yield list(forward)
    finally:
        modes.now.scope = before
        for node, hooks in zip(forward, kept, strict=True):
            node.hooks = hooks


def served_by(passed: Backward, recorded: Recorded) -> dict[int, tuple[str, ...]]:
    """By a forward node's number, the items that are its derivative."""
    served: dict[int, tuple[str, ...]] = {}
    for key, node in recorded.nodes.items():
        origin = passed.origins.get(node.number)
        if origin is not None:
            served[origin.number] = (*served.get(origin.number, ()), key)
    return served


# ------------------------------------------------------------------------------------------------ pictures


def backward_picture(passed: Backward, names: Names, title: str) -> Recorded:
    """The operations of the backward pass, from 1 to the parameters' gradients; what they use of the forward pass as pills."""
    recorded = record(_edges(passed), names, title=title, skip=_numbers(passed))
    picture = _told(recorded, passed, names).mapped(lambda item: replace(_unkept(item), parameters=0))
    return replace(recorded, picture=_without_movement(picture, recorded, frozenset()))


def both_picture(passed: Backward, names: Names, title: str) -> Recorded:
    """Forward and backward pass side by side, with the arrays between them that are kept."""
    forward = _numbers(passed)
    recorded = record([passed.root.edge, *_edges(passed)], names, title=title, forward=forward)
    picture = _without_movement(_told(recorded, passed, names), recorded, forward)
    side = {key: _FORWARD if node.number in forward else _BACKWARD for key, node in recorded.nodes.items()}
    for edge in picture.edges:
        if picture.items[edge.source].is_leaf:
            side.setdefault(edge.source, side[edge.target])
    picture = _with_kept(picture, recorded, side)
    picture = picture.mapped(lambda item: _unkept(item) if side.get(item.key) == _BACKWARD else item)
    items = {key: replace(item, path=(side[key], *item.path) if key in side else _KEPT) for key, item in picture.items.items()}
    boxes = {(one, *path): box for path, box in picture.boxes.items() for one in (_FORWARD, _BACKWARD)}
    used = {prefix for item in items.values() for prefix in prefixes(item.path)}
    boxes = {path: box for path, box in boxes.items() if path in used} | {
        path: Box(path[-1]) for path in ((_FORWARD,), _KEPT, (_BACKWARD,))
    }
    edges = [replace(edge, kind="gradient") if _within(edge, side, _BACKWARD) else edge for edge in picture.edges]
    picture = replace(picture, items=items, boxes=boxes, edges=(*edges, *_rows(picture, recorded, passed)))
    return replace(recorded, picture=picture)


_FORWARD, _BACKWARD = "forward", "backward"
_KEPT = (_BACKWARD, "kept by the forward pass")  # within a frame of the two, else Graphviz sets it outside them


def _unkept(item: Item) -> Item:
    """What a second derivative would keep is not these pictures' matter."""
    return replace(item, kept=0, keeps=())


def _numbers(passed: Backward) -> frozenset[int]:
    return frozenset(node.number for node in passed.forward)


def _edges(passed: Backward) -> list[Any]:
    return [g.node for g in passed.gradients if g is not None and g.node is not None]


def _told(recorded: Recorded, passed: Backward, names: Names) -> Picture:
    """The picture in which the operations that give a parameter's gradient say so."""
    keys = {id(node): key for key, node in recorded.nodes.items()}
    items = dict(recorded.picture.items)
    for leaf, g in zip(passed.leaves, passed.gradients, strict=True):
        key = keys.get(id(g.node)) if g is not None else None
        if key is not None:
            known = f"{items[key].result}, " if items[key].result else "gradient of "
            items[key] = replace(items[key], result=known + (names.of(leaf) or "the input"))
    return replace(recorded.picture, items=items)


def _without_movement(picture: Picture, recorded: Recorded, forward: frozenset[int]) -> Picture:
    """The backward pass without the operations that only turn shapes; what they say of results goes to their input."""
    gone = [
        key
        for key, node in recorded.nodes.items()
        if node.number not in forward and (node.op.family == "movement" or (node.shape == node.shapes[0] and node.op.view))
    ]
    items = dict(picture.items)
    before = {edge.target: edge.source for edge in picture.edges}
    for key in reversed(gone):
        source = before.get(key)
        if items[key].result and source in recorded.nodes and recorded.nodes[source].number not in forward:
            items[source] = replace(items[source], result=items[key].result)
        elif items[key].result:
            gone.remove(key)
    kept = only_used(bridged(replace(picture, items=items), set(items) - set(gone)))
    if not gone:
        return kept
    told = (
        "1 operation that only changes shapes is" if len(gone) == 1 else f"{len(gone)} operations that only change shapes are"
    )
    return kept.noted(f"{told} left out")


def _with_kept(picture: Picture, recorded: Recorded, side: dict[str, str]) -> Picture:
    """A pill for what the backward pass takes from each forward operation, between it and its users."""
    made = {
        id(owner_of(saved.array)): key
        for key, node in recorded.nodes.items()
        if side[key] == _FORWARD
        for name, saved in (node.saved or {}).items()
        if name in node.op.outputs
    }
    # By-products, such as the places that maxima were taken from, were found as constants of the backward pass.
    makers = {pill: made[memory] for (memory, second), pill in recorded.memory.items() if second and memory in made}
    items = {key: item for key, item in picture.items.items() if key not in makers}
    edges: dict[Edge, None] = {}
    for edge in picture.edges:
        maker = makers.get(edge.source, edge.source)
        if side[maker] == _BACKWARD or side[edge.target] == _FORWARD:
            edges.setdefault(edge)
            continue
        pill, source = f"kept {maker}", picture.items[edge.source]
        leaves = source.leaves if edge.source in makers else (_output(source),)
        known = items.get(pill, Item(pill, "saved", "kept", shape=source.shape, dtype=source.dtype, count=0))
        items[pill] = replace(known, leaves=tuple(dict.fromkeys((*known.leaves, *leaves))))
        edges.setdefault(Edge(maker, pill, "saved"))
        edges.setdefault(Edge(pill, edge.target, "saved"))
    return replace(picture, items=items, edges=tuple(edges))


def _output(made: Item) -> Leaf:
    shape = made.shape or ()
    return Leaf(f"output of {made.title}", shape, made.dtype, math.prod(shape))


def _within(edge: Edge, side: dict[str, str], one: str) -> bool:
    return side.get(edge.source) == one and side.get(edge.target) == one and edge.kind == "data"


_ROW = 4  # the most operations that a derivative may have to stand in one row


def _rows(picture: Picture, recorded: Recorded, passed: Backward) -> Iterator[Edge]:
    """Each forward operation level with what it keeps and with its derivative."""
    keys = {id(node): key for key, node in recorded.nodes.items()}
    derivatives: dict[str, list[str]] = {}
    for key, node in recorded.nodes.items():
        origin = passed.origins.get(node.number)
        if origin is not None and key in picture.items and id(origin) in keys:
            derivatives.setdefault(keys[id(origin)], []).append(key)
    pills = {edge.source: edge.target for edge in picture.edges if picture.items[edge.target].kind == "saved"}
    for key, pill in pills.items():
        yield Edge(key, pill, "row")
    for key, derivative in derivatives.items():
        for other in derivative if len(derivative) <= _ROW else derivative[:1]:
            yield Edge(pills.get(key, key), other, "row")
