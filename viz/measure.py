"""Numbers on a picture: values and gradients, where the first NaN appeared, what is dead, what got no gradient."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace

from minigrad.core import TensorBase
from minigrad.graph import Node
from minigrad.viz.labels import dtype_name, exact
from minigrad.viz.names import Names
from minigrad.viz.observe import seen_at, stats_of
from minigrad.viz.picture import Item, Leaf, Picture, Stats
from minigrad.viz.record import Origin, Recorded

__all__ = ["measured", "was_walked"]

_UNWALKED = (
    "graph: there are no gradients to draw, since no backward() has reached these leaves; "
    "call it first, inside viz.watch() to see every step"
)


def was_walked(recorded: Recorded) -> bool:
    """Whether a backward pass is known to have gone through the graph: it freed something, or was watched."""
    return any(node.saved is None or _gradient(node) is not None for node in recorded.nodes.values())


def measured(recorded: Recorded, names: Names) -> Picture:
    """The picture with what is known of each value and gradient; a warning where there are no gradients yet."""
    leaves = [origin.tensor for origins in recorded.leaves.values() for origin in origins if origin.tensor is not None]
    walked = was_walked(recorded) or any(leaf.grad is not None for leaf in leaves)
    if not walked:
        warnings.warn(_UNWALKED, stacklevel=4)
    outputs = _kept_outputs(recorded.nodes.values())
    items: dict[str, Item] = {}
    for key, item in recorded.picture.items.items():
        node = recorded.nodes.get(key)
        if node is not None:
            items[key] = _operation(item, node, outputs.get(id(node)))
        else:
            origins = recorded.leaves.get(key, ())
            parts = (_leaf(leaf, origin, walked) for leaf, origin in zip(item.leaves, origins, strict=True))
            items[key] = replace(item, leaves=tuple(parts))
    items = _first_broken(items, recorded)
    if walked:
        items |= {item.key: item for item in _unused(leaves, names)}
    picture = replace(recorded.picture, items=items).with_items(item for item in items.values() if not _uniform(item))
    picture = replace(picture, scale=any(stats is not None for item in items.values() for stats in item.gradients()))
    if any(item.value is None and not item.is_leaf for item in items.values()):
        picture = picture.noted("values in between are shown as far as they are kept; viz.watch() around the step shows all")
    return picture


def _uniform(item: Item) -> bool:
    """A constant that is the same number everywhere: nothing that somebody put in, as `record` has it where it can look."""
    value = item.leaves[0].value if item.kind == "constant" and item.leaves else None
    return value is not None and value.minimum == value.maximum and not value.broken


def _operation(item: Item, node: Node, kept: Stats | None) -> Item:
    seen = seen_at(node)
    value = seen.value if seen is not None else kept
    notes = item.notes
    if value is not None and value.dead:
        share = 100 * value.dead / value.units
        notes = (*notes, f"dead: {exact(value.dead)} of {exact(value.units)} units, {share:.3g} %")
    return replace(item, value=value, gradient=_gradient(node), notes=notes)


def _gradient(node: Node) -> Stats | None:
    seen = seen_at(node)
    return seen.gradient if seen is not None else None


def _kept_outputs(nodes: Iterable[Node]) -> dict[int, Stats]:
    """The numbers of those results that a formula keeps, by the id of the node that made them."""
    made: dict[int, Stats] = {}
    for node in nodes:
        for name, saved in (node.saved or {}).items():
            source = saved.edge if isinstance(saved.edge, Node) else node if name == node.op.outputs[0] else None
            if source is not None and id(source) not in made and saved.cell[0] == saved.version:
                made[id(source)] = stats_of(saved.array, units=source.op.name == "relu")
    return made


def _leaf(leaf: Leaf, origin: Origin, walked: bool) -> Leaf:
    tensor = origin.tensor
    if tensor is None:
        seen = seen_at(origin.node)
        known = seen.inputs.get(origin.slot) if seen is not None else None
        value = stats_of(origin.array) if known is None and origin.array is not None else known
        return replace(leaf, value=value)
    gradient = stats_of(tensor.grad.array) if tensor.grad is not None else None
    return replace(leaf, value=stats_of(tensor.array), gradient=gradient, missing=walked and gradient is None)


def _first(what: str, order: Iterable[str], before: dict[str, list[str]], items: dict[str, Item]) -> str | None:
    """Broken numbers spread: the one to look at is the first that has some although what it takes is whole."""

    def broken(item: Item) -> bool:
        stats = [getattr(item, what), *(getattr(leaf, what) for leaf in item.leaves)]
        return any(part is not None and part.broken for part in stats)

    for key in order:
        if broken(items[key]) and not any(broken(items[other]) for other in before.get(key, ())):
            return key
    return None


def _first_broken(items: dict[str, Item], recorded: Recorded) -> dict[str, Item]:
    takes: dict[str, list[str]] = {}
    gives: dict[str, list[str]] = {}
    for edge in recorded.picture.edges:
        takes.setdefault(edge.target, []).append(edge.source)
        gives.setdefault(edge.source, []).append(edge.target)
    forward = _first("value", items, takes, items)
    backward = _first("gradient", reversed(recorded.nodes), gives, items)
    changed = dict(items)
    for key, note in ((forward, "NaN or Inf first appears here"), (backward, "the first gradient with NaN or Inf")):
        if key is not None:
            changed[key] = replace(changed[key], notes=(*changed[key].notes, note))
    return changed


def _unused(leaves: Iterable[TensorBase], names: Names) -> Iterator[Item]:
    """The model's parameters that no operation of this graph used, those of a module together."""
    used = {id(leaf) for leaf in leaves}
    groups: dict[str, list[Leaf]] = {}
    for name, parameter in names.parameters():
        if id(parameter) not in used and parameter.requires_grad:
            gradient = stats_of(parameter.grad.array) if parameter.grad is not None else None
            leaf = Leaf(
                name, parameter.shape, dtype_name(parameter.dtype), parameter.numel(), stats_of(parameter.array), gradient
            )
            groups.setdefault(name.rpartition(".")[0], []).append(replace(leaf, missing=gradient is None))
    for i, group in enumerate(groups.values()):
        first = group[0]
        yield Item(
            f"unused{i}",
            "parameter",
            first.name,
            family="parameter",
            shape=first.shape,
            dtype=first.dtype,
            count=0,
            leaves=tuple(group),
            notes=("not used by this graph",),
        )
